//! nftables: a container takes elements of maps, which the program itself gives to the kernel, and
//! nobody else's tables are touched.

use std::fs;
use std::process::Command;

use nix::mount::{MsFlags, mount};

use crate::common::scene::{Scene, ask};
use crate::common::traffic::serve_tcp;
use crate::common::{NETNS, World, run, state, stderr};
use crate::kill::{End, MOST, kill_at};

const NFTABLES: &str = "--firewall=nftables";

fn world() -> Option<World> {
    let mut world = World::new()?;
    world.use_firewall("nftables");
    Some(world)
}

/// What `nft` lists of our maps, an element a line.
fn elements(world: &World) -> Vec<String> {
    let rules = world.snapshot();
    rules
        .into_iter()
        .filter(|line| line.contains(" : ") && line.contains("comment \"netns container"))
        .collect()
}

#[test]
fn once_the_network_is_there_no_program_is_run() {
    let Some(mut world) = world() else { return };
    world.netns_ok(&["create"], "");
    let ports = "8080:80,8081:81/udp,127.0.0.1:82:82/sctp,9000-9999:9000-9999,\
                 8082:80,from=10.0.0.0/8,from=192.0.2.7";
    for container in [world.process(), world.process()] {
        let attach = state("a", "creating", Some(container.pid), &[("publish", ports)]);
        for (input, count) in [(attach, 1005), (state("a", "stopped", None, &[]), 0)] {
            let trace = world.dir.join("trace");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-e", "trace=execve,execveat", "-o"]).arg(&trace).args([NETNS, NFTABLES]);
            let output = run(&mut strace, &input);
            assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
            let trace = fs::read_to_string(trace).expect("read the trace");
            let programs = trace.lines().filter(|line| line.contains("execve")).skip(1).collect::<Vec<_>>();
            assert_eq!(programs, [""; 0]);
            assert_eq!(elements(&world).len(), count);
        }
    }
}

#[test]
fn a_human_sees_whose_a_port_is_and_how_many_have_called_it() {
    let Some(world) = world() else { return };
    let scene = Scene::new(world, "8080:80,10.0.0.1:53:81/udp,9000-9099:9000-9099");
    serve_tcp(scene.web, 9000, "range");
    let expected = [
        "tcp . 8080 comment \"netns container web\" : 172.19.0.2 . 80",
        "10.0.0.1 . udp . 53 comment \"netns container web\" : 172.19.0.2 . 81",
    ];
    assert_eq!(elements(&scene.world)[..2], expected);
    for _ in 0..3 {
        assert_eq!(ask(Some(scene.other), "10.0.0.1", "8080/tcp"), "web");
    }
    let text = scene.world.netns_ok(&["inspect", "web", "--json"], "");
    let inspected: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let counters = inspected["rule_counters"].as_array().expect("counters");
    let rules: Vec<&str> = counters.iter().map(|counter| counter["rule"].as_str().expect("text")).collect();
    let commands = [
        format!("nft 'add element ip netns publish {{ {} }}'", expected[0]),
        format!("nft 'add element ip netns publish_on {{ {} }}'", expected[1]),
    ];
    assert_eq!(rules, commands);
    let all = inspected["rules"].as_array().expect("rules");
    assert!(all.len() == 3 && all[2].to_string().matches("netns container web").count() == 100, "{all:?}");
    assert_eq!((&counters[0]["packets"], &counters[1]["packets"]), (&3.into(), &0.into()));
    let examined = scene.world.netns(&["doctor", "web"], "");
    assert!(examined.status.success(), "{}", String::from_utf8_lossy(&examined.stdout));
}

#[test]
fn a_plan_is_in_the_words_of_nft_and_nft_takes_them() {
    let Some(mut world) = world() else { return };
    let a = world.process();
    let input = state("a", "creating", Some(a.pid), &[("publish", "8080:80,9000-9001:90-91/udp")]);
    let plan = world.netns_ok(&["plan"], &input);
    let commands: Vec<&str> = plan.lines().filter(|line| line.starts_with("nft ")).collect();
    assert!(commands.len() > 15, "{plan}");
    commands.iter().for_each(|command| drop(world.sh(command)));
    let by_hand = world.sh("nft list table ip netns");
    world.sh("nft delete table ip netns");
    world.netns_ok(&[], &input);
    assert_eq!(world.sh("nft list table ip netns"), by_hand);
}

#[test]
fn a_foreign_table_and_a_foreign_element_survive_attach_detach_and_rm() {
    let Some(mut world) = world() else { return };
    world.sh("nft 'add table ip others; add chain ip others c { type nat hook prerouting priority -100; }; \
              add map ip others publish { type inet_service : ipv4_addr; }; \
              add element ip others publish { 80 : 10.0.0.9 }; add rule ip others c tcp dport 1 redirect'");
    let others = || world.sh("nft list table ip others");
    let before = others();
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80,8081:81/udp")]);
    // In our own table, too.
    world.sh("nft 'add element ip netns publish { tcp . 9999 : 10.0.0.9 . 1 }'");
    world.attach_ok("b", b, &[("publish", "8082:80")]);
    world.detach_ok("a");
    let others = || world.sh("nft list table ip others");
    assert_eq!(others(), before);
    world.netns_ok(&["gc"], "");
    let ours = world.rules();
    assert!(ours.contains("tcp . 9999") && ours.contains("tcp . 8082") && !ours.contains("8080"), "{ours}");
    world.detach_ok("b");
    world.netns_ok(&["rm"], "");
    assert_eq!(others(), before);
    assert_eq!(world.sh("nft list tables").matches("netns").count(), 0);
    assert!(!world.rules().contains("NETNS"), "{}", world.rules());
}

#[test]
fn what_somebody_flushes_is_restored_by_the_next_attach_and_by_reload() {
    for flush in [
        "nft flush ruleset",
        "nft delete table ip netns",
        "nft flush table ip netns",
        "nft flush map ip netns publish",
        "nft flush chain ip netns guard",
        "iptables -F FORWARD",
    ] {
        let test = move || {
            let Some(mut world) = world() else { return };
            let (a, b) = (world.process(), world.process());
            world.attach_ok("a", a, &[("publish", "8080:80,9000-9099:9000-9099")]);
            let whole = world.snapshot();
            world.sh(flush);
            assert!(world.netns_ok(&["reload"], "").starts_with("restored "), "{flush}");
            world.assert_as(&whole);
            assert_eq!(world.netns_ok(&["reload"], ""), "every rule is there\n");
            world.sh(flush);
            world.attach_ok("b", b, &[("publish", "8081:80"), ("ipfile", "b")]);
            world.detach_ok("b");
            world.sh("rm -f /run/test/b");
            world.assert_as(&whole);
        };
        std::thread::spawn(test).join().unwrap();
    }
}

#[test]
fn gc_finds_elements_of_nobody() {
    let Some(mut world) = world() else { return };
    let (lost, kept) = (world.process(), world.process());
    world.attach_ok("kept", kept, &[("publish", "8081:80"), ("ipfile", "kept")]);
    let rules = world.rules();
    world.attach_ok("lost", lost, &[("publish", "8080:80,9000-9999:9000-9999/udp"), ("ipfile", "lost")]);
    world.sh("cd /run/netns-hook && find . -lname '*/lost@*' -delete; rm containers/lost@*");
    world.kill(lost);
    let veth = format!("netnsv0-{}", lost.pid);
    crate::common::wait_for("the veth pair to go", || !world.links().contains(&veth));
    let strays = world.netns_ok(&["gc", "--dry-run"], "");
    assert!(
        strays.starts_with("rule nft 'add element ip netns publish") && strays.lines().count() == 2,
        "{strays}"
    );
    assert_eq!(strays.matches("netns container lost").count(), 1001);
    assert_eq!(world.netns_ok(&["gc"], ""), strays);
    assert_eq!(world.netns_ok(&["gc"], ""), "", "never twice");
    assert_eq!(world.rules(), rules);
}

#[test]
fn a_port_that_a_lost_container_has_left_behind_is_taken_over() {
    let Some(mut world) = world() else { return };
    let a = world.process();
    world.netns_ok(&["create"], "");
    world.sh(
        "nft 'add element ip netns publish { tcp . 8080 comment \"netns container x\" : 172.19.0.9 . 1 }'",
    );
    world.attach_ok("a", a, &[("publish", "8079-8081:79-81")]);
    serve_tcp(a, 80, "a");
    assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "a");
    assert_eq!(elements(&world).len(), 3);
}

#[test]
fn a_host_without_iptables_needs_none_and_is_no_router_for_others() {
    let Some(mut world) = world() else { return };
    let none: Option<&str> = None;
    mount(Some("none"), "/etc/alternatives", Some("tmpfs"), MsFlags::empty(), none).expect("hide iptables");
    assert!(!world.try_sh("iptables -L").status.success(), "it is hidden");
    let before = world.sh("nft list ruleset");
    let [web, beside, near] = [(); 3].map(|()| world.process());
    let other = world.neighbour();
    world.sh(&format!(
        "ip link add near0 type veth peer name near1 netns {} && \
                       ip addr add 10.1.0.1/24 dev near0 && ip link set near0 up",
        near.pid
    ));
    near.sh("ip addr add 10.1.0.2/24 dev near1 && ip link set near1 up && ip route add default via 10.1.0.1");
    other.sh("ip route add 10.1.0.0/24 via 10.0.0.1");
    world.attach_ok("web", web, &[("publish", "8080:80"), ("ipfile", "web")]);
    world.attach_ok("beside", beside, &[("ipfile", "beside")]);
    serve_tcp(web, 80, "web");
    for (from, address) in [(Some(other), "10.0.0.1"), (None, "127.0.0.1"), (Some(beside), "172.19.0.1")] {
        assert_eq!(ask(from, address, "8080/tcp"), "web", "by {address}");
    }
    assert!(web.pings("10.0.0.2") && web.pings("172.19.0.3") && near.pings("10.1.0.1"));
    assert!(!near.pings("10.0.0.2"), "the host forwarded nothing before");
    let examined = world.netns(&["doctor"], "");
    assert!(examined.status.success(), "{}", String::from_utf8_lossy(&examined.stdout));
    world.sh("nft flush ruleset");
    assert!(world.netns_ok(&["reload"], "").starts_with("restored "));
    assert!(web.pings("10.0.0.2") && !near.pings("10.0.0.2"));
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    world.detach_ok("web");
    world.detach_ok("beside");
    world.netns_ok(&["rm"], "");
    assert_eq!(world.sh("nft list ruleset"), before);
    assert_eq!(world.sh("cat /proc/sys/net/ipv4/ip_forward"), "0\n");
}

#[test]
fn a_host_may_have_containers_of_both() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let (a, b, c) = (world.process(), world.process(), world.process());
    let (other, names) = (world.neighbour(), ["a", "b", "c"]);
    for (at, (name, process)) in names.iter().zip([a, b, c]).enumerate() {
        serve_tcp(process, 80, *name);
        let (port, ipfile) = (format!("808{at}:80"), format!("file-{name}"));
        let input = state(name, "creating", Some(process.pid), &[("publish", &port), ("ipfile", &ipfile)]);
        // The third one takes what the network has.
        world.netns_ok(if at == 1 { &[NFTABLES] } else { &[] }, &input);
    }
    assert_eq!(elements(&world).len(), 2, "{}", world.rules());
    assert_eq!(world.rules().matches("-j DNAT").count(), 1);
    for (port, name) in [("8080/tcp", "a"), ("8081/tcp", "b"), ("8082/tcp", "c")] {
        for (from, address) in [(Some(other), "10.0.0.1"), (None, "127.0.0.1"), (Some(a), "172.19.0.1")] {
            assert_eq!(ask(from, address, port), name, "{port} by {address}");
        }
    }
    world.sh("nft flush ruleset");
    assert!(world.netns_ok(&["reload"], "").starts_with("restored "));
    for (port, name) in [("8080/tcp", "a"), ("8081/tcp", "b"), ("8082/tcp", "c")] {
        assert_eq!(ask(Some(other), "10.0.0.1", port), name, "{port}");
    }
    names.iter().for_each(|name| world.detach_ok(name));
    world.netns_ok(&["rm"], "");
    world.sh("ip link del wire0");
    world.assert_as(&before);
}

/// Another host that calls a port all the time: how often it was answered, and how often not.
struct Caller {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    calling: std::thread::JoinHandle<[usize; 2]>,
}

impl Caller {
    fn new(host: crate::common::Process, address: &'static str) -> Self {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let calling = std::thread::spawn(move || {
            crate::common::traffic::inside(host, move || {
                let mut calls = [0, 0];
                while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    let answered = crate::common::traffic::ask_tcp(address) == "web";
                    calls[usize::from(!answered)] += 1;
                }
                calls
            })
        });
        Self { stop, calling }
    }

    fn stop(self) -> [usize; 2] {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.calling.join().expect("the caller")
    }
}

#[test]
fn a_change_over_killed_anywhere_is_finished_by_the_next() {
    let Some(mut world) = World::new() else { return };
    let (web, other) = (world.process(), world.neighbour());
    world.attach_ok("web", web, &[("publish", "8080:80,9000-9009:9000-9009/udp")]);
    serve_tcp(web, 80, "web");
    let on_iptables = world.snapshot();
    world.netns_ok(&["reload", "--firewall", "nftables"], "");
    let on_nftables = world.snapshot();
    world.netns_ok(&["reload", "--firewall", "iptables"], "");
    let mut kills = 0;
    for call in ["sendto", "symlink", "rename", "unlink", "clone3", "write"] {
        for n in 1..MOST {
            let (to, whole) =
                if n % 2 == 1 { (NFTABLES, &on_nftables) } else { ("--firewall=iptables", &on_iptables) };
            let end = kill_at(call, n, &[to, "reload"], "");
            assert_eq!(ask(Some(other), "10.0.0.1", "8080/tcp"), "web", "{to}, {call} {n}");
            if let End::Whole = end {
                break;
            }
            kills += 1;
            // Whatever happens first.
            if n % 3 == 0 {
                world.netns_ok(&["gc"], "");
            }
            world.netns_ok(&[to, "reload"], "");
            world.netns_ok(&["gc"], "");
            world.assert_as(whole);
        }
    }
    assert!(kills > 30, "{kills} kills");
    world.detach_ok("web");
    world.netns_ok(&["rm"], "");
    assert!(!world.rules().contains("netns"), "{}", world.rules());
}

#[test]
fn a_host_changes_over_and_back_while_every_call_is_answered() {
    let Some(world) = World::new() else { return };
    let scene = Scene::new(world, "8080:80,9000-9099:9000-9099/udp");
    let world = &scene.world;
    let before = world.snapshot();
    for (to, from, count) in [("nftables", "iptables", 101), ("iptables", "nftables", 0)] {
        let caller = Caller::new(scene.other, "10.0.0.1:8080");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let said = world.netns_ok(&["reload", "--firewall", to], "");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let [answered, unanswered] = caller.stop();
        assert_eq!(said, format!("moved 2 networks and containers to {to}\nevery rule is there\n"));
        assert!(answered > 20 && unanswered == 0, "from {from} to {to}: {answered} and {unanswered}");
        assert_eq!(elements(world).len(), count, "{}", world.rules());
        assert_eq!(world.rules().contains("-j DNAT"), count == 0, "{}", world.rules());
        scene.assert_reached("8080/tcp", "web");
        assert_eq!(world.netns_ok(&["reload"], ""), "every rule is there\n");
        assert_eq!(world.netns_ok(&["gc"], ""), "");
        assert!(scene.web.pings("10.0.0.2"));
    }
    world.assert_as(&before);
    world.netns_ok(&["reload", "--firewall", "nftables"], "");
    assert!(
        !world.rules().contains("-j DNAT") && !world.rules().contains("NETNS-GUARD"),
        "{}",
        world.rules()
    );
    scene.world.detach_ok("web");
    scene.world.detach_ok("beside");
    world.netns_ok(&["rm"], "");
    assert!(!world.rules().contains("netns"), "{}", world.rules());
}
