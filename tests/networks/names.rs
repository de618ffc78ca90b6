//! Who is called what, network by network, as programs in real containers see it.

use std::fs;

use super::{DEFINED, world};
use crate::common::{Process, World, ask_for, change};

const NAMES: &str = "/run/netns-hook/names";

fn start(world: &mut World, id: &str, network: &str) -> Process {
    let bundle = world.bundle(id, &["createRuntime", "poststop"], "");
    change(&bundle, |config| ask_for(config, &[("network", network)]));
    world.runc_start(id, &bundle)
}

/// The addresses by which a container's own hosts file knows these names.
fn knows(process: Process, names: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{}/root/etc/hosts", process.pid)).expect("its hosts");
    let line = |name: &&str| {
        let has = |line: &&str| line.split_whitespace().skip(1).any(|word| word == *name);
        let found: Vec<&str> = text.lines().filter(has).filter_map(|line| line.split(' ').next()).collect();
        found.join(",")
    };
    names.iter().map(line).collect()
}

#[test]
fn a_container_sees_the_names_of_its_networks_and_no_others() {
    let Some(mut world) = world(DEFINED) else { return };
    let front = start(&mut world, "f1", "front:alias=web");
    let back = start(&mut world, "b1", "back");
    let both = start(&mut world, "fb", "back:alias=db;front:alias=api");
    let late = start(&mut world, "b2", "back:alias=late");
    let names = ["f1", "web", "b1", "fb", "db", "api", "late"];
    assert_eq!(knows(front, &names), ["10.8.0.2", "10.8.0.2", "", "10.8.0.3", "", "10.8.0.3", ""]);
    assert_eq!(knows(back, &names), ["", "", "10.9.0.2", "10.9.0.3", "10.9.0.3", "", "10.9.0.4"]);
    let of_both = knows(both, &names);
    assert_eq!(of_both[..3], ["10.8.0.2", "10.8.0.2", "10.9.0.2"]);
    assert!(["10.8.0.3,10.9.0.3", "10.9.0.3,10.8.0.3"].contains(&of_both[3].as_str()), "{of_both:?}");
    assert_eq!(of_both[4..], ["10.9.0.3", "10.8.0.3", "10.9.0.4"]);
    assert_eq!(knows(late, &names[2..3]), ["10.9.0.2"]);
    world.runc_delete("b2");
    world.runc_delete("f1");
    assert_eq!(knows(both, &["late", "web", "b1"]), ["", "", "10.9.0.2"]);
    assert!(fs::exists(format!("{NAMES}/back+front/hosts")).unwrap());
    let second = start(&mut world, "fb2", "front;back");
    world.runc_delete("fb");
    assert_eq!(knows(second, &["fb", "b1"]), ["", "10.9.0.2"], "the file stays for the other");
    world.runc_delete("fb2");
    assert!(!fs::exists(format!("{NAMES}/back+front")).unwrap(), "gone with the last");
    assert!(!fs::exists(format!("{NAMES}/back/with")).unwrap());
    world.runc_delete("b1");
}

#[test]
fn the_name_servers_of_a_network_are_those_of_its_containers() {
    let text = format!("{DEFINED}dns = ['10.9.0.53']\n");
    let Some(mut world) = world(&text) else { return };
    let both = start(&mut world, "both", "front;back");
    let back = start(&mut world, "back", "back");
    for process in [both, back] {
        let text = fs::read_to_string(format!("/proc/{}/root/etc/resolv.conf", process.pid)).unwrap();
        assert!(text.contains("nameserver 10.9.0.53\n"), "{text}");
    }
    world.runc_delete("both");
    world.runc_delete("back");
}
