//! Real containers of runc, from birth to `runc delete`.

use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{World, stderr};

/// Rules of somebody else in every chain that we use, so that every table exists beforehand; none
/// that lets anything be forwarded.
fn rules_of_somebody_else(world: &World) {
    for (table, chains) in [
        ("raw", &["PREROUTING", "OUTPUT"][..]),
        ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
        ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
        ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
    ] {
        for chain in chains {
            world.sh(&format!("iptables -t {table} -A {chain} -s 192.0.2.1 -j RETURN"));
        }
    }
}

/// What the state directory tells of containers.
fn records(world: &World) -> String {
    world.sh("cd /run/netns-hook && find containers pending leases slots ports netns pids changing rules damaged ! -type d 2>/dev/null; true")
}

/// The whole life of two containers with the hook in these stages, and of their network.
fn a_whole_life(firewall: &str, stages: &[&str]) {
    let Some(mut world) = World::new() else { return };
    world.use_firewall(firewall);
    let internet = world.neighbour();
    rules_of_somebody_else(&world);
    let rules = world.rules();
    let before = world.snapshot();
    let (web, db) = (world.bundle("web", stages, "8080:80"), world.bundle("db", stages, ""));

    let web_process = world.runc_start("web", &web);
    let with_one = world.snapshot();
    let db_process = world.runc_start("db", &db);
    let address = web_process.sh("ip -o -4 addr show dev eth0");
    assert!(address.contains("inet 172.19.0.2/16 brd 172.19.255.255 scope global eth0"), "{address}");
    let route = web_process.sh("ip route show default");
    assert!(route.contains("default via 172.19.0.1 dev eth0"), "{route}");
    assert_eq!(std::fs::read_to_string(web.join(".ip")).expect("read .ip"), "172.19.0.2");
    assert_eq!(std::fs::read_to_string(db.join(".ip")).expect("read .ip"), "172.19.0.3");

    for (who, process) in [("web", web_process), ("db", db_process)] {
        for address in ["172.19.0.1", "172.19.0.2", "172.19.0.3", "10.0.0.2"] {
            assert!(process.pings(address), "{who} pings {address}");
        }
    }
    assert_eq!(internet.sh("ip route show"), "10.0.0.0/24 dev wire1 proto kernel scope link src 10.0.0.2 \n");
    assert!(!internet.try_sh("ip route get 172.19.0.2").status.success(), "no way back");
    serve_tcp(web_process, 80, "web");
    assert_eq!(ask(Some(internet), "10.0.0.1", "8080/tcp"), "web");

    world.runc_delete("db");
    world.assert_as(&with_one);
    assert!(!db.join(".ip").exists(), ".ip of db");
    world.runc_delete("web");
    assert!(!web.join(".ip").exists(), ".ip of web");
    assert_eq!(records(&world), "", "no record is left");
    assert_eq!(world.ls(), serde_json::json!([]), "no lease is left");
    assert_eq!(world.links(), ["lo", "wire0", "netns0"], "only the bridge is left");
    assert!(!world.rules().contains("netns container"), "{}", world.rules());

    world.netns_ok(&["rm"], "");
    assert_eq!(without_counters(&world.rules()), without_counters(&rules));
    let lock = "/run/netns-hook/lock".to_owned();
    world.assert_as(&[before, vec![lock]].concat());
}

fn without_counters(rules: &str) -> Vec<&str> {
    rules.lines().map(|line| line.split(" [").next().unwrap_or(line)).collect()
}

#[test]
fn prestart_gives_a_network_and_poststop_takes_it_back() {
    a_whole_life("nft", &["prestart", "poststop"]);
}

#[test]
fn create_runtime_gives_a_network_and_poststop_takes_it_back() {
    a_whole_life("nft", &["createRuntime", "poststop"]);
}

#[test]
fn the_same_with_nftables() {
    a_whole_life("nftables", &["createRuntime", "poststop"]);
}

#[test]
fn a_container_without_a_poststop_hook_is_cleaned_up_by_the_next() {
    let Some(mut world) = World::new() else { return };
    let bundle = world.bundle("web", &["prestart"], "8080:80");
    world.runc_start("web", &bundle);
    world.runc_delete("web");
    assert_eq!(world.ls()[0]["status"], "dead");
    let next = world.bundle("next", &["prestart", "poststop"], "8080:80");
    let process = world.runc_start("next", &next);
    assert!(process.pings("172.19.0.1"));
    assert_eq!(world.ls().as_array().map(Vec::len), Some(1), "{}", world.ls());
    assert!(!bundle.join(".ip").exists(), "the dead one's .ip");
    assert!(!world.rules().contains("netns container web"), "{}", world.rules());
}

#[test]
fn a_refused_hook_stops_the_container_and_leaves_nothing() {
    let Some(mut world) = World::new() else { return };
    let (web, other) = (world.bundle("web", &["prestart", "poststop"], "8080:80"), "other");
    world.runc_start("web", &web);
    let before = world.snapshot();
    let bundle = world.bundle(other, &["prestart", "poststop"], "8080:80");
    let bundle = bundle.to_str().expect("bundle path");
    let output = world.sh_logged(&format!("runc --root /run/test/runc-root run -d -b {bundle} {other}"));
    let said = stderr(&output);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("publish 0.0.0.0:8080/tcp for container other: already published"), "{said}");
    world.assert_as(&before);
}
