//! Networks on a link of the host, without a bridge: macvlan with real packets, an end of a veth pair
//! for a NIC. ipvlan and VLANs as far as the kernel has them; what they take is in `tests/plan`.

mod doors;
mod kill;
mod lost;
mod modes;
mod packets;
mod refused;

use std::fs;

use crate::common::{Process, World, stderr};

/// A network on the wire of `ens6`, of which ten addresses of each family are ours.
const LAN: &str = "[network.lan]\ndriver = 'macvlan'\nparent = 'ens6'\n\
                   subnets = ['10.20.0.1/24', 'fd00:20::1/64']\n\
                   lease-ranges = ['10.20.0.100-10.20.0.109', 'fd00:20::100-fd00:20::109']\n";
/// A network beside it.
const FRONT: &str = "[network.front]\nsubnets = ['10.8.0.1/24']\n";

/// A host with a NIC, and the router on its wire: 10.20.0.1 and fd00:20::1, behind which are 99.0.0.1
/// and fd00:99::1.
struct Scene {
    world: World,
    router: Process,
}

impl Scene {
    fn new(configuration: &str) -> Option<Self> {
        let mut world = World::new()?;
        let router = world.process();
        let scene = Self { world: configured(world, configuration), router };
        scene.plug();
        scene.world.netns_ok(&["gc"], "");
        scene.world.sh("for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done");
        Some(scene)
    }

    /// Makes the NIC.
    fn plug(&self) {
        let pid = self.router.pid;
        self.world.sh(&format!(
            "ip link add ens6 address 02:aa:00:00:00:06 type veth peer name wire netns {pid} && ip addr add 10.20.0.5/24 dev ens6 && \
             sysctl -qw net.ipv6.conf.ens6.disable_ipv6=1 && ip link set ens6 up"
        ));
        self.router.sh(
            "ip link set lo up; ip addr replace 99.0.0.1/32 dev lo; ip addr replace fd00:99::1/128 dev lo; \
             ip addr add 10.20.0.1/24 dev wire; ip addr add fd00:20::1/64 dev wire nodad; ip link set wire up",
        );
    }

    /// A container on this network.
    fn on(&mut self, id: &str, network: &str) -> Process {
        let process = self.world.process();
        self.world.attach_ok(id, process, &[("network", network), ("ipfile", id)]);
        process
    }

    /// What an attach that must fail says.
    fn refused(&mut self, asked: &[(&str, &str)]) -> String {
        let process = self.world.process();
        let before = self.world.snapshot();
        let output = self.world.attach("refused", process, asked);
        assert!(!output.status.success(), "{asked:?}: {}", stderr(&output));
        self.world.assert_as(&before);
        assert!(!process.sh("ip -o link").contains("eth0"), "{asked:?}");
        stderr(&output)
    }
}

fn configured(mut world: World, text: &str) -> World {
    configure(&world, text);
    world.flags.push("--config=/run/test/netns.toml".to_owned());
    world
}

fn configure(world: &World, text: &str) {
    fs::write(world.dir.join("netns.toml"), text.replace('\'', "\"")).expect("write netns.toml");
}

/// Whether the kernel can make a link of this kind, or which it cannot; on a link of its own.
fn has_kind(world: &World, kind: &str) -> bool {
    let made = world.try_sh(&format!("ip link add probe0 link ens6 type {kind} && ip link del probe0"));
    made.status.success()
}
