//! Pods come and go.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Client, inside, pings, pod};
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{Process, World, on_every_firewall, wait_for};

on_every_firewall! {
    a_pod_is_reached_by_its_address_and_its_host_port_until_it_goes,
    a_pod_without_a_masquerade_is_known_to_the_world_by_its_own_address,
}

/// A process whose network namespace is the pod `web`'s.
fn web(world: &mut World) -> Process {
    let process = world.process();
    world.sh(&format!(
        "mkdir -p /run/netns && touch /run/netns/web && mount --bind /proc/{}/ns/net /run/netns/web",
        process.pid
    ));
    process
}

fn a_pod_without_a_masquerade_is_known_to_the_world_by_its_own_address(mut world: World) {
    let other = world.neighbour();
    let process = web(&mut world);
    if world.is_on_nftables() {
        world.change_only_here(&["/etc"]);
        std::fs::write("/etc/netns-hook.toml", "firewall = 'nftables'").expect("write a configuration");
    }
    // A host whose policy is to forward nothing.
    world.sh("iptables -P FORWARD DROP");
    // Tables that there were none of are left empty.
    world.netns_ok(&["create", "--bridge", "front0", "--ip", "10.88.0.1/24"], "");
    world.netns_ok(&["rm", "--bridge", "front0"], "");
    let before = world.snapshot();
    serve_tcp(process, 80, "web");
    serve_tcp(process, 81, "unpublished");
    let ports = json!({"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}});
    let client = Client::new("1.0.0").with(&ports);
    for (masqueraded, keys) in
        [(true, json!({"ipMasq": true})), (false, json!({"ipMasq": false})), (false, json!({"ipMasq": null}))]
    {
        let mut client = client.with(&keys);
        if keys["ipMasq"].is_null() {
            client.config.as_object_mut().expect("an object").remove("ipMasq");
        }
        client.add("web", "eth0");
        assert_eq!(ask(Some(other), "10.0.0.1", "8080/tcp"), "web", "by the host's port: {keys}");
        other.sh("ip route add 10.88.0.0/24 via 10.0.0.1");
        let reached = (ask(Some(other), "10.88.0.2", "80/tcp"), ask(Some(other), "10.88.0.2", "81/tcp"));
        let expected = if masqueraded { ("", "") } else { ("web", "unpublished") };
        assert_eq!((reached.0.as_str(), reached.1.as_str()), expected, "by a router's routes: {keys}");
        assert_eq!(seen_by(other, process), if masqueraded { "10.0.0.1" } else { "10.88.0.2" }, "{keys}");
        assert_eq!(
            ask(Some(process), "10.0.0.1", "8080/tcp"),
            "web",
            "the pod's own port, by the host: {keys}"
        );
        assert_eq!(client.of_pod("CHECK", "web", "eth0"), (true, Value::Null));
        client.del("web", "eth0");
        other.sh("ip route del 10.88.0.0/24");
        world.netns_ok(&["rm", "--bridge", "front0"], "");
    }
    world.assert_as(&before);
}

/// Under which address another host at 10.0.0.2 sees a caller.
fn seen_by(other: Process, from: Process) -> String {
    let mut server = Command::new("nsenter");
    server.args([
        "-t",
        &other.pid.to_string(),
        "-n",
        "socat",
        "TCP-LISTEN:4711,reuseaddr",
        "SYSTEM:echo $SOCAT_PEERADDR",
    ]);
    let mut server = server.stdin(Stdio::null()).spawn().expect("start socat");
    wait_for("the server", || !other.sh("ss -lntH 'sport = :4711'").is_empty());
    let seen = from.sh("socat -t 2 - TCP:10.0.0.2:4711 </dev/null");
    server.wait().expect("wait for socat");
    seen.trim().to_owned()
}

fn a_pod_is_reached_by_its_address_and_its_host_port_until_it_goes(mut world: World) {
    world.netns_ok(&["create", "--bridge", "front0", "--ip", "10.88.0.1/24"], "");
    let process = web(&mut world);
    pod(&world, "other");
    let before = world.snapshot();
    let ports = json!({"runtimeConfig": {"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}, {"hostPort": 0, "containerPort": 81},
    ]}});
    let client = Client::new("1.0.0").with(&ports);
    client.add("web", "eth0");
    Client::new("1.0.0").add("other", "eth0");
    serve_tcp(process, 80, "web");
    assert!(pings(&world, "other", "10.88.0.2"));
    for (from, to) in [(None, "127.0.0.1"), (None, "10.88.0.1"), (Some(process), "10.88.0.1")] {
        assert_eq!(ask(from, to, "8080/tcp"), "web", "{to}");
    }
    assert_eq!(client.of_pod("CHECK", "web", "eth0"), (true, Value::Null));
    client.del("web", "eth0");
    Client::new("1.0.0").del("other", "eth0");
    assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "");
    world.assert_as(&before);
}

#[test]
fn one_container_has_several_interfaces_and_loses_one() {
    let Some(world) = World::new() else { return };
    pod(&world, "web");
    let front = Client::new("1.0.0");
    let back = front.with(&json!({
        "name": "back", "bridge": "back0",
        "ipam": {"subnet": "10.89.0.0/24", "rangeStart": "10.89.0.100", "rangeEnd": "10.89.0.101"},
    }));
    front.add("web", "eth0");
    let result = back.add("web", "eth1");
    assert_eq!(result["ips"][0]["address"], "10.89.0.100/24");
    assert_eq!(back.add("web", "eth1"), result, "asked again, nothing changes");
    assert!(pings(&world, "web", "10.88.0.1") && pings(&world, "web", "10.89.0.1"));
    front.del("web", "eth0");
    assert!(pings(&world, "web", "10.89.0.1"), "the other one stays");
    let links = inside(&world, "web", "ip -br link");
    assert!(links.contains("eth1") && !links.contains("eth0"), "{links}");
    back.del("web", "eth1");
    assert_eq!(world.ls(), json!([]));
}

#[test]
fn what_is_gone_or_never_was_is_deleted_without_a_word() {
    let Some(world) = World::new() else { return };
    pod(&world, "web");
    let client = Client::new("0.4.0");
    client.add("web", "eth0");
    world.sh("ip netns del web");
    let nowhere = [("CNI_CONTAINERID", "web"), ("CNI_IFNAME", "eth0")];
    for _ in 0..2 {
        assert_eq!(client.call("DEL", &nowhere), (true, Value::Null));
        assert_eq!(world.ls(), json!([]));
    }
    client.del("never", "eth7");
}

#[test]
fn a_runtimes_list_of_pods_is_all_that_stays_of_its_network() {
    let Some(mut world) = World::new() else { return };
    let (front, back) = (
        Client::new("1.1.0"),
        Client::new("1.1.0").with(&json!({
            "name": "back", "bridge": "back0", "ipam": {"subnet": "10.89.0.0/24"},
        })),
    );
    for name in ["kept", "lost", "elsewhere"] {
        pod(&world, name);
    }
    front.add("kept", "eth0");
    front.add("lost", "eth0");
    front.add("lost", "eth1");
    back.add("elsewhere", "eth0");
    let process = world.process();
    world.netns_ok(
        &["attach", "--id", "hooked", "--bridge", "front0", "--ip", "10.88.0.1/24", &process.pid.to_string()],
        "",
    );
    let list = json!({"cni.dev/valid-attachments": [
        {"containerID": "kept", "ifname": "eth0"}, {"containerID": "lost", "ifname": "eth1"},
    ]});
    assert_eq!(front.with(&list).call("GC", &[]), (true, Value::Null));
    let mut left: Vec<String> = world
        .ls()
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", row["id"].as_str().unwrap(), row["bundle"].as_str().unwrap()))
        .collect();
    left.sort();
    assert_eq!(left, ["elsewhere cni:back/eth0", "hooked ", "kept cni:front/eth0", "lost cni:front/eth1"]);
    assert!(pings(&world, "kept", "10.88.0.1") && process.pings("10.88.0.1"));
}

#[test]
fn pods_and_hooks_containers_on_one_bridge_never_get_one_address() {
    let Some(mut world) = World::new() else { return };
    let client = Client::new("1.0.0");
    for at in 0..3 {
        let (name, process) = (format!("pod{at}"), world.process());
        pod(&world, &name);
        client.add(&name, "eth0");
        let id = format!("hooked{at}");
        world.netns_ok(
            &["attach", "--id", &id, "--bridge", "front0", "--ip", "10.88.0.1/24", &process.pid.to_string()],
            "",
        );
        let address = format!("10.88.0.{}", 2 + 2 * at);
        assert!(process.pings(&address), "{id} reaches {name}");
    }
    let mut addresses: Vec<String> =
        world.ls().as_array().unwrap().iter().map(|row| row["addresses"][0].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 6);
}

#[test]
fn a_check_says_what_is_missing() {
    let Some(world) = World::new() else { return };
    let ports = json!({"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}});
    let client = Client::new("1.0.0").with(&ports);
    for (harm, told) in [
        ("ip netns exec web ip route del default", "ip route add default via 10.88.0.1 dev eth0"),
        ("ip netns exec web ip addr flush dev eth0", "ip addr add 10.88.0.2/24"),
        ("ip netns exec web ip link set eth0 down", "ip link set eth0 up"),
        ("ip link set $(ip -br link | grep -o 'netnsv0-[^@]*') nomaster", "ip link add netnsv0-"),
        ("iptables -t nat -F NETNS-tcp-31", "--dport 8080"),
        ("rm /run/netns-hook/leases/front0/10.88.0.2", "lease"),
    ] {
        pod(&world, "web");
        client.with(&json!({"ipam": {"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.2", "rangeEnd": "10.88.0.2", "routes": [{"dst": "0.0.0.0/0"}]}})).add("web", "eth0");
        assert_eq!(client.of_pod("CHECK", "web", "eth0"), (true, Value::Null));
        world.sh(harm);
        let (done, error) = client.of_pod("CHECK", "web", "eth0");
        assert!(!done && error.to_string().contains(told), "{harm}: {error}");
        client.del("web", "eth0");
        world.sh("ip netns del web");
    }
    let (done, error) = client.of_pod("CHECK", "web", "eth0");
    assert_eq!((done, error["code"].as_u64()), (false, Some(3)), "{error}");
}

#[test]
fn a_network_whose_ranges_are_taken_is_not_available_though_its_subnet_is_not_full() {
    let Some(world) = World::new() else { return };
    let ranges = json!([[
        {"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"},
        {"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.20", "rangeEnd": "10.88.0.20"},
    ]]);
    let client = Client::new("1.1.0").with(&json!({"ipam": {"ranges": ranges}}));
    for (name, address) in [("a", "10.88.0.9/24"), ("b", "10.88.0.20/24")] {
        assert_eq!(client.call("STATUS", &[]), (true, Value::Null), "before {name}");
        pod(&world, name);
        assert_eq!(client.add(name, "eth0")["ips"][0]["address"], address);
    }
    let (done, error) = client.call("STATUS", &[]);
    assert_eq!((done, error["code"].as_u64()), (false, Some(50)), "{error}");
    assert!(error["msg"].as_str().unwrap().ends_with("all 2 are taken"), "{error}");
    let (done, status) = Client::new("1.1.0").call("STATUS", &[]);
    assert!(done, "the rest of the subnet is free: {status}");
    client.del("a", "eth0");
    assert_eq!(client.call("STATUS", &[]), (true, Value::Null));
}

#[test]
fn a_network_without_a_free_address_is_not_available() {
    let Some(world) = World::new() else { return };
    let client = Client::new("1.1.0").with(&json!({"ipam": {"subnet": "10.88.0.0/30"}}));
    assert_eq!(client.call("STATUS", &[]), (true, Value::Null));
    pod(&world, "web");
    client.add("web", "eth0");
    let (done, error) = client.call("STATUS", &[]);
    assert_eq!((done, error["code"].as_u64()), (false, Some(50)), "{error}");
    client.del("web", "eth0");
    assert_eq!(client.call("STATUS", &[]), (true, Value::Null));
}
