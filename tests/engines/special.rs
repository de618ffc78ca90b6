//! What is not one container with a network of its own, born once.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::conformance::{in_a_world, ours};
use super::containerd::Containerd;
use super::runtime::Runtime;
use super::{Ask, Engine, find};
use crate::common::{NETNS, World};

const RUNTIMES: [&str; 3] = ["runc", "crun", "youki"];

/// A bundle whose `config.json` is changed, run by `name`; what the user sees, and the world.
fn with(name: &str, world: &World, change: impl Fn(&mut Value)) -> Option<Result<Runtime, String>> {
    let bundle = world.bundle("box", &["createRuntime", "poststop"], "");
    super::runtime::edit(&bundle, Ask { id: "box", options: &[], then_fails: false });
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut config);
    fs::write(&file, config.to_string()).unwrap();
    let mut runtime = Runtime::new(world, &find(name)?);
    Some(runtime.create(world, "box", Path::new(&bundle)).map(|process| {
        assert!(process.pings("172.19.0.1"), "{name}: the gateway");
        runtime
    }))
}

/// Runs `what` in a world for each runtime.
fn for_each_runtime(what: fn(&str, &World)) {
    for name in RUNTIMES {
        let run = move || {
            let Some(world) = World::new() else { return };
            world.netns_ok(&["create"], "");
            what(name, &world);
        };
        let thread = std::thread::Builder::new().name(name.to_owned());
        assert!(thread.spawn(run).expect("start a thread").join().is_ok(), "{name}");
    }
}

#[test]
fn prestart_and_create_runtime_in_one_definition_attach_once() {
    for_each_runtime(|name, world| {
        let before = ours(world);
        let Some(started) = with(name, world, |config| {
            config["hooks"]["prestart"] = config["hooks"]["createRuntime"].clone();
        }) else {
            return;
        };
        let mut runtime = started.expect("start");
        assert_eq!(world.ls().as_array().unwrap().len(), 1, "{name}");
        runtime.delete(world, "box");
        assert_eq!(ours(world), before, "{name}");
    });
}

#[test]
fn a_create_container_hook_is_refused_with_the_remedy_and_changes_nothing() {
    for_each_runtime(|name, world| {
        let before = ours(world);
        let Some(refused) = with(name, world, |config| {
            config["hooks"] = json!({"createContainer": [{"path": NETNS}]});
        }) else {
            return;
        };
        assert!(refused.is_err(), "{name} started it");
        let log = world.sh("cat /run/netns-hook/log");
        assert!(log.contains("name it in \"createRuntime\""), "{name}: {log}");
        assert_eq!(ours(world), before, "{name}");
    });
}

#[test]
fn host_networking_is_refused_and_gets_the_host_no_interface() {
    for_each_runtime(|name, world| {
        let before = ours(world);
        let Some(refused) = with(name, world, |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.retain(|namespace| namespace["type"] != "network");
        }) else {
            return;
        };
        assert!(refused.is_err(), "{name} started it");
        let log = world.sh("cat /run/netns-hook/log");
        assert!(log.contains("the host's own network namespace"), "{name}: {log}");
        assert_eq!(ours(world), before, "{name}");
    });
}

#[test]
fn a_container_with_a_user_namespace_gets_its_network() {
    for_each_runtime(|name, world| {
        let before = ours(world);
        world.sh("chmod 755 /run/test /run/test/runc 2>/dev/null; true");
        let Some(started) = with(name, world, |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            for map in ["uidMappings", "gidMappings"] {
                config["linux"][map] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
            }
        }) else {
            return;
        };
        let mut runtime = started.expect("start");
        runtime.delete(world, "box");
        assert_eq!(ours(world), before, "{name}");
    });
}

#[test]
fn one_id_in_two_containerd_namespaces_is_two_containers() {
    let done = in_a_world("by hand", |_, world, _| {
        let (Some(runc), Some(_)) = (find("runc"), find("containerd")) else { return };
        world.netns_ok(&["create"], "");
        let before = ours(world);
        let mut containerd = Containerd::new(world, &runc);
        let ask = Ask { id: "web", options: &[], then_fails: false };
        let blue = containerd.start_in(world, "blue", ask).expect("start blue");
        let green = containerd.start_in(world, "green", ask).expect("start green");
        assert_eq!(world.ls().as_array().unwrap().len(), 2);
        assert!(blue.pings("172.19.0.3") && green.pings("172.19.0.2"));
        containerd.delete_in(world, "blue", "web");
        assert!(green.pings("172.19.0.1"), "the other one keeps its network");
        containerd.delete_in(world, "green", "web");
        assert_eq!(ours(world), before);
    });
    assert!(done.is_ok());
}
