//! Real clients, with the plugin and the network that `netns install cni` puts in place.

use std::fs;

use super::Client;
use crate::common::World;
use crate::common::traffic::{ask_tcp, serve_tcp};
use crate::engines::containerd::Containerd;
use crate::engines::podman::Podman;
use crate::engines::{DockerLike, find};

/// A world in which the plugin is installed as `docs/cni.md` says, and that is as it was after it.
pub(super) fn world() -> Option<World> {
    let world = World::new()?;
    world.change_only_here(&["/etc", "/opt", "/var/lib"]);
    world.sh("rm -rf /etc/cni/net.d");
    let said = world.netns_ok(&["install", "cni"], "");
    assert!(said.contains("/opt/cni/bin/netns") && said.contains("10-netns.conflist"), "{said}");
    Some(world)
}

/// Serves on port 80 of a container of podman's that runs.
fn serve(podman: &Podman, world: &World, name: &str) {
    serve_tcp(podman.process(world, name), 80, name);
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
    let podman = Podman::with_cni(&world);
    let run = |arguments: &str| podman.run(&world, arguments).expect(arguments);
    let before = world.sh("ip -br link; cat /proc/sys/net/ipv4/ip_forward");
    run("run -d --name web --network netns -p 8080:80 box /bin/busybox sleep 1000");
    serve(&podman, &world, "web");
    assert_eq!(ask_tcp("127.0.0.1:8080"), "web");
    let row = &world.ls()[0];
    assert_eq!(
        (row["addresses"][0].as_str(), row["status"].as_str()),
        (Some("172.19.0.2/16"), Some("running"))
    );
    run("run -d --name both --network netns,front box /bin/busybox sleep 1000");
    let addresses = run("exec both /bin/busybox ip -4 -o addr");
    assert!(addresses.contains("172.19.0.3/16") && addresses.contains("10.88.0.2/24"), "{addresses}");
    run("exec both /bin/busybox ping -c 1 -W 2 172.19.0.2");
    run("restart -t 0 web");
    serve(&podman, &world, "web");
    assert_eq!(ask_tcp("127.0.0.1:8080"), "web", "after a restart");
    run("rm -f -t 0 web both");
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

#[test]
fn buildah_builds_on_the_network() {
    if find("buildah").is_none() || find("runc").is_none() {
        return;
    }
    let Some(world) = world() else { return };
    let d = world.dir.join("buildah").display().to_string();
    let rootfs = world.bundle("buildah", &[], "").join("rootfs");
    world.sh(&format!("mkdir -p {d}"));
    let configuration = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\n[network]\nnetwork_backend = \"cni\"\n\
         network_config_dir = \"/etc/cni/net.d\"\ncni_plugin_dirs = [\"/opt/cni/bin\"]\ndefault_network = \"netns\"\n";
    fs::write(format!("{d}/containers.conf"), configuration).expect("write containers.conf");
    fs::write(
        format!("{d}/Containerfile"),
        "FROM scratch\nCOPY . /\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox ip -4 -o addr; \
         /bin/busybox ping -c 1 -W 2 172.19.0.1\"]\n",
    )
    .expect("write Containerfile");
    let output = world.sh_logged(&format!(
        "CONTAINERS_CONF={d}/containers.conf buildah --storage-driver vfs --root {d}/root --runroot {d}/runroot \
         bud --isolation oci --runtime runc --network netns --file {d}/Containerfile --tag built {}",
        rootfs.display()
    ));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("172.19.0.2/16") && said.contains(" 0% packet loss"), "{said}");
    assert_eq!(world.ls(), serde_json::json!([]));
}
