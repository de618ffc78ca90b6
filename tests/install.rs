//! Engines that are told of the hook, and forget it again.

use std::fs;
use std::path::Path;

use crate::common::{NETNS, World, stderr};
use crate::engines::docker::Docker;
use crate::engines::podman::Podman;
use crate::engines::{Ask, Engine, find};

/// A world whose `/etc`, `/usr` and `/var/lib` may be written to.
pub fn world() -> Option<World> {
    let world = World::new()?;
    world.change_only_here(&["/etc", "/usr", "/var/lib", "/opt"]);
    world
        .sh("rm -rf /etc/containers/oci /usr/share/containers/oci /etc/docker/* /etc/containerd/config.toml");
    Some(world)
}

/// Every file that an installation may touch, with its mode and contents.
fn files(world: &World) -> String {
    let places = "/etc/containers /etc/crio /etc/docker /etc/containerd /etc/hooks.d /var/lib/netns-hook \
         /usr/share/containers/oci /usr/local/libexec/netns-runc /etc/cni /opt/cni";
    world.sh(&format!(
        "find {places} -printf '%M %p %l\\n' 2>/dev/null; find {places} -type f -exec cat {{}} + 2>/dev/null; true"
    ))
}

const ENGINES: [&str; 6] = ["podman", "crio", "containerd", "docker", "nri", "cni"];

fn install_and_uninstall(world: &World) {
    let before = files(world);
    for engine in ENGINES {
        let dry = world.netns_ok(&["install", "--dry-run", engine], "");
        assert!(dry.contains("would write /"), "{engine}: {dry}");
        assert!(dry.contains(NETNS) || engine == "containerd", "{engine}: {dry}");
        assert_eq!(files(world), before, "{engine}: a dry run writes nothing");
        let said = world.netns_ok(&["install", engine], "");
        assert!(said.contains("wrote /") && said.contains("left to do: "), "{engine}: {said}");
        assert!(files(world).contains(NETNS), "{engine}");
        let once = files(world);
        world.netns_ok(&["install", engine], "");
        assert_eq!(files(world), once, "{engine}: a second time changes nothing");
        world.netns_ok(&["uninstall", engine], "");
        assert_eq!(files(world), before, "{engine}");
        world.netns_ok(&["uninstall", engine], "");
    }
}

#[test]
fn every_engine_without_a_configuration_is_as_before_after_uninstall() {
    let Some(world) = world() else { return };
    install_and_uninstall(&world);
}

#[test]
fn every_engine_with_other_things_in_its_configuration_keeps_them() {
    let Some(world) = world() else { return };
    let write = |path: &str, text: &str| {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "/etc/docker/daemon.json",
        "{\n    \"debug\": true,\n    \"runtimes\": {\"x\": {\"path\": \"/x\"}}\n}",
    );
    write(
        "/etc/containerd/config.toml",
        "version = 2 # two\n[plugins.\"io.containerd.grpc.v1.cri\"]\n  a = 1",
    );
    write("/etc/containers/containers.conf", "[engine]\nhooks_dir = [\"/elsewhere\", \"/etc/hooks.d\"]\n");
    write("/etc/hooks.d/other.json", "{}");
    write("/etc/crio/crio.conf.d/10.conf", "[crio.runtime]\nhooks_dir = [\"/etc/hooks.d\"]\n");
    install_and_uninstall(&world);
    world.netns_ok(&["install", "docker"], "");
    let config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string("/etc/docker/daemon.json").unwrap()).unwrap();
    assert_eq!(config["runtimes"]["x"]["path"], "/x");
    assert_eq!(config["runtimes"]["netns"]["path"], "/usr/local/libexec/netns-runc");
    assert!(world.netns_ok(&["install", "podman"], "").contains("wrote /etc/hooks.d/netns.json"));
}

#[test]
fn a_definition_that_two_engines_read_goes_with_the_last_of_them() {
    let Some(world) = world() else { return };
    let before = files(&world);
    let shared = Path::new("/usr/share/containers/oci/hooks.d/netns.json");
    world.netns_ok(&["install", "podman"], "");
    world.netns_ok(&["install", "crio"], "");
    world.netns_ok(&["uninstall", "podman"], "");
    assert!(shared.exists());
    world.netns_ok(&["uninstall", "crio"], "");
    assert!(!shared.exists());
    assert_eq!(files(&world), before);
}

#[test]
fn somebody_elses_file_of_our_name_is_refused() {
    let Some(world) = world() else { return };
    fs::create_dir_all("/usr/share/containers/oci/hooks.d").unwrap();
    fs::write("/usr/share/containers/oci/hooks.d/netns.json", "mine").unwrap();
    fs::write("/etc/docker/daemon.json", "{\"runtimes\": {\"netns\": {\"path\": \"/x\"}}}").unwrap();
    let before = files(&world);
    for engine in ["podman", "docker"] {
        let refused = world.netns(&["install", engine], "");
        assert_eq!(refused.status.code(), Some(1), "{engine}");
        assert!(stderr(&refused).contains("/netns.json") || stderr(&refused).contains("daemon.json"));
    }
    assert_eq!(files(&world), before);
}

#[test]
fn containerd_would_use_the_runtime_class() {
    let Some(world) = world() else { return };
    if find("containerd").is_none() {
        return;
    }
    world.netns_ok(&["install", "containerd"], "");
    let dump = world.sh("containerd --config /etc/containerd/config.toml config dump");
    let class = dump.split("containerd.runtimes.netns]").nth(1).expect("the runtime class");
    assert!(class.contains("base_runtime_spec = \"/etc/containerd/netns-base.json\""), "{dump}");
    let base = fs::read_to_string("/etc/containerd/netns-base.json").unwrap();
    let base: serde_json::Value = serde_json::from_str(&base).unwrap();
    assert_eq!(base["hooks"]["createRuntime"][0]["path"], NETNS);
    assert!(base["linux"]["namespaces"].is_array());
}

#[test]
fn podman_uses_the_hook_between_install_and_uninstall_and_not_after() {
    let Some(world) = world() else { return };
    let (Some(runc), Some(_)) = (find("runc"), find("podman")) else { return };
    let mut podman = Podman::new(&world, &runc).with_its_own_hooks_dir(&world);
    let ask = |id| Ask { id, options: &[("publish", "8080:80")], then_fails: false };
    world.netns_ok(&["install", "podman"], "");
    let process = podman.start(&world, ask("with")).expect("start");
    assert!(process.pings("172.19.0.1"), "the gateway");
    podman.delete(&world, "with");
    world.netns_ok(&["uninstall", "podman"], "");
    let process = podman.start(&world, ask("without")).expect("start");
    assert!(!process.try_sh("ip link show eth0").status.success());
    podman.delete(&world, "without");
}

#[test]
fn docker_has_the_runtime_after_install_with_its_options() {
    let Some(world) = world() else { return };
    if find("dockerd").is_none() {
        return;
    }
    world.netns_ok(&["install", "docker", "--ip", "10.88.0.1/24"], "");
    let mut docker = Docker::as_configured(&world);
    let ask = Ask { id: "web", options: &[("publish", "8080:80")], then_fails: false };
    let process = docker.start(&world, ask).expect("start");
    assert!(process.pings("10.88.0.1"), "the gateway");
    assert_eq!(world.ls()[0]["published"][0]["host_port"], 8080);
    docker.delete(&world, "web");
}
