//! Names and name servers, as programs in real containers see them.

mod engines;
mod files;
mod hosts;
mod images;
pub mod running;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::common::{Process, World, ask_for, stderr};

const STAGES: [&str; 2] = ["createRuntime", "poststop"];

/// The bridge's file of names, on the host.
pub const HOSTS: &str = "/run/netns-hook/names/netns0/hosts";

/// A bundle whose hook gets these options of ours, and whose `config.json` is then changed.
fn bundle(world: &World, id: &str, options: &[(&str, &str)], change: impl Fn(&mut Value)) -> PathBuf {
    let bundle = world.bundle(id, &STAGES, "");
    crate::common::change(&bundle, |config| {
        ask_for(config, options);
        change(config);
    });
    bundle
}

/// Starts a container with these options.
fn start(world: &mut World, id: &str, options: &[(&str, &str)]) -> Process {
    let bundle = bundle(world, id, options, |_| {});
    world.runc_start(id, &bundle)
}

/// Runs a shell command where the container's programs run, on its busybox.
fn inside(process: Process, command: &str) -> Output {
    let busybox = "for a in cat ls ping sleep wget; do eval \"$a() { busybox $a \\\"\\$@\\\"; }\"; done";
    let command = &format!("{busybox}; {command}");
    Command::new("nsenter")
        .args(["-t", &process.pid.to_string(), "-m", "-n", "/bin/busybox", "sh", "-c", command])
        .env("PATH", "/bin")
        .stdin(Stdio::null())
        .output()
        .expect("run nsenter")
}

/// As [`inside`], and it must succeed; its standard output.
fn see(process: Process, command: &str) -> String {
    let output = inside(process, command);
    assert!(output.status.success(), "{command}: {}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether an echo request to `name` is answered, at one of three tries.
fn pings(process: Process, name: &str) -> bool {
    let ping = format!("ping -c 1 -W 1 {name}");
    (0..3).any(|_| inside(process, &ping).status.success())
}

/// The host's mounts, without their numbers.
fn mounts(world: &World) -> String {
    world.sh("cut -d' ' -f3- /proc/self/mountinfo")
}

/// What is in a directory: paths, kinds, inodes, times of change, sizes, owners, modes, targets
/// of links, and what is in files.
fn manifest(world: &World, dir: &Path) -> Vec<String> {
    let text = world.sh(&format!(
        "cd {} && find . -mindepth 1 ! -type d -printf '%p %y %i %T@ %s %u %m %l\\n' | sort && \
         find . -type d -printf '%p %y %i %u %m\\n' | sort && \
         find . -type f -size -64k -exec md5sum {{}} + | sort",
        dir.display()
    ));
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_container_calls_another_that_started_later_by_each_of_its_names() {
    let Some(mut world) = World::new() else { return };
    let first = start(&mut world, "first", &[]);
    let id = "4f".repeat(32);
    let serve = bundle(&world, &id, &[("alias", "db,db.lan")], |config| {
        config["hostname"] = json!("data");
        config["process"]["args"] = json!(["/bin/busybox", "httpd", "-f", "-p", "80", "-h", "/www"]);
    });
    fs::write(serve.join("rootfs/www/index.html"), "a page\n").unwrap();
    let later = world.runc_start(&id, &serve);
    for name in [id.as_str(), &id[..12], "data", "db", "db.lan"] {
        assert!(pings(first, name), "{name}: {}", see(first, "cat /etc/hosts"));
    }
    let page = || see(first, "for i in 1 2 3 4; do wget -qO- http://db/ && break; sleep 1; done");
    assert_eq!(page(), "a page\n");
    assert!(pings(later, "first") && pings(later, "data"), "the other way, and itself");
    assert!(pings(first, "localhost"));

    world.runc_delete(&id);
    let names = see(first, "cat /etc/hosts");
    assert!(!names.contains("data") && !names.contains("172.19.0.3"), "{names}");
    assert!(!pings(first, "db") && pings(first, "first"));
}

#[test]
fn a_name_is_known_on_its_own_bridge_only() {
    let Some(mut world) = World::new() else { return };
    let web = start(&mut world, "web", &[]);
    start(&mut world, "far", &[("bridge", "br7"), ("ip", "10.7.0.1/24")]);
    assert!(see(web, "cat /etc/hosts").contains("172.19.0.2 web"));
    assert!(!see(web, "cat /etc/hosts").contains("far"));
    world.runc_delete("far");
    world.netns_ok(&["--bridge", "br7", "--ip", "10.7.0.1/24", "rm"], "");
    assert!(!fs::exists("/run/netns-hook/names/br7").unwrap(), "the files go with the bridge");
}

#[test]
fn who_joins_a_namespace_adds_names_to_its_address() {
    let Some(mut world) = World::new() else { return };
    let neighbour = start(&mut world, "neighbour", &[]);
    let sandbox = start(&mut world, "sandbox", &[]);
    let app = bundle(&world, "app", &[("alias", "api")], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        for namespace in namespaces.iter_mut().filter(|namespace| namespace["type"] == "network") {
            namespace["path"] = json!(format!("/proc/{}/ns/net", sandbox.pid));
        }
    });
    let app = world.runc_start("app", &app);
    let names = see(neighbour, "cat /etc/hosts");
    assert!(names.contains("172.19.0.3 sandbox ") && names.contains("172.19.0.3 app api "), "{names}");
    assert!(pings(neighbour, "api") && pings(app, "neighbour"), "a mount namespace of its own");
    world.runc_delete("sandbox");
    let names = see(neighbour, "cat /etc/hosts");
    assert!(!names.contains("sandbox") && names.contains("172.19.0.3 app api "), "{names}");
}

#[test]
fn each_engine_that_mounts_nothing_there_shows_the_names() {
    for name in ["runc", "crun", "youki"] {
        let Some(mut world) = World::new() else { return };
        let Some(mut engine) = crate::engines::engine(name, &mut world) else { continue };
        let before = mounts(&world);
        let ask = |id, options| crate::engines::Ask { id, options, then_fails: false };
        let web = engine.start(&world, ask("web", &[])).expect("start web");
        engine.start(&world, ask("db", &[("alias", "data")])).expect("start db");
        assert!(pings(web, "data") && pings(web, "db"), "{name}: {}", see(web, "cat /etc/hosts"));
        assert_eq!(mounts(&world), before, "{name}: the host's mounts");
        for id in ["web", "db"] {
            engine.delete(&world, id);
        }
    }
}

#[test]
fn podmans_own_files_are_covered_only_when_asked() {
    let Some(mut world) = World::new() else { return };
    let Some(mut podman) = crate::engines::engine("podman+runc", &mut world) else { return };
    let ask = |id, options| crate::engines::Ask { id, options, then_fails: false };
    let plain = podman.start(&world, ask("plain", &[])).expect("start plain");
    let options = [("dns", "10.0.0.53"), ("alias", "data")];
    let asked = podman.start(&world, ask("asked", &options)).expect("start asked");
    assert!(see(asked, "cat /etc/resolv.conf").starts_with("nameserver 10.0.0.53\n"));
    let hosts = fs::read_to_string(HOSTS).unwrap();
    let plains = hosts.lines().find(|line| line.starts_with("172.19.0.2 ")).unwrap_or_default();
    let short = plains.split_whitespace().nth(1).unwrap_or_default();
    assert!(short.len() == 12 && pings(asked, short) && pings(asked, "data"), "{hosts}");
    assert!(!see(plain, "cat /etc/hosts").contains(" asked "), "podman mounts its own");
    for id in ["plain", "asked"] {
        podman.delete(&world, id);
    }
}
