//! Interfaces of the host that move into a container, and come back as they were.
//!
//! A veth end and a macvlan stand in for hardware: both are destroyed by the kernel when the
//! container's namespace dies. What it gives back goes to the machine's first namespace, which
//! is none of a test's; there the test gives it back by hand, as the kernel would: down,
//! without addresses, under the name that it had inside.

mod alone;
mod deaths;
mod forged;
mod journeys;
mod refused;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Process, World, wait_for};

/// All that `--nic` can ask for.
const ASKED: &str = "nic0=lan,ip=12.0.0.10/8,gateway=12.0.0.1,mac=02:00:00:00:00:05,mtu=1400";

/// What a stand-in for hardware is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Veth,
    Macvlan,
}

/// A host with an interface `nic0` that has everything an interface can have, and the network
/// that it leads to: 12.0.0.1, behind which is 99.0.0.1.
struct Scene {
    world: World,
    far: Process,
}

impl Scene {
    fn new(kind: Kind) -> Option<Self> {
        let mut world = World::new()?;
        let far = world.process();
        let below = if kind == Kind::Veth { "nic0" } else { "wire" };
        world.sh(&format!("ip link add {below} type veth peer name far netns {}", far.pid));
        if kind == Kind::Macvlan {
            world.sh("ip link set wire up && ip link add nic0 link wire type macvlan mode bridge");
        }
        far.sh("ip link set lo up && ip addr add 99.0.0.1/32 dev lo");
        far.sh("ip addr add 12.0.0.1/8 dev far && ip link set far up");
        world.sh("ip link set nic0 alias 'the second one' mtu 1480 address 02:aa:00:00:00:01 && \
             ip addr add 10.9.0.1/24 brd + dev nic0 && ip addr add 10.9.0.7/24 dev nic0 && \
             ip addr add fd00:9::1/64 dev nic0 nodad && ip link set nic0 up && \
             echo 2 > /proc/sys/net/ipv4/conf/nic0/rp_filter && \
             ip route add 10.8.0.0/16 via 10.9.0.2 metric 7 mtu 1300 && \
             ip route add 10.7.0.0/16 via 10.9.0.3 src 10.9.0.7 table 55 && \
             ip route add 10.6.0.0/16 via 10.8.0.9 dev nic0 onlink && \
             ip -6 route add fd00:8::/64 via fd00:9::2");
        Some(Self { world, far })
    }

    /// What `ip` tells of the interface, of all addresses, and of all routes but those that IPv6
    /// makes of the addresses, in its own time.
    fn observe(&self) -> String {
        let commands = [
            "(ip -j -d link show dev nic0 2>/dev/null || echo '[]') | sed 's/\"[a-z_]*timer\":[0-9.]*,//g'",
            "ip -j addr show",
            "ip -j -4 route show table all",
            "ip -j -6 route show table all",
        ];
        let mut lines = Vec::new();
        for command in commands {
            let rows: Vec<Value> = serde_json::from_str(&self.world.sh(command)).expect("ip -j prints JSON");
            let by_itself = |row: &Value| command.contains("-6") && row["protocol"] == "kernel";
            let ours = |row: &Value| row["ifname"].as_str().is_some_and(|name| name.starts_with("netns"));
            let told = rows.iter().filter(|row| !by_itself(row) && !ours(row) && row["dev"] != "netns0");
            lines.extend(told.map(Value::to_string));
        }
        lines.sort();
        lines.push(self.world.sh("cat /proc/sys/net/ipv4/conf/nic0/rp_filter 2>/dev/null || echo none"));
        lines.join("\n")
    }

    /// As [`Self::observe`], once all addresses can be used.
    fn settled(&self) -> String {
        wait_for("addresses that are settled", || !self.observe().contains("tentative"));
        self.observe()
    }

    /// Fails unless the host becomes what it was, its interfaces' addresses settled.
    fn assert_as(&self, before: &str, what: &str) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.observe() != before {
            if Instant::now() > end {
                let after = self.observe();
                let gone =
                    before.lines().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
                let new = after.lines().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
                panic!("{what}:\n{}", gone.chain(new).collect::<Vec<_>>().join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Gives the interface back from inside `process`, as the kernel would, and kills it.
    fn die_and_return(&mut self, process: Process, name: &str) {
        process.sh(&format!("ip link set lan netns {} name {name}", host_netns()));
        self.world.kill(process);
    }

    fn has_nic(&self) -> bool {
        self.world.links().contains(&"nic0".to_owned())
    }
}

/// The host's network namespace, which is that of the test's thread.
fn host_netns() -> String {
    format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid())
}
