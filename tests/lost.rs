//! The state directory, or a part of it, is lost while containers are up: the kernel is the second
//! witness. Nobody gets what another has, everybody is told, and nothing is left in the end.

use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{Process, World, on_every_firewall, stderr, wait_for};

on_every_firewall! {
    what_no_record_tells_of_is_told_and_adopted,
    what_no_record_tells_of_is_removed_by_force_and_by_gc_when_it_is_dead,
}

const PORTS: &str = "8080:80,127.0.0.1:53:53/udp,9000-9999:9000-9999";

/// A host as it is without us, with two containers: `a`, which publishes ports, and `b`.
fn two(world: &mut World) -> (Vec<String>, Process, Process) {
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    world.sh("rm -r /run/netns-hook");
    let before = world.snapshot();
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", PORTS), ("ipfile", "a")]);
    world.attach_ok("b", b, &[("ipfile", "b")]);
    (before, a, b)
}

/// Fails unless all is as it was without us, but for files: of these only the records told.
fn assert_nothing_left(world: &World, before: &[String]) {
    world.sh("rm -f /run/test/? && rm -r /run/netns-hook");
    world.assert_as(before);
}

fn works(world: &World, [a, b]: [Process; 2]) {
    assert!(a.pings("172.19.0.3") && b.pings("172.19.0.2"));
    assert_eq!([8080, 9500].map(|port| ask(None, "127.0.0.1", &format!("{port}/tcp"))), ["a", "a"]);
    assert!(world.rules().contains("172.19.0.0/16 "), "{}", world.rules());
}

fn what_no_record_tells_of_is_told_and_adopted(mut world: World) {
    let (before, a, b) = two(&mut world);
    [80, 9500].into_iter().for_each(|port| serve_tcp(a, port, "a"));
    let rules = world.rules();
    world.sh("rm -r /run/netns-hook");
    let told = |id: &str, address: &str| {
        format!("container {id} ({address}) is attached, and no record tells of it\n")
    };
    let both = [told("a", "172.19.0.2"), told("b", "172.19.0.3")];
    let tells = |said: &str| both.iter().all(|one| said.contains(one)) && said.contains("`netns gc --adopt`");

    let doctor = world.netns(&["doctor"], "");
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert_eq!((doctor.status.code(), found.matches(": unrecorded: ").count()), (Some(1), 2), "{found}");
    for args in [&["gc", "--dry-run"][..], &["gc"]] {
        let collected = world.netns(args, "");
        assert!(
            collected.status.success() && collected.stdout.is_empty() && tells(&stderr(&collected)),
            "{args:?}"
        );
    }
    let refused = world.netns(&["rm"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains(&format!("remove network netns0: {}", both[0])),
        "{}",
        stderr(&refused)
    );
    works(&world, [a, b]);

    world.sh("rm -r /run/netns-hook");
    let created = world.netns(&["create"], "");
    assert!(created.status.success() && tells(&stderr(&created)), "{}", stderr(&created));
    works(&world, [a, b]);
    let c = world.process();
    let taken = world.attach("c", c, &[("static-ip", "172.19.0.2")]);
    let cause = "a container that no record tells of has it";
    assert!(!taken.status.success() && stderr(&taken).contains(cause), "{}", stderr(&taken));

    world.sh("rm -r /run/netns-hook");
    world.attach_ok("c", c, &[("publish", "8081:80"), ("ipfile", "c")]);
    works(&world, [a, b]);
    assert!(c.pings("172.19.0.2") && c.pings("172.19.0.3"));
    world.detach_ok("c");

    world.sh("rm -r /run/netns-hook");
    assert_eq!(world.netns_ok(&["gc", "--adopt"], ""), "network netns0\ncontainer a\ncontainer b\n");
    assert_eq!(world.netns_ok(&["gc", "--adopt"], ""), "", "never twice");
    works(&world, [a, b]);
    let sorted = |rules: &str| {
        let end = |line: &str| line.find(" counter ").or_else(|| line.find(" [")).unwrap_or(line.len());
        let lines = rules.lines().filter(|line| !line.contains("elements ="));
        let mut lines: Vec<String> = lines.map(|line| line[..end(line)].to_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&world.rules()), sorted(&rules), "not a rule more or less");
    let listed = world.ls();
    let shown =
        |row: usize| (listed[row]["id"].clone(), listed[row]["status"].clone(), listed[row]["pid"].clone());
    assert_eq!(shown(0), ("a".into(), "running".into(), a.pid.into()));
    assert_eq!(shown(1), ("b".into(), "running".into(), b.pid.into()));
    assert_eq!(listed[0]["published"].as_array().map(Vec::len), Some(3), "{listed}");
    let taken = world.attach("c", c, &[("publish", "9100:80")]);
    assert!(stderr(&taken).contains("already published by container a"), "{}", stderr(&taken));
    let found = world.netns(&["doctor", "--probe"], "");
    assert!(!String::from_utf8_lossy(&found.stdout).contains("unrecorded"), "{found:?}");

    world.netns_ok(&["detach", "a"], "");
    assert!(!world.rules().contains("netns container"), "{}", world.rules());
    world.kill(b);
    let veth = format!("netnsv0-{}", b.pid);
    wait_for("the veth pair to go", || !world.links().contains(&veth));
    assert_eq!(world.netns_ok(&["gc"], ""), "container b\n");
    world.netns_ok(&["rm"], "");
    assert_nothing_left(&world, &before);
}

fn what_no_record_tells_of_is_removed_by_force_and_by_gc_when_it_is_dead(mut world: World) {
    for part in ["/run/netns-hook", "/run/netns-hook/networks/netns0.json", "/run/netns-hook/containers/a@*"]
    {
        let (before, a, b) = two(&mut world);
        world.sh(&format!("rm -r {part}"));
        assert_eq!(world.netns(&["rm"], "").status.code(), Some(1), "{part}");
        world.netns_ok(&["rm", "--force"], "");
        assert!(!world.links().iter().any(|link| link.starts_with("netns")), "{part}: {:?}", world.links());
        assert_nothing_left(&world, &before);
        assert!(!a.pings("172.19.0.1"));
        [a, b].into_iter().for_each(|process| world.kill(process));

        let (before, a, b) = two(&mut world);
        [a, b].into_iter().for_each(|process| world.kill(process));
        wait_for("the veth pairs to go", || !world.links().iter().any(|link| link.starts_with("netnsv0-")));
        world.sh(&format!("rm -r {part}"));
        world.netns_ok(&["gc"], "");
        world.netns(&["rm"], "");
        assert_nothing_left(&world, &before);
    }
}

#[test]
fn rm_of_a_network_without_a_record_leaves_nothing_and_on_a_host_without_one_says_so() {
    let Some(world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    world.sh("rm -r /run/netns-hook");
    let before = world.snapshot();
    assert!(stderr(&world.netns(&["rm"], "")).contains("there is none of this name"));
    world.assert_as(&before);
    for part in ["/run/netns-hook", "/run/netns-hook/networks/netns0.json"] {
        for gone in ["true", "ip link del netns0", "ip link set netns0 name foo"] {
            world.netns_ok(&["create"], "");
            world.sh(&format!("rm -r {part}; {gone}"));
            world.netns_ok(&["rm"], "");
            assert_nothing_left(&world, &before);
        }
    }
}

#[test]
fn a_container_whose_record_alone_is_lost_is_adopted_with_its_claims() {
    let Some(mut world) = World::new() else { return };
    let (before, a, b) = two(&mut world);
    [80, 9500].into_iter().for_each(|port| serve_tcp(a, port, "a"));
    world.sh("rm /run/netns-hook/containers/a@*");
    assert_eq!(world.netns_ok(&["gc", "--adopt"], ""), "container a\n");
    works(&world, [a, b]);
    assert_eq!(world.netns(&["gc"], "").stdout, b"", "no claim is left of the old record");
    assert_eq!(world.ls().as_array().map(Vec::len), Some(2));
    world.netns_ok(&["rm", "--force"], "");
    assert_nothing_left(&world, &before);
}

#[test]
fn an_address_of_ipv6_that_is_in_use_is_not_leased_whatever_is_lost() {
    for (subnets, mac) in [
        (&["172.19.0.1/16", "fd00:19::1/64"][..], ""),
        (&["172.19.0.1/16", "fd00:19::1/64"], "02:00:00:00:00:07"),
        (&["fd00:19::1/64", "172.19.0.1/16"], ""),
        (&["fd00:19::1/64"], ""),
    ] {
        let Some(mut world) = World::new() else { return };
        world.use_subnets(subnets);
        let (a, b) = (world.process(), world.process());
        let asked = [("ipfile", "a"), ("mac", mac)];
        world.attach_ok("a", a, &asked[..if mac.is_empty() { 1 } else { 2 }]);
        world.sh("cd /run/netns-hook && rm -r containers/a@* leases/netns0/* notes");
        let refused = world.attach("b", b, &[("static-ip", "fd00:19::2")]);
        let cause =
            "use static address fd00:19::2 for container b: a container that no record tells of has it";
        assert!(stderr(&refused).contains(cause), "{subnets:?} {mac}: {}", stderr(&refused));
        world.attach_ok("b", b, &[("ipfile", "b")]);
        assert!(b.sh("ip -o -6 addr show eth0").contains(" fd00:19::3/64"), "{subnets:?} {mac}");
        assert!(b.pings("fd00:19::2") && a.pings("fd00:19::3"));
        world.detach_ok("b");
        // Who is gone keeps nothing, though the host was told that he has it.
        world.kill(a);
        wait_for("the veth pair to go", || !world.links().iter().any(|link| link.starts_with("netnsv0-")));
        world.attach_ok("b", b, &[("static-ip", "fd00:19::2")]);
    }
}
