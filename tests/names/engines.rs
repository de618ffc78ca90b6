//! Names in containers of engines that mount a `hosts` file of their own, and by DNS.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{HOSTS, bundle, see};
use crate::common::{World, wait_for};
use crate::engines::docker::Docker;
use crate::engines::podman::Podman;
use crate::engines::{DockerLike, Engine, find};
use crate::install;

/// What a container says to a command of busybox, whether that succeeds or not.
fn says(world: &World, engine: &impl DockerLike, container: &str, command: &str) -> String {
    let command = format!("exec {container} /bin/busybox sh -c '/bin/busybox {command} 2>&1; true'");
    engine.run(world, &command).expect("exec")
}

/// Whether an echo request to `name` is answered, at one of three tries.
fn reaches(world: &World, engine: &impl DockerLike, container: &str, name: &str) -> bool {
    (0..3).any(|_| {
        says(world, engine, container, &format!("ping -c 1 -W 1 {name}")).contains(" 0% packet loss")
    })
}

/// Two containers of an engine that was installed with `--names`, `web` and `db`; `options` are what
/// the engine needs to have the hook called.
fn know_each_other(world: &World, engine: &mut (impl DockerLike + Engine), options: &str) {
    let web = engine.run_detached(world, "web", options).expect("start web");
    let more = format!("{options} --hostname data --add-host nas:10.0.0.5 --add-host nas.lan:10.0.0.5");
    engine.run_detached(world, "db", &more).expect("start db");
    let table = || see(web, "cat /etc/hosts");
    for name in ["db", "data", "web"] {
        assert!(reaches(world, engine, "web", name), "{name}: {}", table());
    }
    assert!(reaches(world, engine, "db", "web"), "the other way: {}", table());
    let asked = says(world, engine, "web", "ping -c 1 -W 1 db");
    assert!(asked.starts_with("PING db (172.19.0.3)"), "{asked}");
    assert_eq!(says(world, engine, "db", "hostname -f"), "data", "first on its line: {}", table());
    for name in ["host.containers.internal", "host.docker.internal"] {
        let asked = says(world, engine, "web", &format!("ping -c 1 -W 1 {name}"));
        assert!(asked.starts_with(&format!("PING {name} (172.19.0.1)")), "{asked}: {}", table());
        assert!(reaches(world, engine, "web", name), "{name}");
    }
    for name in ["nas", "nas.lan"] {
        let asked = says(world, engine, "db", &format!("ping -c 1 -W 1 {name}"));
        assert!(asked.starts_with(&format!("PING {name} (10.0.0.5)")), "{asked}");
    }
    assert!(says(world, engine, "web", "ping -c 1 nas").contains("bad address"), "it is the other's alone");

    let late = engine.run_detached(world, "late", options).expect("start late");
    assert!(reaches(world, engine, "db", "late"), "whoever calls others besides: {}", table());
    engine.restart(world, "late");
    assert!(reaches(world, engine, "db", "late") && reaches(world, engine, "late", "db"), "{late:?}");
    assert!(world.netns_ok(&["inspect", "late"], "").contains("172.19.0."), "we call it so too");
    engine.delete(world, "late");
    wait_for("the end of its name", || {
        says(world, engine, "db", "ping -c 1 -W 1 late").contains("bad address")
    });
    engine.delete(world, "db");
    wait_for("the end of its file", || world.sh("ls /run/netns-hook/names") == "netns0\n");
    engine.delete(world, "web");
}

#[test]
fn dockers_containers_know_each_other_once_it_is_installed_with_names() {
    let Some(world) = install::world() else { return };
    if find("dockerd").is_none() {
        return;
    }
    world.netns_ok(&["install", "docker", "--names"], "");
    let mut docker = Docker::as_configured(&world);
    know_each_other(&world, &mut docker, "--runtime netns");
    docker.run_detached(&world, "alone", "--runtime netns -e NETNS_NAMES=false").expect("start alone");
    assert!(
        says(&world, &docker, "alone", "ping -c 1 host.docker.internal").contains("bad address"),
        "its own file"
    );
    docker.delete(&world, "alone");
}

#[test]
fn podmans_containers_know_each_other_once_it_is_installed_with_names() {
    let Some(world) = install::world() else { return };
    let (Some(runc), Some(_)) = (find("runc"), find("podman")) else { return };
    // podman begins each container's file with what the host's own says.
    world.sh("echo '127.0.0.1 localhost' >/etc/hosts");
    let mut podman = Podman::new(&world, &runc).with_its_own_hooks_dir(&world);
    world.netns_ok(&["install", "podman", "--names"], "");
    know_each_other(&world, &mut podman, "--annotation org.netns.ipfile=.ip");
    world.sh("echo '10.0.0.9 printer' >>/etc/hosts");
    podman.run_detached(&world, "host", "--annotation org.netns.ipfile=.ip").expect("start host");
    let asked = says(&world, &podman, "host", "ping -c 1 -W 1 printer");
    assert!(asked.starts_with("PING printer (10.0.0.9)"), "what the host calls by name: {asked}");
    podman.delete(&world, "host");
}

#[test]
fn a_container_of_a_runtime_calls_other_hosts_by_the_names_that_it_was_given() {
    let Some(mut world) = World::new() else { return };
    let other = bundle(&world, "other", &[("add-host", "nas:10.0.0.5,nas.lan:fd00::5")], |_| {});
    let other = world.runc_start("other", &other);
    let same = bundle(&world, "same", &[("add-host", "nas:10.0.0.5,nas.lan:fd00::5")], |_| {});
    let same = world.runc_start("same", &same);
    let plain = super::start(&mut world, "plain", &[]);
    for process in [other, same] {
        let hosts = see(process, "cat /etc/hosts");
        assert!(hosts.contains("10.0.0.5 nas ") && hosts.contains("fd00::5 nas.lan "), "{hosts}");
        assert!(
            hosts.contains(" plain ") && hosts.contains(" other ") && hosts.contains(" same "),
            "{hosts}"
        );
    }
    assert!(!see(plain, "cat /etc/hosts").contains("nas"));
    assert_eq!(world.sh("ls /run/netns-hook/names | wc -l"), "2\n", "one file for both");
    world.runc_delete("other");
    assert!(see(same, "cat /etc/hosts").contains("10.0.0.5 nas "), "the other one has it still");
    world.runc_delete("same");
    world.runc_delete("plain");
    assert_eq!(world.sh("ls /run/netns-hook/names"), "netns0\n");
    let own = super::start(&mut world, "own", &[("add-host", "host.docker.internal:10.0.0.7")]);
    let hosts = see(own, "cat /etc/hosts");
    assert!(hosts.contains("10.0.0.7 host.docker.internal") && !hosts.contains("172.19.0.1 "), "{hosts}");
}

#[test]
fn what_an_engine_tells_in_the_environment_or_in_an_annotation_is_a_name() {
    let Some(mut world) = World::new() else { return };
    let told = bundle(&world, "c1", &[("names", "true")], |config| {
        config["hostname"] = json!(null);
        config["process"]["env"].as_array_mut().expect("env").push(json!("HOSTNAME=web-1"));
        config["annotations"]["nerdctl/name"] = json!("shop");
    });
    world.runc_start("c1", &told);
    let neighbour = super::start(&mut world, "neighbour", &[]);
    let hosts = see(neighbour, "cat /etc/hosts");
    assert!(hosts.contains("172.19.0.2 web-1 c1 shop "), "{hosts}");
    world.runc_delete("c1");
}

#[test]
fn dnsmasq_serves_the_names_as_the_documentation_says() {
    let Some(mut world) = World::new() else { return };
    if find("dnsmasq").is_none() {
        return;
    }
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/names.md")).expect("names.md");
    let recipe = page.split("```sh\n").find(|block| block.starts_with("dnsmasq ")).expect("the recipe");
    let recipe = recipe.split("```").next().expect("its end").replace("\\\n", " ");
    let mut lines = recipe.lines();
    let (serve, read_again) = (lines.next().expect("a command"), lines.next().expect("another one"));
    world.netns_ok(&["create"], "");
    let command = format!("exec {serve} --keep-in-foreground");
    let mut server = Command::new("sh");
    server.args(["-c", &command]).env("PATH", "/usr/sbin:/usr/bin:/bin").stdin(Stdio::null());
    world.keep(server.spawn().expect("start dnsmasq"));
    super::start(&mut world, "db", &[]);
    let web = super::start(&mut world, "web", &[("dns", "172.19.0.1")]);
    world.sh(read_again);
    let asked = || see(web, "busybox nslookup -type=a db 172.19.0.1 2>&1; true");
    wait_for("an answer", || asked().contains("172.19.0.2"));
    world.runc_delete("db");
    world.sh(read_again);
    wait_for("its end", || !asked().contains("172.19.0.2"));
    assert!(!fs::read_to_string(HOSTS).expect("hosts").contains(" db "));
}
