//! Containers of runc that share a network namespace by its path in their `config.json`, each
//! with the hook in place.

use std::fs;
use std::path::PathBuf;

use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{Process, World, ask_for_in, change};

const STAGES: [&str; 2] = ["createRuntime", "poststop"];
const NAMED: [(&str, &str); 1] = [("name-netns", "true")];

/// The bundle of a container that lives in the namespace of `first`, with these annotations.
fn beside(world: &World, id: &str, first: Process, publish: &str) -> PathBuf {
    let bundle = world.bundle(id, &STAGES, publish);
    change(&bundle, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        let network = namespaces.iter_mut().find(|namespace| namespace["type"] == "network").unwrap();
        network["path"] = format!("/proc/{}/ns/net", first.pid).into();
    });
    bundle
}

/// Two containers in one namespace, each with a port and a name in `ip netns`.
fn pair(world: &mut World) -> (Process, Process) {
    let web = world.bundle("web", &STAGES, "8080:80");
    ask_for_in(&web, &NAMED);
    let first = world.runc_start("web", &web);
    let side = beside(world, "side", first, "8081:81");
    ask_for_in(&side, &NAMED);
    let second = world.runc_start("side", &side);
    (first, second)
}

/// Id, address and status of all that `ls` shows.
fn rows(world: &World) -> Vec<[String; 3]> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let listed = world.ls();
    let row = |row: &serde_json::Value| [&row["id"], &row["addresses"][0], &row["status"]].map(text);
    listed.as_array().unwrap().iter().map(row).collect()
}

fn row(id: &str, status: &str) -> [String; 3] {
    [id, "172.19.0.2/16", status].map(str::to_owned)
}

#[test]
fn both_are_shown_with_one_address_and_the_last_one_out_undoes() {
    for first_out in ["web", "side"] {
        std::thread::spawn(move || life(first_out)).join().unwrap();
    }
}

/// The life of a pair of which this one goes first.
fn life(first_out: &str) {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let (web, side) = pair(&mut world);
    assert_eq!(rows(&world), [row("side", "running"), row("web", "running")]);
    assert_eq!(web.sh("ip -o link show type veth").lines().count(), 1, "one interface");
    serve_tcp(web, 80, "web");
    serve_tcp(side, 81, "side");
    assert_eq!([ask(None, "172.19.0.1", "8080/tcp"), ask(None, "172.19.0.1", "8081/tcp")], ["web", "side"]);
    for id in ["web", "side"] {
        assert!(world.netns_ok(&["exec", id, "ip", "-br", "addr"], "").contains("172.19.0.2/16"), "{id}");
        assert!(world.sh(&format!("ip netns exec {id} ip -br addr")).contains("172.19.0.2/16"), "{id}");
    }

    let last_out = if first_out == "web" { "side" } else { "web" };
    world.runc_delete(first_out);
    assert_eq!(rows(&world), [row(last_out, "running")]);
    assert!(world.sh("ip netns").starts_with(last_out) && world.sh("ip netns").lines().count() == 1);
    let survivor = if last_out == "web" { web } else { side };
    assert!(survivor.pings("172.19.0.1"));
    assert!(world.netns_ok(&["exec", last_out, "ip", "-br", "addr"], "").contains("172.19.0.2/16"));
    let ports = ["8080/tcp", "8081/tcp"].map(|port| ask(None, "172.19.0.1", port));
    let mut expected = ["web", "side"].map(|id| if id == last_out { id } else { "" });
    assert_eq!(ports, expected.each_mut().map(|id| id.to_owned()));

    world.runc_delete(last_out);
    world.assert_as(&before);
    assert_eq!(world.ls(), serde_json::json!([]));
}

#[test]
fn a_pair_that_was_killed_is_cleaned_up_when_the_last_one_is_dead() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let (web, side) = pair(&mut world);
    let dies = |process: Process| {
        world.sh(&format!("kill -KILL {}", process.pid));
        let gone = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        crate::common::wait_for("its death", gone);
    };
    dies(web);
    // The first one's process held the namespace open for nobody but itself.
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    assert_eq!(rows(&world), [row("side", "running"), row("web", "running")]);
    assert!(world.netns_ok(&["exec", "web", "ip", "-br", "addr"], "").contains("172.19.0.2/16"));
    assert!(side.pings("172.19.0.1"));
    dies(side);
    assert_eq!(rows(&world), [row("side", "dead"), row("web", "dead")]);
    assert_eq!(world.netns_ok(&["gc"], "").lines().count(), 2);
    assert!(world.sh("ip netns").is_empty());
    for id in ["web", "side"] {
        world.runc_delete(id);
    }
    world.assert_as(&before);
}
