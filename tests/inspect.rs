//! Everything about one container: what `netns inspect` says is what the kernel says.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::scene::{Scene, ask};
use crate::common::{Process, World, on_both_variants, wait_for};

fn inspect(world: &World, id: &str) -> Value {
    serde_json::from_str(&world.netns_ok(&["inspect", id, "--json"], "")).expect("inspect --json is JSON")
}

/// The one link that an `ip -j` command shows.
fn only(json: &str) -> Value {
    let links: Value = serde_json::from_str(json).expect("ip -j is JSON");
    assert_eq!(links.as_array().map(Vec::len), Some(1), "{links}");
    links[0].clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn both_ends_are_as_ip_shows_them() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[("publish", "8080:80"), ("mtu", "1400")]);
    let inspected = inspect(&world, "web");
    let host = world.sh(&format!("ip -j -d -s link show dev netnsv0-{}", container.pid));
    let inside = container.sh("ip -j -d -s link show dev eth0");
    let (host, inside) = (only(&host), only(&inside));
    for (shown, told) in [(&host, &inspected["host_end"]), (&inside, &inspected["container_end"])] {
        assert_eq!(shown["ifindex"], told["index"]);
        assert_eq!(shown["ifname"], told["name"]);
        assert_eq!(shown["link_index"], told["peer_index"]);
        assert_eq!(shown["address"], told["mac"]);
        assert_eq!((&shown["mtu"], &told["mtu"]), (&1400.into(), &1400.into()));
        assert_eq!(shown["linkinfo"]["info_kind"], told["kind"]);
        assert_eq!(shown["operstate"].as_str().map(str::to_lowercase).as_deref(), told["state"].as_str());
    }
    assert_eq!(host["ifindex"], inside["link_index"], "each names the other");
    let (slave, port) = (&host["linkinfo"]["info_slave_data"], &inspected["host_end"]["port"]);
    assert_eq!((&slave["state"], &slave["hairpin"]), (&port["state"], &port["hairpin"]), "{slave}");
    assert_eq!((&port["state"], &port["hairpin"]), (&"forwarding".into(), &true.into()));
    assert_eq!(slave["no"], format!("{:#x}", number(&port["number"])), "{slave}");
    assert_eq!(inspected["container_end"]["port"], Value::Null);
    let bridge = only(&world.sh("ip -j link show dev netns0"));
    assert_eq!(bridge["ifindex"], inspected["bridge_link"]["index"]);
    assert_eq!(inspected["bridge_link"]["addresses"], serde_json::json!(["172.19.0.1/16"]));
}

#[test]
fn the_counters_rise_by_what_was_sent() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[]);
    let before = inspect(&world, "web");
    container.sh("busybox ping -c 5 -i 0.1 -s 1000 172.19.0.1");
    let after = inspect(&world, "web");
    let risen = |end: &str, direction: &str, what: &str| {
        let count = |inspected: &Value| number(&inspected[end]["counters"][direction][what]);
        count(&after) - count(&before)
    };
    for (end, direction) in
        [("container_end", "tx"), ("container_end", "rx"), ("host_end", "rx"), ("host_end", "tx")]
    {
        assert!(risen(end, direction, "packets") >= 5, "{end} {direction}: {after}");
        assert!(risen(end, direction, "bytes") >= 5 * 1000, "{end} {direction}: {after}");
        assert_eq!(risen(end, direction, "errors"), 0);
        assert_eq!(risen(end, direction, "dropped"), 0);
    }
    let text = world.netns_ok(&["inspect", "web"], "");
    let sent = number(&after["container_end"]["counters"]["tx"]["packets"]);
    assert!(
        text.lines().any(|line| line.starts_with("  sent ") && line.contains(&format!(" {sent} packets"))),
        "{text}"
    );
}

#[test]
fn every_interface_inside_is_listed() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[]);
    world.sh("ip link add wire0 type veth peer name nic0");
    world.sh(&format!("ip link set nic0 netns {}", container.pid));
    container.sh("ip addr add 12.0.0.10/8 dev nic0; ip link set nic0 up");
    let inspected = inspect(&world, "web");
    let listed = inspected["interfaces"].as_array().expect("interfaces");
    let shown: Value = serde_json::from_str(&container.sh("ip -j link")).expect("JSON");
    let numbers = |links: &[Value], key| links.iter().map(|link| number(&link[key])).collect::<BTreeSet<_>>();
    assert_eq!(numbers(listed, "index"), numbers(shown.as_array().expect("links"), "ifindex"));
    let nic = listed.iter().find(|link| link["name"] == "nic0").expect("nic0");
    assert_eq!((&nic["kind"], &nic["addresses"]), (&"veth".into(), &serde_json::json!(["12.0.0.10/8"])));
    let lo = listed.iter().find(|link| link["name"] == "lo").expect("lo");
    assert_eq!((&lo["kind"], &lo["peer_index"]), (&"loopback".into(), &Value::Null));
    let text = world.netns_ok(&["inspect", "web"], "");
    assert!(text.contains(": nic0@if") && text.contains("12.0.0.10/8"), "{text}");
}

fn a_connection_is_counted_by_the_rule_that_let_it_in(world: World) {
    let scene = Scene::new(world, "8080:80,8081:81/udp");
    let packets = || -> Vec<u64> {
        let inspected = inspect(&scene.world, "web");
        let counters = inspected["rule_counters"].as_array().expect("rule_counters").clone();
        let rules: Vec<&Value> = counters.iter().map(|counter| &counter["rule"]).collect();
        let plain = inspected["rules"].as_array().expect("rules");
        assert!(
            plain.iter().eq(rules) && plain.iter().all(|rule| !rule.to_string().contains(" -c ")),
            "{plain:?}"
        );
        counters.iter().map(|counter| number(&counter["packets"])).collect()
    };
    assert_eq!(packets(), [0, 0]);
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "8080/tcp"), "web");
    let [tcp, udp] = packets()[..] else { panic!("two rules") };
    assert!(tcp >= 1 && udp == 0, "{tcp} {udp}");
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "8081/udp"), "secret");
    let [again, udp] = packets()[..] else { panic!("two rules") };
    assert!(again == tcp && udp >= 1, "{again} {udp}");
    let text = scene.world.netns_ok(&["inspect", "web"], "");
    assert!(text.contains(&format!("  matched     {tcp} packet")), "{text}");
}

on_both_variants!(a_connection_is_counted_by_the_rule_that_let_it_in);

#[test]
fn the_rules_of_both_families_and_of_routed_addresses_are_counted_and_the_routes_shown() {
    let text = "[network.both]\nsubnets = ['10.8.0.1/24', 'fd00:8::1/64']\n\
                [network.routed]\nsubnets = ['10.9.0.1/24', 'fd00:9::1/64']\nmode = 'routed'\n";
    for firewall in ["nft", "legacy", "nftables"] {
        let Some(mut world) = World::new() else { return };
        world.use_firewall(firewall);
        std::fs::write("/run/test/netns.toml", text).unwrap();
        world.flags.push("--config=/run/test/netns.toml".to_owned());
        let other = world.neighbour_of_both();
        other.sh("ip route add 10.9.0.0/24 via 10.0.0.1; ip route add fd00:9::/64 via 2001:db8::1");
        for (network, addresses) in
            [("both", ["10.0.0.1", "2001:db8::1"]), ("routed", ["10.9.0.2", "fd00:9::2"])]
        {
            let process = world.process();
            world.attach_ok(network, process, &[("network", network), ("publish", "80:80/udp")]);
            crate::common::traffic::serve_udp(process, 80, "web");
            let counted = || -> Vec<u64> {
                let inspected = inspect(&world, network);
                let counters = inspected["rule_counters"].as_array().unwrap().clone();
                counters.iter().map(|counter| number(&counter["packets"])).collect()
            };
            assert_eq!(counted(), [0, 0], "{firewall}: {network}");
            for (at, address) in addresses.into_iter().enumerate() {
                let reached = (0..4).any(|_| ask(Some(other), address, "80/udp") == "web");
                assert!(reached, "{firewall}: {address}");
                assert!(counted()[at] > 0 && counted()[at + 1..].iter().all(|none| *none == 0), "{firewall}");
            }
            let inspected = inspect(&world, network);
            let rules = inspected["rules"].as_array().unwrap();
            let is = |rule: &Value, word: &str| rule.as_str().unwrap().contains(word);
            let words = if firewall == "nftables" {
                [" ip netns ", " ip6 netns "]
            } else {
                ["iptables -t ", "ip6tables -t "]
            };
            assert!(rules.iter().zip(words).all(|(rule, word)| is(rule, word)), "{rules:?}");
            let routes = inspected["routes"].to_string();
            let gateway = if network == "routed" { "fd00:9::1" } else { "fd00:8::1" };
            assert!(routes.contains(&format!("default via {gateway} dev eth0")), "{routes}");
        }
    }
}

#[test]
fn it_says_since_when_and_who_shares_the_namespace() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[]);
    let beside = std::process::Command::new("nsenter")
        .args(["-t", &container.pid.to_string(), "-n", "sleep", "1000"])
        .spawn()
        .expect("start a process");
    let beside = Process { pid: world.keep(beside) };
    let netns = |process: Process| std::fs::read_link(format!("/proc/{}/ns/net", process.pid)).ok();
    wait_for("a shared namespace", || netns(beside).is_some() && netns(beside) == netns(container));
    world.attach_ok("side", beside, &[]);
    assert_eq!(inspect(&world, "web")["shared_with"], serde_json::json!(["side"]));
    assert_eq!(inspect(&world, "side")["shared_with"], serde_json::json!(["web"]));
    let text = world.netns_ok(&["inspect", "side"], "");
    assert!(text.contains("\nshared with   web\n"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("since         20") && line.ends_with("s ago")),
        "{text}"
    );
    assert!(text.contains("\nlease         172.19.0.2/16 on netns0\n"), "{text}");
}

#[test]
fn of_a_dead_container_is_said_what_is_left() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[("publish", "8080:80")]);
    world.kill(container);
    let veth = format!("netnsv0-{}", container.pid);
    wait_for("the veth pair to go", || !world.links().contains(&veth));
    let inspected = inspect(&world, "web");
    assert_eq!((&inspected["status"], &inspected["host_end"]), (&"dead".into(), &Value::Null));
    assert_eq!(inspected["interfaces"], serde_json::json!([]));
    assert_eq!(inspected["rules"].as_array().map(Vec::len), Some(1), "its rule still stands");
    let text = world.netns_ok(&["inspect", "web"], "");
    assert!(text.contains("\nhost end      not there\ninside        not there\n"), "{text}");
}

#[test]
fn a_name_from_the_container_does_nothing_to_a_terminal() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    // Names that are no UTF-8 cannot be shown, and must hide nothing else.
    container.sh(r#"ip link add "$(printf 'x\377\376')" type veth peer name "$(printf 'a\033[31m')""#);
    container.sh(r#"ip link add "$(printf 'c\302\2332J')" type veth peer name b0"#);
    world.attach_ok("web", container, &[]);
    for args in [&["inspect", "web"][..], &["inspect", "web", "--json"]] {
        let said = world.netns_ok(args, "");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
        assert!(said.contains("eth0") && said.contains("b0"), "{said}");
        assert!(said.contains("2J") && said.contains("[31m"), "{said}");
    }
}
