//! The host's forwarding: switched on for us alone, and given back as it was.

use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{Process, World, on_both_variants, stderr};

on_both_variants! {
    a_host_that_did_not_forward_forwards_nothing_but_ours,
    forwarding_that_others_have_come_to_need_stays_and_is_told,
}

/// Hosts on two wires, each with a route to the other by this one.
fn two_lans(world: &mut World) -> (Process, Process) {
    let (a, b) = (world.neighbour(), world.process());
    world.sh(&format!("ip link add lan1 type veth peer name lan netns {}", b.pid));
    world.sh("ip link set lan1 addrgenmode none && ip addr add 10.1.0.1/24 dev lan1 && ip link set lan1 up");
    b.sh("ip link set lo up && ip addr add 10.1.0.2/24 dev lan && ip link set lan up");
    b.sh("ip route add 10.0.0.0/24 via 10.1.0.1");
    a.sh("ip route add 10.1.0.0/24 via 10.0.0.1");
    serve_tcp(b, 90, "b");
    (a, b)
}

/// Every parameter of IPv4 that a host has for its links, and whether it forwards.
fn parameters(world: &World) -> Vec<String> {
    let all = "grep -H . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/* 2>/dev/null | sort";
    world.sh(all).lines().map(str::to_owned).collect()
}

fn a_host_that_did_not_forward_forwards_nothing_but_ours(mut world: World) {
    let (a, b) = two_lans(&mut world);
    assert!(!a.pings("10.1.0.2"), "it does not forward");
    let before = parameters(&world);
    let web = world.process();
    world.attach_ok("web", web, &[("publish", "8080:80")]);
    serve_tcp(web, 80, "web");
    for on in [true, false] {
        world.set_bridge_netfilter(on);
        assert!(!a.pings("10.1.0.2") && !b.pings("10.0.0.2"), "the wires stay apart");
        assert_eq!(ask(Some(a), "10.1.0.2", "90/tcp"), "");
        for (from, address) in [(a, "10.0.0.1"), (b, "10.1.0.1")] {
            assert_eq!(ask(Some(from), address, "8080/tcp"), "web", "{address}");
        }
        assert_eq!(ask(Some(web), "10.1.0.2", "90/tcp"), "b");
        assert!(web.pings("10.0.0.2") && web.pings("10.1.0.2"));
    }
    world.sh("iptables -F NETNS-ONLY");
    assert!(a.pings("10.1.0.2"), "the attack is real");
    assert!(world.netns_ok(&["reload"], "").starts_with("restored "));
    assert!(!a.pings("10.1.0.2"));
    // Whoever forwards something says so in a rule of his own.
    world.sh(
        "iptables -I FORWARD -i wire0 -o lan1 -j ACCEPT && iptables -I FORWARD -i lan1 -o wire0 -j ACCEPT",
    );
    assert!(a.pings("10.1.0.2"));
    world.sh(
        "iptables -D FORWARD -i wire0 -o lan1 -j ACCEPT && iptables -D FORWARD -i lan1 -o wire0 -j ACCEPT",
    );
    world.detach_ok("web");
    world.netns_ok(&["rm"], "");
    assert_eq!(parameters(&world), before);
    assert!(!world.rules().contains("NETNS"), "{}", world.rules());
    assert!(!a.pings("10.1.0.2"));
}

#[test]
fn frames_on_a_bridge_of_somebody_else_are_not_forwarded_packets() {
    let Some(mut world) = World::new() else { return };
    let [a, b, web] = [(); 3].map(|()| world.process());
    world.sh("ip link add br9 type bridge && ip link set br9 up");
    for (n, guest) in [(1, a), (2, b)] {
        world.sh(&format!("ip link add tap{n} master br9 type veth peer name eth0 netns {}", guest.pid));
        world.sh(&format!("ip link set tap{n} up"));
        guest.sh(&format!("ip addr add 10.9.0.{n}/24 dev eth0 && ip link set eth0 up"));
    }
    world.set_bridge_netfilter(true);
    assert!(a.pings("10.9.0.2"));
    world.attach_ok("web", web, &[]);
    assert!(a.pings("10.9.0.2") && b.pings("10.9.0.1"));
}

#[test]
fn a_host_that_forwards_goes_on() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = two_lans(&mut world);
    world.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    let before = parameters(&world);
    world.netns_ok(&["create"], "");
    assert!(a.pings("10.1.0.2") && b.pings("10.0.0.2"));
    assert!(!world.rules().contains("NETNS-ONLY"), "{}", world.rules());
    world.netns_ok(&["rm"], "");
    assert_eq!(parameters(&world), before);
}

#[test]
fn every_parameter_that_the_kernel_changes_with_it_is_given_back_with_the_last_network() {
    const TWO: [&[&str]; 2] = [&[], &["--bridge", "netns1", "--ip", "10.77.0.1/24"]];
    for first_out in [0, 1] {
        let done = std::thread::spawn(move || {
            let Some(mut world) = World::new() else { return };
            two_lans(&mut world);
            let conf = "/proc/sys/net/ipv4/conf";
            world.sh(&format!("echo 0 > {conf}/all/accept_redirects; echo 1 > {conf}/lan1/forwarding"));
            world.sh(&format!("echo 1 > {conf}/default/forwarding"));
            let before = parameters(&world);
            for network in TWO {
                world.netns_ok(&[network, &["create"]].concat(), "");
            }
            assert!(world.sh("cat /proc/sys/net/ipv4/conf/wire0/forwarding") == "1\n");
            for network in [TWO[first_out], TWO[1 - first_out]] {
                assert_eq!(world.sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
                assert!(world.rules().contains("-A FORWARD -m comment --comment netns -j NETNS-ONLY"));
                world.netns_ok(&[network, &["rm"]].concat(), "");
            }
            assert_eq!(parameters(&world), before);
            assert!(!world.rules().contains("NETNS"), "{}", world.rules());
        });
        done.join().unwrap();
    }
}

fn forwarding_that_others_have_come_to_need_stays_and_is_told(world: World) {
    for (others, undone, why) in [
        (
            "ip link add docker0 type bridge && ip addr add 10.88.0.1/24 dev docker0 && ip link set docker0 up",
            "ip link del docker0",
            "bridge docker0 may need it",
        ),
        (
            "iptables -A FORWARD -i vpn0 -j ACCEPT",
            "iptables -D FORWARD -i vpn0 -j ACCEPT",
            "a rule of others lets packets through: -A FORWARD -i vpn0 -j ACCEPT",
        ),
        (
            "iptables -t nat -A POSTROUTING -o wan0 -j MASQUERADE",
            "iptables -t nat -D POSTROUTING -o wan0 -j MASQUERADE",
            "a rule of others lets packets through: -A POSTROUTING -o wan0 -j MASQUERADE",
        ),
        (
            "nft 'add table ip own; add chain ip own post { type nat hook postrouting priority 110; }; \
             add rule ip own post oifname wan0 masquerade'",
            "nft delete table ip own",
            "a rule of others lets packets through: table \"own\", chain \"post\"",
        ),
        (
            "mkdir /run/sysctl.d && echo 'net.ipv4.ip_forward = 1' > /run/sysctl.d/router.conf",
            "rm -r /run/sysctl.d",
            "/run/sysctl.d/router.conf asks for it",
        ),
    ] {
        world.netns_ok(&["create"], "");
        world.sh(others);
        let removed = world.netns(&["rm"], "");
        let expected = format!(
            "netns: warning: remove network netns0: net/ipv4/ip_forward stays 1: {why}\n  \
             hint: `sysctl -w net/ipv4/ip_forward=0` once nobody needs it\n"
        );
        assert_eq!((removed.status.code(), stderr(&removed)), (Some(0), expected));
        assert_eq!(world.sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n", "{others}");
        assert!(!world.rules().contains("NETNS") && world.links() == ["lo"] || world.links().len() == 2);
        world.sh(&format!("{undone}; echo 0 > /proc/sys/net/ipv4/ip_forward"));
    }
    // What is only a way to the wire needs nothing of the kind.
    world.netns_ok(&["create"], "");
    world.sh("ip link add br0 type bridge && ip addr add 10.89.0.1/24 dev br0 && ip link set br0 up");
    world.sh("ip link add wan0 type ifb && ip link set wan0 master br0");
    assert_eq!(stderr(&world.netns(&["rm"], "")), "");
    assert_eq!(world.sh("cat /proc/sys/net/ipv4/ip_forward"), "0\n");
}
