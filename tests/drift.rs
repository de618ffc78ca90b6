//! What others did to the host meanwhile: leaving succeeds all the same, and the next container
//! finds everything as it should be.

use crate::common::World;

/// Attaches `a` with ports on a fresh host, lets `meddle` happen, and expects that detaching
/// says nothing and that nothing at all is left once the network is removed.
fn assert_leaves_after(meddle: &str) {
    assert_leaves_on("nft", meddle);
}

fn assert_leaves_on(firewall: &str, meddle: &str) {
    let Some(mut world) = World::new() else { return };
    world.use_firewall(firewall);
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let container = world.process();
    world.attach_ok("a", container, &[("publish", "8080:80,127.0.0.1:53:53/udp")]);
    world.sh(meddle);
    world.detach_ok("a");
    assert!(!world.rules().contains("netns container a"), "{meddle}: its rules are gone");
    assert!(!world.links().iter().any(|link| link.starts_with("netnsv0-")), "{meddle}: its veth pair too");
    assert_eq!(world.ls(), serde_json::json!([]));
    assert_eq!(world.netns_ok(&["rm"], ""), "");
    world.assert_as(&before);
}

#[test]
fn detach_works_when_the_namespace_is_gone() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let container = world.process();
    world.attach_ok("a", container, &[("publish", "8080:80")]);
    world.kill(container);
    world.detach_ok("a");
    world.assert_as(&before);
}

#[test]
fn detach_works_when_the_veth_pair_is_gone() {
    assert_leaves_after("ip link del $(ip -o link show type veth | grep -o 'netnsv0-[0-9]*')");
}

#[test]
fn detach_works_when_the_bridge_is_gone() {
    assert_leaves_after("ip link del netns0");
}

#[test]
fn detach_works_when_its_rules_are_gone() {
    assert_leaves_after("iptables -t nat -F NETNS-PUBLISH");
}

#[test]
fn detach_works_when_one_of_its_rules_is_gone() {
    assert_leaves_after("iptables -t nat -D NETNS-PUBLISH 1");
}

#[test]
fn detach_works_when_the_firewall_was_flushed() {
    assert_leaves_after("for t in raw nat filter; do iptables -t $t -F; iptables -t $t -X; done");
}

#[test]
fn detach_works_whatever_is_gone_of_nftables() {
    for meddle in [
        "nft delete table ip netns",
        "nft flush table ip netns",
        "nft flush map ip netns publish",
        "nft flush chain ip netns guard",
        "nft delete element ip netns publish '{ tcp . 8080 }'",
        "ip link del netns0",
    ] {
        // A world is its thread's.
        std::thread::spawn(move || assert_leaves_on("nftables", meddle)).join().unwrap();
    }
}

#[test]
fn detach_works_when_the_file_and_its_bundle_are_gone() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    world.sh("mkdir /run/test/bundle");
    let container = world.process();
    let elsewhere = |state: String| state.replace("/run/test", "/run/test/bundle");
    let input = crate::common::state("a", "creating", Some(container.pid), &[]);
    world.netns_ok(&[], &elsewhere(input));
    world.sh("rm -r /run/test/bundle");
    let output = world.netns(&[], &elsewhere(crate::common::state("a", "stopped", None, &[])));
    assert_eq!(crate::common::stderr(&output), "");
    world.assert_as(&before);
}

#[test]
fn a_bridge_that_drifted_is_set_right_by_the_next_attach() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let (first, second) = (world.process(), world.process());
    world.attach_ok("first", first, &[]);
    let network =
        world.sh("ip -o -4 addr show netns0; ip route; ip link show netns0 | grep -o 'UP\\|mtu [0-9]*'");
    world.sh("ip addr flush dev netns0; ip link set netns0 down mtu 1300; sysctl -qw net.ipv4.ip_forward=0");
    assert!(!first.pings("172.19.0.1"), "it is broken");
    world.attach_ok("second", second, &[]);
    let set_right =
        world.sh("ip -o -4 addr show netns0; ip route; ip link show netns0 | grep -o 'UP\\|mtu [0-9]*'");
    assert_eq!(set_right, network);
    assert_eq!(world.sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    assert!(first.pings("172.19.0.1") && second.pings("172.19.0.2"));
    world.detach_ok("first");
    world.detach_ok("second");
    world.netns_ok(&["rm"], "");
    world.assert_as(&before);
}

#[test]
fn a_bridge_of_somebody_else_is_used_and_given_back_as_it_was() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    // Once up and down, and with an address of its own, so that the kernel changes neither.
    world.sh("ip link add netns0 address 02:00:00:00:00:01 mtu 1300 type bridge");
    world.sh("ip link set netns0 up; ip link set netns0 down");
    let before = world.snapshot();
    let container = world.process();
    world.attach_ok("a", container, &[("mtu", "1400"), ("publish", "8080:80")]);
    assert!(container.pings("172.19.0.1"));
    assert!(world.sh("ip link show netns0").contains("mtu 1400"));
    world.detach_ok("a");
    world.netns_ok(&["rm"], "");
    world.assert_as(&before);
}

#[test]
fn a_bridge_deleted_by_hand_is_made_again() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let (first, second) = (world.process(), world.process());
    world.attach_ok("first", first, &[("publish", "8080:80")]);
    world.sh("ip link del netns0");
    world.attach_ok("second", second, &[("publish", "8443:443")]);
    assert!(second.pings("172.19.0.1"));
    world.detach_ok("first");
    assert_eq!(world.sh("cat /proc/sys/net/ipv4/conf/netns0/route_localnet"), "1\n", "second needs it");
    world.detach_ok("second");
    world.netns_ok(&["rm"], "");
    world.assert_as(&before);
}

#[test]
fn a_bridge_deleted_by_hand_is_seen_and_the_next_attach_makes_all_containers_its_ports_again() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "127.0.0.1:8080:80"), ("ipfile", "a")]);
    crate::common::traffic::serve_tcp(a, 80, "a");
    world.sh("ip link del netns0");
    assert_eq!(world.ls()[0]["status"], "incomplete");
    world.attach_ok("b", b, &[("ipfile", "b")]);
    assert!(world.ls().as_array().unwrap().iter().all(|row| row["status"] == "running"));
    assert!(a.pings("172.19.0.1") && b.pings("172.19.0.2"));
    assert_eq!(crate::common::traffic::ask_tcp("127.0.0.1:8080"), "a", "its port too");
    world.detach_ok("a");
    world.detach_ok("b");
    world.netns_ok(&["rm"], "");
    assert_eq!(world.links(), ["lo"]);
}

/// One container up, and its bridge called otherwise by somebody.
fn with_a_renamed_bridge(then: impl Fn(&mut World, crate::common::Process)) {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let a = world.process();
    world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
    crate::common::traffic::serve_tcp(a, 80, "a");
    world.sh("ip link set netns0 name foo");
    assert_eq!(crate::common::traffic::ask_tcp("127.0.0.1:8080"), "", "it is broken");
    then(&mut world, a);
    let answered = || crate::common::traffic::ask_tcp("127.0.0.1:8080") == "a";
    assert!((0..4).any(|_| answered()), "on a busy machine a packet may be late");
    assert!(a.pings("172.19.0.1") && !world.links().contains(&"foo".to_owned()));
    world.sh("ip link set netns0 name bar");
    world.netns_ok(&["rm", "--force"], "");
    world.assert_as(&before);
}

#[test]
fn a_bridge_that_somebody_renamed_gets_its_name_again_with_the_next_attach() {
    with_a_renamed_bridge(|world, a| {
        let b = world.process();
        world.attach_ok("b", b, &[("ipfile", "b")]);
        assert!(b.pings("172.19.0.2") && a.pings("172.19.0.3"));
        assert_eq!(world.links().iter().filter(|link| *link == "netns0").count(), 1);
    });
}

#[test]
fn a_bridge_that_somebody_renamed_is_mended_by_create_and_by_doctor() {
    with_a_renamed_bridge(|world, _| drop(world.netns_ok(&["create"], "")));
    with_a_renamed_bridge(|world, _| {
        let fixed = world.netns(&["doctor", "--fix"], "");
        assert!(fixed.status.success(), "{}", crate::common::stderr(&fixed));
    });
}
