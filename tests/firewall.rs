//! The firewall's rules: ours do their work past anybody's policy, and nobody else's is touched.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::common::scene::{Scene, ask};
use crate::common::traffic::serve_tcp;
use crate::common::{NETNS, Process, World, on_both_variants, on_firewall, run, state, stderr};

on_firewall! { nftables
    everything_works_although_the_forward_policy_is_drop
    two_networks_work_side_by_side_and_keep_apart
}

on_both_variants! {
    a_foreign_rule_and_a_foreign_port_survive_attach_detach_and_rm,
    everything_works_although_the_forward_policy_is_drop,
    an_attach_to_a_network_in_place_runs_at_most_one_program,
    an_attach_deletes_nothing_from_the_firewall,
    a_flushed_firewall_does_not_keep_a_container_from_leaving,
    two_networks_work_side_by_side_and_keep_apart,
    a_version_of_iptables_that_prints_otherwise_makes_no_rule_missing,
}

/// The chains that we jump from.
const JUMPS: [(&str, &str); 5] = [
    ("raw", "PREROUTING"),
    ("nat", "PREROUTING"),
    ("nat", "OUTPUT"),
    ("nat", "POSTROUTING"),
    ("filter", "FORWARD"),
];

/// Puts somebody's rules at both ends of every chain that we jump from, and a chain of their own
/// into every table.
fn canaries(world: &World, age: &str) {
    for (table, chain) in JUMPS {
        for (place, end) in [("-I", "first"), ("-A", "last")] {
            let comment = format!("-m comment --comment canary-{age}-{end}");
            world.sh(&format!("iptables -t {table} {place} {chain} -s 192.0.2.1 {comment} -j ACCEPT"));
        }
    }
    for table in ["raw", "nat", "filter"] {
        world.sh(&format!(
            "iptables -t {table} -N CANARY-{age} && iptables -t {table} -A CANARY-{age} -j RETURN"
        ));
    }
}

/// Everybody else's rules and chains in their order, without counters.
fn foreign(world: &World) -> Vec<String> {
    let plain = |line: &str| line.split(" [").next().unwrap_or(line).to_owned();
    world.rules().lines().filter(|line| !line.contains("NETNS-")).map(plain).collect()
}

fn a_foreign_rule_and_a_foreign_port_survive_attach_detach_and_rm(mut world: World) {
    canaries(&world, "before");
    let before = foreign(&world);
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80,8000-8099:8000-8099/udp")]);
    assert_eq!(foreign(&world), before, "the first attach");
    canaries(&world, "after");
    for (table, chain) in [("raw", "NETNS-GUARD"), ("nat", "NETNS-PUBLISH"), ("filter", "NETNS-FORWARD")] {
        world.sh(&format!(
            "iptables -t {table} -A {chain} -s 192.0.2.1 -m comment --comment canary -j RETURN"
        ));
    }
    let guests = || world.rules().lines().filter(|line| line.contains("comment canary -j")).count();
    world.sh("ip link add canary0 type veth peer name canary1 && ip link set canary0 master netns0 up");
    let port = || world.sh("ip -o link show canary0").contains("master netns0");
    let all = foreign(&world);
    world.attach_ok("b", b, &[("publish", "8081:80")]);
    assert_eq!(foreign(&world), all, "another attach");
    for id in ["a", "b"] {
        world.detach_ok(id);
        assert_eq!(foreign(&world), all, "detach {id}");
        assert_eq!(guests(), 3, "rules of others in our chains");
        assert!(port(), "the port of somebody else");
    }
    world.netns_ok(&["rm"], "");
    assert_eq!(foreign(&world), all, "rm");
    assert!(!world.rules().contains("NETNS"), "{}", world.rules());
    assert!(world.links().contains(&"canary0".to_owned()), "the device outlives the bridge");
}

fn everything_works_although_the_forward_policy_is_drop(world: World) {
    world.sh("iptables -P FORWARD DROP && iptables -A FORWARD -j DROP");
    let scene = Scene::new(world, "8080:80,8080:80/udp,127.0.0.1:8181:81");
    for on in [true, false] {
        scene.world.set_bridge_netfilter(on);
        scene.assert_reached("8080/tcp", "web");
        scene.assert_reached("8080/udp", "web");
        assert_eq!(ask(None, "127.0.0.1", "8181/tcp"), "secret");
        assert_eq!(ask(Some(scene.beside), "172.19.0.2", "81/tcp"), "secret", "the bridge itself");
        for address in ["172.19.0.1", "172.19.0.3", "10.0.0.2"] {
            assert!(scene.web.pings(address), "{address}, bridge-netfilter {on}");
        }
        scene.other.sh("ip route replace 172.19.0.0/16 via 10.0.0.1");
        assert_eq!(ask(Some(scene.other), "172.19.0.2", "81/tcp"), "", "from outside");
        scene.other.sh("ip route del 172.19.0.0/16");
    }
}

/// Attaches under strace, and gives the programs that were run besides `netns` itself.
fn programs_of_attach(world: &World, id: &str, process: Process, publish: &str) -> Vec<String> {
    let trace = world.dir.join("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=execve,execveat", "-o"]).arg(&trace).arg(NETNS);
    let annotations = [("publish", publish)];
    let annotations = if publish.is_empty() { &annotations[..0] } else { &annotations };
    let output = run(&mut strace, &state(id, "creating", Some(process.pid), annotations));
    assert!(output.status.success(), "strace netns: {}", stderr(&output));
    let trace = fs::read_to_string(trace).expect("read the trace");
    let started = |line: &&str| line.contains("execve(") || line.contains("execveat(");
    trace.lines().filter(started).skip(1).map(str::to_owned).collect()
}

fn an_attach_to_a_network_in_place_runs_at_most_one_program(mut world: World) {
    let [a, b, c] = [(); 3].map(|()| world.process());
    world.netns_ok(&["create"], "");
    assert_eq!(programs_of_attach(&world, "a", a, ""), [""; 0], "without ports");
    let one = programs_of_attach(&world, "b", b, "8080:80");
    assert!(one.len() == 1 && one[0].contains("iptables-restore"), "with one port: {one:#?}");
    let many = programs_of_attach(&world, "c", c, "80,81/udp,127.0.0.1:82:82,9000-9099:9000-9099");
    assert_eq!(many.len(), 1, "with many: {many:#?}");
}

/// Keeps a copy of all that `iptables-restore` is told from now on; its path.
fn eavesdrop() -> String {
    let (link, copy) = ("/etc/alternatives/iptables-restore", "/run/test/restored");
    let program = fs::read_link(link).expect("the variant's program");
    fs::remove_file(link).expect("remove the link");
    let script = format!("#!/bin/sh\ntee -a {copy} | {} \"$@\"\n", program.display());
    fs::write(link, script).expect("write the script");
    fs::set_permissions(link, fs::Permissions::from_mode(0o755)).expect("chmod");
    copy.to_owned()
}

fn an_attach_deletes_nothing_from_the_firewall(mut world: World) {
    let copy = eavesdrop();
    let process = world.process();
    world.attach_ok("a", process, &[("publish", "8080:80")]);
    let told = fs::read_to_string(&copy).expect("read the copy");
    let tables = |line: &&str| line.starts_with('*');
    assert_eq!(told.lines().filter(tables).collect::<Vec<_>>(), ["*raw", "*nat", "*filter"]);
    for line in told.lines() {
        let fine = ["-N ", "-A ", "-I ", "*", "COMMIT", "# "].iter().any(|start| line.starts_with(start));
        assert!(fine, "{line} in\n{told}");
    }
    fs::remove_file(&copy).expect("remove the copy");
    let another = world.process();
    world.attach_ok("b", another, &[("publish", "8081:80,8000-8099:80-179/udp")]);
    let told = fs::read_to_string(&copy).expect("read the copy");
    let lines: Vec<String> =
        told.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    let own = [
        "*nat",
        "-A NETNS-tcp-31",
        "-N NETNS-udp-31",
        "-A NETNS-PUBLISH",
        "-A NETNS-udp-31",
        "COMMIT",
        "# all",
    ];
    assert_eq!(lines, own, "only what is its own");
}

fn a_flushed_firewall_does_not_keep_a_container_from_leaving(mut world: World) {
    canaries(&world, "before");
    let before = foreign(&world);
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80,8081:81")]);
    world.attach_ok("b", b, &[("publish", "8082:80")]);
    let rule = world.sh("iptables -t nat -S NETNS-tcp-31 | grep 'dport 8080 '");
    world.sh(&format!("iptables -t nat {}", rule.trim().replacen("-A", "-D", 1)));
    world.detach_ok("a");
    assert!(!world.rules().contains("netns container a"), "{}", world.rules());
    assert!(world.rules().contains("netns container b"), "{}", world.rules());
    world.sh("iptables -t nat -F NETNS-PUBLISH && iptables -t raw -F NETNS-GUARD && iptables -D FORWARD 1");
    world.detach_ok("b");
    world.netns_ok(&["rm"], "");
    assert_eq!(foreign(&world), before);
    assert!(!world.rules().contains("NETNS"), "{}", world.rules());
}

fn two_networks_work_side_by_side_and_keep_apart(world: World) {
    let Scene { mut world, web, other, beside } = Scene::new(world, "8080:80");
    let second = ["--bridge", "netns1", "--ip", "10.77.0.1/24"];
    let far = world.process();
    world.netns_ok(&second, &state("far", "creating", Some(far.pid), &[("publish", "9090:90")]));
    serve_tcp(far, 90, "far");
    assert!(far.pings("10.77.0.1") && far.pings("10.0.0.2") && web.pings("10.0.0.2"));
    for on in [true, false] {
        world.set_bridge_netfilter(on);
        assert_eq!(ask(Some(far), "10.0.0.1", "8080/tcp"), "web", "by the published port");
        assert_eq!(ask(Some(beside), "10.0.0.1", "9090/tcp"), "far", "by the published port");
        assert_eq!(ask(Some(other), "10.0.0.1", "9090/tcp"), "far");
        for (from, address, port) in [(far, "172.19.0.2", "80/tcp"), (web, "10.77.0.2", "90/tcp")] {
            assert_eq!(ask(Some(from), address, port), "", "straight to {address}");
        }
    }
    assert!(!far.pings("172.19.0.2") && !web.pings("10.77.0.2"));
    world.netns_ok(&[&second[..], &["rm", "--force"]].concat(), "");
    assert!(!world.links().contains(&"netns1".to_owned()));
    assert!(!world.rules().contains("netns1") && !world.rules().contains("10.77"), "{}", world.rules());
    assert_eq!(ask(Some(other), "10.0.0.1", "8080/tcp"), "web", "the other network still works");
    assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "web");
    assert!(web.pings("10.0.0.2") && web.pings("172.19.0.3"));
    assert_eq!(world.sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n", "the other one needs it");
}

/// As other versions print: masks in full, states in another order, no match that goes without saying.
const OTHERWISE: &str = "s#172.19.0.0/16#172.19.0.0/255.255.0.0#; s/RELATED,ESTABLISHED,DNAT/DNAT,ESTABLISHED,RELATED/; \
                         s/ -m (tcp|udp) / /; s/--dst-type LOCAL/--dst-type local/";

fn a_version_of_iptables_that_prints_otherwise_makes_no_rule_missing(mut world: World) {
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = foreign(&world);
    let [a, b] = [(); 2].map(|()| world.process());
    world.attach_ok("a", a, &[("publish", "8080:80,8081:81,53:53/udp,9000-9999:9000-9999"), ("ipfile", "a")]);
    let link = "/etc/alternatives/iptables-save";
    let program = fs::read_link(link).expect("the variant's program");
    fs::remove_file(link).expect("remove the link");
    let script = format!("#!/bin/sh\n{} \"$@\" | sed -E '{OTHERWISE}'\n", program.display());
    fs::write(link, script).expect("write the script");
    fs::set_permissions(link, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert!(
        world.rules().contains("172.19.0.0/255.255.0.0") && world.rules().contains("-p tcp --dport 8080 ")
    );

    assert_eq!(world.netns_ok(&["reload"], ""), "every rule is there\n");
    world.sh("iptables -t nat -D NETNS-tcp-31 1");
    assert_eq!(world.netns_ok(&["reload"], ""), "restored 1 rule\n");
    let count = |what: &str| world.rules().matches(what).count();
    assert_eq!((count("-j DNAT"), count("-j MASQUERADE"), count("-j NETNS-FORWARD")), (4, 3, 1));
    world.sh("iptables -t raw -F NETNS-GUARD");
    world.attach_ok("b", b, &[("publish", "8082:80"), ("ipfile", "b")]);
    world.netns_ok(&["reload"], "");
    assert_eq!(
        (count("-j DNAT"), count("-j MASQUERADE"), count("-d 172.19.0.0/255.255.0.0 ! -i netns0 ")),
        (5, 3, 1)
    );
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    world.detach_ok("a");
    world.detach_ok("b");
    world.netns_ok(&["rm"], "");
    assert_eq!(foreign(&world), before);
    assert!(!world.rules().contains("NETNS"), "{}", world.rules());
}

#[test]
fn the_sixty_second_network_costs_an_attach_no_more_than_the_first() {
    let Some(mut world) = World::new() else { return };
    let names: Vec<[String; 4]> = (0..61)
        .map(|n| ["--bridge".to_owned(), format!("n{n}"), "--ip".to_owned(), format!("10.{n}.0.1/24")])
        .collect();
    for network in &names {
        let flags: Vec<&str> = network.iter().map(String::as_str).collect();
        world.netns_ok(&[&flags[..], &["create"]].concat(), "");
    }
    let [a, b] = [(); 2].map(|()| world.process());
    world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
    assert_eq!(programs_of_attach(&world, "b", b, "8081:80").len(), 1);
    assert_eq!(world.netns_ok(&["reload"], ""), "every rule is there\n");
}
