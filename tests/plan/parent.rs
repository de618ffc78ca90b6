//! Networks on a link of the host: golden texts of what macvlan, ipvlan and a VLAN take, and what
//! nothing can be on.

use std::path::Path;

use netns::config::Options;
use netns::model::observed::{Host, Link, ObservedNetwork, ObservedParent};

use super::{Known, after, assert_golden, attach, fresh_host, publish};

const ON: &str = "parent = \"ens6\"\nsubnets = [\"10.20.0.1/24\", \"fd00:20::1/64\"]\n\
                  lease-ranges = [\"10.20.0.100-10.20.0.109\"]\n";

fn known(keys: &str) -> Known {
    let text = format!("[network.lan]\n{ON}{keys}\n[network.front]\nsubnets = [\"10.8.0.1/24\"]");
    let defined = netns::config::file::parse(&text, Path::new("/f")).unwrap().networks;
    Known { defined, ..Known::default() }
}

fn nic(name: &str, index: u32, kind: Option<&str>) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind: kind.map(str::to_owned),
        address: vec![2, 0xaa, 0, 0, 0, 1],
        mtu: 1500,
        up: true,
        ..Link::default()
    }
}

/// A host with a NIC, and the link of a VLAN on it if that is there.
fn host(vlan: Option<Link>) -> Host {
    let parent = ObservedParent { link: Some(nic("ens6", 3, None)), vlan, wireless: false };
    let networks = vec![ObservedNetwork { parent, uplink_mtu: Some(1500), ..ObservedNetwork::default() }];
    Host { networks, ..fresh_host() }
}

fn lan() -> Options {
    Options { network: vec!["lan".parse().unwrap()], ..Options::default() }
}

#[test]
fn each_driver_takes_its_steps() {
    for (name, keys) in [
        ("macvlan", "driver = \"macvlan\"\nhost-access = true"),
        (
            "macvlan-advertisements",
            "driver = \"macvlan\"\nrouter-advertisements = true\nmacvlan-mode = \"vepa\"",
        ),
        ("macvlan-passthru", "driver = \"macvlan\"\nmacvlan-mode = \"passthru\"\ninternal = true"),
        ("ipvlan-vlan", "driver = \"ipvlan\"\nvlan = 20"),
        ("ipvlan-l3", "driver = \"ipvlan\"\nipvlan-mode = \"l3\""),
    ] {
        assert_golden(name, &attach(lan(), &host(None), &known(keys), "web", 42).unwrap());
    }
}

#[test]
fn the_link_of_a_vlan_is_shared_by_networks_and_that_of_the_administrator_is_left_alone() {
    let keys = "driver = \"macvlan\"\nvlan = 20";
    let there = || Some(Link { peer: Some(3), ..nic("ens6.20", 4, Some("vlan")) });
    let found = attach(lan(), &host(there()), &known(keys), "web", 42).unwrap();
    assert!(!found.networks[0].network.steps.iter().any(|step| step.to_string().contains("type vlan")));
    let first = attach(lan(), &host(None), &known(keys), "web", 42).unwrap();
    let made = |plan: &netns::plan::Plan| {
        plan.networks[0].network.steps.iter().filter(|step| step.to_string().contains("type vlan")).count()
    };
    assert_eq!(made(&first), 1);
    let second = Known { defined: known(keys).defined, ..after(&first) };
    let second = attach(lan(), &host(there()), &second, "db", 43).unwrap();
    assert_eq!((made(&second), second.networks[0].steps.len()), (1, 0), "held, and not taken again");
    let lost = Known { defined: known(keys).defined, ..after(&first) };
    let lost = attach(lan(), &host(None), &lost, "db", 43).unwrap();
    assert_eq!((made(&lost), lost.networks[0].steps.len()), (1, 1), "somebody has deleted it");
}

#[test]
fn what_nothing_can_be_on_is_refused_with_what_to_do() {
    let refused = |driver: &str, change: &dyn Fn(&mut ObservedParent)| {
        let mut host = host(None);
        change(&mut host.networks[0].parent);
        let known = known(&format!("driver = \"{driver}\"\nvlan = 20"));
        attach(lan(), &host, &known, "web", 42).map_or_else(|error| error.to_string(), |_| "fine".to_owned())
    };
    let of_link =
        |change: fn(&mut Link)| move |parent: &mut ObservedParent| change(parent.link.as_mut().unwrap());
    for (said, hint, told) in [
        ("the host has no such link", "`ip -brief link`", refused("macvlan", &|parent| parent.link = None)),
        ("it is down", "ip link set ens6 up", refused("ipvlan", &of_link(|link| link.up = false))),
        (
            "it is a port of a bridge",
            "name the bridge",
            refused("macvlan", &of_link(|link| link.master = Some(9))),
        ),
        ("it is wireless", "driver = \"ipvlan\"", refused("macvlan", &|parent| parent.wireless = true)),
        (
            "it is a tun link, and no",
            "leads to a wire",
            refused(
                "macvlan",
                &of_link(|link| {
                    (link.kind, link.address) = (Some("tun".to_owned()), Vec::new());
                }),
            ),
        ),
        (
            "use parent ens6.20 for network lan: it is a dummy link, and none of a VLAN on ens6",
            "rename it",
            refused("macvlan", &|parent| parent.vlan = Some(nic("ens6.20", 4, Some("dummy")))),
        ),
    ] {
        assert!(told.contains(said) && told.contains(hint), "{told}\nand not {said}");
    }
    assert_eq!(refused("ipvlan", &|parent| parent.wireless = true), "fine");
}

#[test]
fn a_port_goes_to_the_network_that_has_a_bridge() {
    let asked = |networks: [&str; 2]| {
        let network = networks.iter().map(|name| name.parse().unwrap()).collect();
        Options { network, ..publish("8080:80") }
    };
    let mut host = host(None);
    host.networks.extend(fresh_host().networks);
    let plan = attach(asked(["lan", "front"]), &host, &known("driver = \"macvlan\""), "web", 42).unwrap();
    assert_golden("macvlan-and-bridge", &plan);
    let alone = Options { network: vec!["lan".parse().unwrap()], ..publish("8080:80") };
    let error = attach(alone, &host, &known("driver = \"macvlan\""), "web", 42).unwrap_err().to_string();
    assert!(error.contains("network lan is on ens6 itself, where nothing is translated"), "{error}");
}
