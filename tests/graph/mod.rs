//! What `netns graph` draws: the world of an example as golden files, real worlds compared with
//! what the kernel says, and names that mean harm in every format.

mod formats;
mod golden;
mod terminal;
mod watch;

use serde_json::Value;

use crate::common::{Process, World, stderr, wait_for};

fn json(world: &World) -> Value {
    serde_json::from_str(&world.netns_ok(&["graph", "--format", "json"], "")).expect("JSON")
}

/// As it is drawn for a terminal that can show everything.
fn text(_: &World) -> String {
    let output = crate::common::run(
        std::process::Command::new(crate::common::NETNS).arg("graph").env("LC_ALL", "C.UTF-8"),
        "",
    );
    assert!(output.status.success(), "graph: {}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The ends of the namespace in which `id` lives.
fn ends<'a>(picture: &'a Value, id: &str) -> &'a [Value] {
    let lives = |namespace: &&Value| {
        namespace["containers"].as_array().expect("containers").iter().any(|one| one["id"] == id)
    };
    let found = picture["namespaces"].as_array().expect("namespaces").iter().find(lives);
    found.unwrap_or_else(|| panic!("no {id} in {picture}"))["ends"].as_array().expect("ends")
}

/// The end whose name inside is `name`.
fn end<'a>(picture: &'a Value, id: &str, name: &str) -> &'a Value {
    let found = ends(picture, id).iter().find(|end| end["inside"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} of {id} in {picture}"))
}

/// The number of a link as `ip` shows it.
fn index(shown: &str) -> u64 {
    shown.split(':').next().and_then(|index| index.parse().ok()).expect("a number")
}

#[test]
fn both_ends_of_each_veth_pair_are_as_ip_numbers_them() {
    let Some(mut world) = World::new() else { return };
    let (web, db) = (world.process(), world.process());
    world.attach_ok("web", web, &[("publish", "8080:80")]);
    world.attach_ok("db", db, &[("bridge", "lab0"), ("ip", "10.88.0.1/24")]);
    let before = world.snapshot();
    let picture = json(&world);
    world.assert_as(&before);
    for (id, process, bridge) in [("web", web, "netns0"), ("db", db, "lab0")] {
        let host = format!("netnsv0-{}", process.pid);
        let veth = end(&picture, id, "eth0");
        assert_eq!(veth["inside"]["index"], index(&process.sh("ip -o link show eth0")), "{picture}");
        assert_eq!(veth["outside"]["index"], index(&world.sh(&format!("ip -o link show {host}"))));
        assert_eq!(veth["outside"]["name"], host.as_str());
        assert_eq!(veth["outside"]["place"], "host");
        assert_eq!(veth["outside"]["bridge"], bridge);
        assert_eq!(veth["outside"]["port"], "forwarding");
    }
    let drawn = text(&world);
    let row = format!("─ netnsv0-{} (", web.pid);
    assert!(drawn.contains(&row) && drawn.contains("0.0.0.0:8080→80/tcp"), "{drawn}");
    let bridges: Vec<&Value> =
        picture["bridges"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(bridges, ["lab0", "netns0"]);
}

#[test]
fn an_interface_is_drawn_with_what_it_leads_to_wherever_that_is() {
    let Some(mut world) = World::new() else { return };
    let (web, db, other) = (world.process(), world.process(), world.neighbour());
    world.attach_ok("web", web, &[]);
    world.attach_ok("db", db, &[]);
    world.sh(&format!("ip link add mac0 link wire0 type macvlan && ip link set mac0 netns {}", web.pid));
    world.sh(&format!("ip link add a0 netns {} type veth peer name b0 netns {}", web.pid, db.pid));
    world.sh(&format!("ip link add c0 netns {} type veth peer name d0 netns {}", web.pid, other.pid));
    web.sh("ip link add e0 type veth peer name f0");
    let picture = json(&world);
    let leads = |id, name| {
        let outside = &end(&picture, id, name)["outside"];
        (outside["place"].clone(), outside["name"].clone())
    };
    let of = |id: &str| serde_json::json!({ "container": id });
    assert_eq!(leads("web", "mac0"), ("host".into(), "wire0".into()));
    assert_eq!(end(&picture, "web", "mac0")["inside"]["kind"], "macvlan");
    assert_eq!(leads("web", "a0"), (of("db"), "b0".into()));
    assert_eq!(leads("db", "b0"), (of("web"), "a0".into()));
    assert_eq!(leads("web", "c0"), ("elsewhere".into(), Value::Null));
    assert_eq!(leads("web", "e0"), (of("web"), "f0".into()));
    let dot = world.netns_ok(&["graph", "--format", "dot"], "");
    let between =
        dot.lines().filter(|line| line.contains("a0 (") && line.contains("b0 (") && line.contains(" -- "));
    assert_eq!(between.count(), 1, "seen from both sides and drawn once: {dot}");
}

#[test]
fn every_default_route_is_drawn_however_it_is_written() {
    let Some(mut world) = World::new() else { return };
    world.neighbour();
    world.sh("ip link add wan1 type veth peer name wan2 && ip addr add 10.1.0.1/24 dev wan1 && ip link set wan1 up");
    world.sh("ip route add default nexthop via 10.0.0.2 dev wire0 nexthop via 10.1.0.2 dev wan1");
    world.sh("ip route add default dev wan1 metric 9");
    world.sh("ip -6 addr add fd00::1/64 dev wire0 nodad && ip -6 route add default via fd00::2 dev wire0");
    let picture = json(&world);
    let uplinks = picture["uplinks"].as_array().expect("uplinks");
    let uplink = |at: usize| (uplinks[at]["name"].as_str().expect("name"), uplinks[at]["gateways"].clone());
    assert_eq!(uplinks.len(), 2, "{picture}");
    assert_eq!(uplink(0), ("wire0", serde_json::json!(["10.0.0.2", "fd00::2"])));
    assert_eq!(uplink(1), ("wan1", serde_json::json!(["10.1.0.2"])));
    let drawn = text(&world);
    assert!(drawn.contains("10.0.0.1/24 fd00::1/64  default via 10.0.0.2, default via fd00::2"), "{drawn}");
}

#[test]
fn a_port_of_the_bridge_that_is_not_ours_is_drawn_as_a_stranger() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[]);
    world.sh("ip link add tap7 type veth peer name tap8 && ip link set tap7 master netns0 alias 'a guest'");
    let strangers = json(&world)["bridges"][0]["strangers"].clone();
    assert_eq!(strangers.as_array().map(Vec::len), Some(1), "{strangers}");
    assert_eq!((&strangers[0]["name"], &strangers[0]["alias"]), (&"tap7".into(), &"a guest".into()));
    assert!(text(&world).contains("├─ tap7 ("), "{}", text(&world));
}

#[test]
fn the_dead_and_the_cut_are_drawn_as_such() {
    let Some(mut world) = World::new() else { return };
    let (dead, cut, off) = (world.process(), world.process(), world.process());
    for (id, process) in [("dead", dead), ("cut", cut), ("off", off)] {
        world.attach_ok(id, process, &[("publish", "80")]);
    }
    world.kill(dead);
    let host_end = format!("netnsv0-{}", dead.pid);
    wait_for("the veth pair of the dead to go", || !world.links().contains(&host_end));
    world.sh(&format!("ip link del netnsv0-{}", cut.pid));
    world.sh(&format!("ip link set netnsv0-{} nomaster", off.pid));
    let drawn = text(&world);
    let line = |what: &str| {
        let found = drawn.lines().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no {what} in:\n{drawn}")).to_owned()
    };
    assert!(line("✗ dead").contains("dead  dead  "), "{drawn}");
    assert!(line("◐ cut").contains("incomplete  0.0.0.0:"), "{drawn}");
    assert!(line("◐ off").contains("incomplete  0.0.0.0:"), "{drawn}");
    assert_eq!(drawn.matches("╌ no veth pair ╌").count(), 2, "{drawn}");
    assert!(drawn.contains("172.19.0.2/16 leased"), "{drawn}");
    let loose = line(&format!("netnsv0-{} (", off.pid));
    assert!(!loose.contains('├') && !loose.contains('└'), "it is a port of no bridge: {loose}");
    let picture = json(&world);
    assert!(ends(&picture, "dead").is_empty() && ends(&picture, "cut").is_empty(), "{picture}");
    assert_eq!(end(&picture, "off", "eth0")["outside"]["bridge"], Value::Null);

    world.sh("ip link del netns0");
    assert_eq!(json(&world)["bridges"][0]["state"], "missing");
    assert!(text(&world).contains("netns0  172.19.0.1/16  missing"), "{}", text(&world));
}

#[test]
fn a_namespace_that_outlives_its_process_is_seen_from_the_host() {
    let Some(mut world) = World::new() else { return };
    let first = world.process();
    world.attach_ok("web", first, &[]);
    let second = std::process::Command::new("nsenter")
        .args(["-t", &first.pid.to_string(), "-n", "sleep", "1000"])
        .spawn()
        .expect("start a process");
    let second = Process { pid: world.keep(second) };
    let netns = |process: Process| std::fs::read_link(format!("/proc/{}/ns/net", process.pid)).ok();
    wait_for("a shared namespace", || netns(second).is_some() && netns(second) == netns(first));
    world.kill(first);
    let picture = json(&world);
    let veth = &ends(&picture, "web")[0];
    assert_eq!(veth["inside"], Value::Null, "{picture}");
    assert_eq!(veth["outside"]["name"], format!("netnsv0-{}", first.pid));
    assert_eq!(veth["outside"]["bridge"], "netns0");
}

#[test]
fn a_machine_with_nothing_is_told_so_politely() {
    let Some(world) = World::new() else { return };
    for format in ["text", "dot", "mermaid", "svg", "json"] {
        let drawn = world.netns_ok(&["graph", "--format", format], "");
        formats::assert_well_formed(format, &drawn);
    }
    let drawn = text(&world);
    assert_eq!(drawn, "no default route\nno network yet: `netns create` or the first container makes one\n");
    assert!(!std::path::Path::new("/run/netns-hook").exists(), "observing leaves nothing behind");
}
