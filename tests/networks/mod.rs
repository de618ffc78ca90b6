//! Networks by name, and containers on several of them, with real packets.

mod apart;
mod commands;
mod definitions;
mod families;
mod interrupted;
mod names;
mod subnet_env;

use std::fs;

use crate::common::traffic::{ask_tcp_from, serve_tcp};
use crate::common::{Process, World, stderr};

const DEFINED: &str = "[network.front]\nsubnets = ['10.8.0.1/24']\n\
                       [network.back]\nsubnets = ['10.9.0.1/24']\n";
/// Some lines that say the same on every host.
const HOST: &str = "sysctl -a 2>/dev/null | grep -E '^net\\.(ipv4|ipv6|bridge)' | \
                    grep -vE 'random|netfilter.nf_conntrack_count|tcp_fastopen_key|route_flush|neigh'";

/// A world whose configuration file says this.
fn world(configuration: &str) -> Option<World> {
    let mut world = World::new()?;
    configure(&world, configuration);
    world.flags.push("--config=/run/test/netns.toml".to_owned());
    Some(world)
}

fn configure(world: &World, text: &str) {
    fs::write(world.dir.join("netns.toml"), text.replace('\'', "\"")).expect("write netns.toml");
}

/// What an attach that must fail says.
fn refused(world: &World, id: &str, process: Process, network: &str) -> String {
    let output = world.attach(id, process, &[("network", network)]);
    assert!(!output.status.success(), "{network}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn a_container_on_two_networks_reaches_the_neighbours_on_each_and_leaves_nothing() {
    let Some(mut world) = world(DEFINED) else { return };
    let [both, front, back] = [(); 3].map(|()| world.process());
    for network in ["front", "back"] {
        world.netns_ok(&["create", network], "");
    }
    let before = world.snapshot();
    world.attach_ok("front", front, &[("network", "front"), ("ipfile", "f")]);
    world.attach_ok("back", back, &[("network", "back"), ("ipfile", "b")]);
    world.attach_ok("both", both, &[("network", "front;back:ip=10.9.0.77"), ("ipfile", "both")]);
    assert!(both.sh("ip -o -4 addr show eth0").contains("10.8.0.3/24"));
    assert!(both.sh("ip -o -4 addr show eth1").contains("10.9.0.77/24"));
    for address in ["10.8.0.1", "10.8.0.2", "10.9.0.1", "10.9.0.2"] {
        assert!(both.pings(address), "{address}");
    }
    assert!(front.pings("10.8.0.3") && back.pings("10.9.0.77"));
    assert!(!front.pings("10.9.0.77") && !front.pings("10.9.0.2"), "networks are strict");
    let row = world.ls().as_array().unwrap().iter().find(|row| row["id"] == "both").unwrap().clone();
    assert_eq!(row["interface"], "eth0");
    let places = row["networks"].as_array().unwrap();
    assert_eq!((&places[0]["network"], &places[1]["network"]), (&"front".into(), &"back".into()));
    assert_eq!(places[1]["addresses"][0], "10.9.0.77/24");
    let text = world.netns_ok(&["inspect", "both"], "");
    for said in ["10.8.0.3/24 on front", "10.9.0.77/24 on back", "gateway       10.9.0.1"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(text.matches("\nhost end ").count(), 2, "{text}");
    for id in ["both", "front", "back"] {
        world.detach_ok(id);
    }
    world.assert_as(&before);
}

#[test]
fn the_default_route_is_by_order_or_by_metric() {
    let Some(mut world) = world(DEFINED) else { return };
    for (asked, expected) in [
        ("front;back", "via 10.8.0.1 dev eth0"),
        ("back;front", "via 10.9.0.1 dev eth0"),
        ("front:metric=200;back:metric=100", "via 10.9.0.1 dev eth1"),
        ("front:no-default-route;back", "via 10.9.0.1 dev eth1"),
    ] {
        let process = world.process();
        world.attach_ok("web", process, &[("network", asked)]);
        let route = process.sh("ip -4 route get 192.0.2.1");
        assert!(route.contains(expected), "{asked}: {route}");
        world.detach_ok("web");
    }
    let process = world.process();
    world.attach_ok("web", process, &[("network", "front:no-default-route;back:no-default-route")]);
    assert_eq!(process.sh("ip -4 route show default"), "");
}

#[test]
fn what_arrives_by_one_network_is_answered_by_it_with_strict_filters_on_both_sides() {
    let Some(mut world) = world(DEFINED) else { return };
    let (web, out) = (world.process(), world.neighbour());
    world.attach_ok("web", web, &[("network", "front;back")]);
    world.sh("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done");
    web.sh("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done");
    out.sh("ip route add 10.8.0.0/15 via 10.0.0.1");
    serve_tcp(web, 80, "web");
    // The host itself, by each.
    for address in ["10.8.0.2", "10.9.0.2"] {
        assert_eq!(crate::common::traffic::ask_tcp(&format!("{address}:80")), "web", "{address}");
    }
}

#[test]
fn a_hundred_containers_of_two_networks_leave_the_host_as_it_was() {
    let Some(mut world) = world(DEFINED) else { return };
    let process = world.process();
    for network in ["front", "back"] {
        world.netns_ok(&["create", network], "");
    }
    let (before, parameters) = (world.snapshot(), world.sh(HOST));
    for _ in 0..100 {
        world.attach_ok("web", process, &[("network", "front;back"), ("publish", "8080:80")]);
        world.detach_ok("web");
    }
    world.assert_as(&before);
    assert_eq!(world.sh(HOST), parameters);
}

#[test]
fn nobody_gets_a_mac_address_that_another_has() {
    let Some(mut world) = world(DEFINED) else { return };
    let (a, b) = (world.process(), world.process());
    let mac = "02:00:00:00:00:07";
    let front = &format!("front:mac={mac}");
    world.attach_ok("a", a, &[("network", front), ("ipfile", "a")]);
    assert!(a.sh("ip -o link show eth0").contains(mac));
    let said = refused(&world, "b", b, front);
    assert!(
        said.contains(&format!("use MAC address {mac} on network front for container b: container a has it")),
        "{said}"
    );
    let said = refused(&world, "b", b, "front:mac=02:6e:0a:08:00:09");
    assert!(said.contains("it is one that others get by their address"), "{said}");
    world.attach_ok("b", b, &[("network", &format!("back:mac={mac}")), ("ipfile", "b")]);
    world.detach_ok("b");
    world.detach_ok("a");
    world.attach_ok("b", b, &[("network", front)]);
    assert!(b.pings("10.8.0.1"));
}

#[test]
fn what_is_asked_for_on_a_network_is_under_the_policy_of_its_option() {
    let policy = "[policy]\nstatic-ips = ['10.8.0.0/28']\nnetworks = ['front']\n";
    let Some(mut world) = world(&format!("{policy}{DEFINED}")) else { return };
    let process = world.process();
    for (network, cause) in [
        ("back", "the policy's networks allows front, and not back"),
        ("front:ip=10.8.0.99", "the policy's static-ips allows 10.8.0.0/28, and not 10.8.0.99"),
        ("front:mtu=1400", "only the policy's mtus may allow it, as [policy] mtus = [\"1400\"]"),
        ("front:iface=x", "only the policy's ifaces may allow it"),
        ("front:route=10.7.0.0/16 via 10.8.0.9", "only the policy's options may allow it"),
    ] {
        let said = refused(&world, "web", process, network);
        assert!(said.contains(cause), "{network}: {said}");
    }
    world.attach_ok("web", process, &[("network", "front:ip=10.8.0.9,alias=db,no-default-route")]);
    world.detach_ok("web");
    let options = ["--network", "back:iface=x,ip=10.9.0.200"];
    world.netns_ok(&options, &crate::common::state("web", "creating", Some(process.pid), &[]));
    assert!(process.sh("ip -o -4 addr show x").contains("10.9.0.200/24"), "root may");
}

#[test]
fn a_port_is_published_on_the_network_that_is_said() {
    let Some(mut world) = world(DEFINED) else { return };
    let (web, out) = (world.process(), world.neighbour());
    let asked = [("network", "front;back:publish=8081:80"), ("publish", "8080:80")];
    world.attach_ok("web", web, &asked);
    web.sh("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done");
    world.sh("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done");
    serve_tcp(web, 80, "web");
    for port in [8080, 8081] {
        assert_eq!(ask_tcp_from(out, &format!("10.0.0.1:{port}")), "web", "{port}");
    }
    let rules = world.rules();
    assert!(rules.contains("10.8.0.2:80") && rules.contains("10.9.0.2:80"), "{rules}");
}

#[test]
fn doctor_finds_no_fault_in_what_a_network_is_made_for() {
    let defined = "[network.inside]\nsubnets = ['10.8.0.1/24']\ninternal = true\n\
                   [network.alone]\nsubnets = ['10.9.0.1/24']\nmode = 'isolated'\ninter-container = false\n\
                   [network.routed]\nsubnets = ['10.10.0.1/24', 'fd00:10::1/64']\nmode = 'routed'\n\
                   [network.six]\nsubnets = ['fd00:11::1/64']";
    for firewall in ["iptables", "nftables"] {
        let Some(mut world) = world(&format!("firewall = '{firewall}'\n{defined}")) else { return };
        world.neighbour();
        for (at, network) in ["inside", "alone", "routed", "six"].into_iter().enumerate() {
            let process = world.process();
            serve_tcp(process, 80, "web");
            let port = format!("{}:80", 8080 + at);
            let publish = Some(("publish", port.as_str())).filter(|_| network != "alone");
            let asked: Vec<_> = [("network", network)].into_iter().chain(publish).collect();
            world.attach_ok(network, process, &asked);
        }
        let found = world.netns(&["doctor"], "");
        assert!(found.status.success(), "{firewall}: {}", String::from_utf8_lossy(&found.stdout));
    }
}
