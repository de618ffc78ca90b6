//! Real clients, with the plugin and the network that `netns install cni` puts in place.

use std::fs;
use std::path::PathBuf;

use super::Client;
use crate::common::traffic::{ask_tcp, serve_tcp};
use crate::common::{Process, World};
use crate::engines::containerd::Containerd;
use crate::engines::{find, image};

/// A world in which the plugin is installed as `docs/cni.md` says, and that is as it was after it.
pub(super) fn world() -> Option<World> {
    let world = World::new()?;
    for dir in ["/etc", "/opt", "/var/lib"] {
        let own = format!("{}/overlay{}", world.dir.display(), dir.replace('/', "_"));
        world.sh(&format!(
            "mkdir -p {own}/up {own}/work && \
             mount -t overlay overlay -o lowerdir={dir},upperdir={own}/up,workdir={own}/work {dir}"
        ));
    }
    world.sh("rm -rf /etc/cni/net.d");
    let said = world.netns_ok(&["install", "cni"], "");
    assert!(said.contains("/opt/cni/bin/netns") && said.contains("10-netns.conflist"), "{said}");
    Some(world)
}

struct Podman {
    command: String,
    out: PathBuf,
}

impl Podman {
    fn new(world: &World) -> Self {
        let dir = world.dir.join("podman");
        let d = dir.display();
        world.sh(&format!("mkdir -p {d}"));
        let text = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             [network]\nnetwork_backend = \"cni\"\nnetwork_config_dir = \"/etc/cni/net.d\"\n\
             cni_plugin_dirs = [\"/opt/cni/bin\"]\ndefault_network = \"netns\"\n";
        fs::write(dir.join("containers.conf"), text).expect("write containers.conf");
        let podman = Self {
            command: format!(
                "CONTAINERS_CONF={d}/containers.conf podman --storage-driver vfs --root {d}/root \
                 --runroot {d}/runroot --tmpdir {d}/tmp --runtime runc"
            ),
            out: dir.join("out"),
        };
        podman.run(world, &format!("import {} box", image(world).display()));
        podman
    }

    /// Serves on port 80 of a container that runs.
    fn serve(&self, world: &World, name: &str) {
        let pid = self.run(world, &format!("inspect -f {{{{.State.Pid}}}} {name}"));
        serve_tcp(Process { pid: pid.parse().expect("a pid") }, 80, name);
    }

    fn run(&self, world: &World, arguments: &str) -> String {
        let output = world.sh_logged(&format!("{} {arguments} >{}", self.command, self.out.display()));
        assert!(output.status.success(), "podman {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        fs::read_to_string(&self.out).expect("read podman's output").trim().to_owned()
    }
}

#[test]
fn podman_runs_publishes_restarts_and_removes() {
    if find("podman").is_none() || find("runc").is_none() {
        return;
    }
    let Some(world) = world() else { return };
    let back = Client::new("0.4.0").config.to_string();
    let list = format!("{{\"cniVersion\":\"0.4.0\",\"name\":\"front\",\"plugins\":[{back}]}}");
    fs::write("/etc/cni/net.d/20-front.conflist", list).unwrap();
    let podman = Podman::new(&world);
    let before = world.sh("ip -br link; cat /proc/sys/net/ipv4/ip_forward");
    podman.run(&world, "run -d --name web --network netns -p 8080:80 box /bin/busybox sleep 1000");
    podman.serve(&world, "web");
    assert_eq!(ask_tcp("127.0.0.1:8080"), "web");
    let row = &world.ls()[0];
    assert_eq!(
        (row["addresses"][0].as_str(), row["status"].as_str()),
        (Some("172.19.0.2/16"), Some("running"))
    );
    podman.run(&world, "run -d --name both --network netns,front box /bin/busybox sleep 1000");
    let addresses = podman.run(&world, "exec both /bin/busybox ip -4 -o addr");
    assert!(addresses.contains("172.19.0.3/16") && addresses.contains("10.88.0.2/24"), "{addresses}");
    podman.run(&world, "exec both /bin/busybox ping -c 1 -W 2 172.19.0.2");
    podman.run(&world, "restart -t 0 web");
    podman.serve(&world, "web");
    assert_eq!(ask_tcp("127.0.0.1:8080"), "web", "after a restart");
    podman.run(&world, "rm -f -t 0 web both");
    assert_eq!(world.ls(), serde_json::json!([]));
    world.netns_ok(&["rm"], "");
    world.netns_ok(&["rm", "--bridge", "front0", "--ip", "10.88.0.1/24"], "");
    assert_eq!(world.sh("ip -br link; cat /proc/sys/net/ipv4/ip_forward"), before);
    assert!(!world.rules().contains("netns"), "{}", world.rules());
}

#[test]
fn ctr_runs_a_container_on_the_network() {
    let (Some(runc), Some(_)) = (find("runc"), find("containerd")) else { return };
    let Some(world) = world() else { return };
    let containerd = Containerd::new(&world, &runc);
    let rootfs = world.bundle("ctr", &[], "").join("rootfs");
    let command = "/bin/busybox sh -c '/bin/busybox ip -4 -o addr; /bin/busybox ping -c 1 -W 2 172.19.0.1'";
    let run = format!("run --cni --rm --rootfs {} web {command}", rootfs.display());
    let output = containerd.said(&world, &run);
    assert!(output.contains("172.19.0.2/16") && output.contains(" 0% packet loss"), "{output}");
    assert_eq!(world.ls(), serde_json::json!([]));
}
