//! What an attached container has and reaches, at once; and what is left when it has gone.

use std::time::{Duration, Instant};

use super::{ALONE, BOTH};
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{World, on_every_firewall, stderr};

on_every_firewall! {
    by_both_families_the_world_the_host_and_a_neighbour_are_reached_and_nobody_comes_in,
    a_network_of_ipv6_alone_has_nothing_of_ipv4,
    a_hundred_containers_that_come_and_go_leave_the_host_as_it_was,
}

fn by_both_families_the_world_the_host_and_a_neighbour_are_reached_and_nobody_comes_in(mut world: World) {
    world.use_subnets(&BOTH);
    let (web, beside, other) = (world.process(), world.process(), world.neighbour_of_both());
    world.attach_ok("web", web, &[("ipfile", "ip")]);
    world.attach_ok("beside", beside, &[]);
    assert_eq!(std::fs::read_to_string("/run/test/ip").unwrap(), "172.19.0.2");
    for (process, name) in [(web, "web"), (other, "other")] {
        serve_tcp(process, 80, name);
    }
    for on in [true, false] {
        world.set_bridge_netfilter(on);
        for address in ["172.19.0.1", "fd00:19::1", "10.0.0.2", "2001:db8::2", "172.19.0.2", "fd00:19::2"] {
            assert!(beside.pings(address), "{address}");
        }
        for (from, address, answer) in [
            (Some(web), "10.0.0.2", "other"),
            (Some(web), "2001:db8::2", "other"),
            (Some(beside), "172.19.0.2", "web"),
            (Some(beside), "fd00:19::2", "web"),
            (None, "172.19.0.2", "web"),
            (None, "fd00:19::2", "web"),
        ] {
            assert_eq!(ask(from, address, "80/tcp"), answer, "{address}");
        }
    }
    // Whoever knows the way is not let in, by a port that is not published.
    other.sh("ip route add 172.19.0.0/16 via 10.0.0.1; ip route add fd00:19::/64 via 2001:db8::1");
    for address in ["172.19.0.2", "fd00:19::2"] {
        assert_eq!(ask(Some(other), address, "80/tcp"), "", "{address}");
        assert!(!other.try_sh(&format!("busybox ping -c 1 -W 1 {address}")).status.success(), "{address}");
    }
}

fn a_network_of_ipv6_alone_has_nothing_of_ipv4(mut world: World) {
    world.use_subnets(&ALONE);
    let (web, other) = (world.process(), world.neighbour_of_both());
    world.attach_ok("web", web, &[("static-ip", "fd00:19::99")]);
    serve_tcp(other, 80, "other");
    assert_eq!(ask(Some(web), "2001:db8::2", "80/tcp"), "other");
    assert_eq!(web.sh("ip -4 addr show dev eth0; ip -4 route"), "");
    assert_eq!(world.sh("cat /proc/sys/net/ipv4/ip_forward; ip -4 addr show dev netns0"), "0\n");
    assert!(!world.sh("iptables-save; nft list tables ip").contains("NETNS"));
    let ls = world.ls();
    assert_eq!(ls[0]["addresses"], serde_json::json!(["fd00:19::99/64"]));
    assert_eq!(ls[0]["gateway"], "fd00:19::1");
}

#[test]
fn an_address_is_usable_at_once() {
    let Some(mut world) = World::new() else { return };
    world.use_subnets(&BOTH);
    let web = world.process();
    world.attach_ok("web", web, &[]);
    let began = Instant::now();
    let first = web.try_sh("busybox ping -c 1 -W 1 fd00:19::1");
    let took = began.elapsed();
    assert!(first.status.success() && took < Duration::from_millis(900), "{took:?}");
    // Those that a link gives itself too, which nobody is asked about.
    assert!(!world.sh("ip -6 addr show dev netns0").contains("tentative"));
    assert!(!web.sh("ip -6 addr show dev eth0").contains("tentative"));
    assert!(world.try_sh("busybox ping -c 1 -W 1 fd00:19::2").status.success(), "the host's first");
}

#[test]
fn a_container_whose_runtime_has_switched_ipv6_off_gets_it_where_its_network_has_it() {
    let Some(mut world) = World::new() else { return };
    world.use_subnets(&BOTH);
    world.sh("for all in all default; do echo 1 > /proc/sys/net/ipv6/conf/$all/disable_ipv6; done");
    let web = world.process();
    web.sh("for all in all default; do sysctl -q -w net.ipv6.conf.$all.disable_ipv6=1; done");
    world.attach_ok("web", web, &[]);
    assert!(web.pings("fd00:19::1") && web.pings("fd00:19::2"));
    assert!(web.pings("172.19.0.1"));
}

/// All that `netns` could change for good.
fn everything(world: &World) -> String {
    world.sh(
        "sysctl -a 2>/dev/null | grep '^net\\.' | grep -vE 'conntrack_count|random|\\.retrans|mtu_expires'; \
         ip -d link; ip addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule; \
         ip neigh show nud permanent; iptables-save | grep -v '^#' | sed 's/\\[.*//'; \
         ip6tables-save | grep -v '^#' | sed 's/\\[.*//'; nft list ruleset | sed -E 's/packets [0-9]+ bytes [0-9]+//'",
    )
}

fn a_hundred_containers_that_come_and_go_leave_the_host_as_it_was(mut world: World) {
    world.use_subnets(&BOTH);
    let (web, _) = (world.process(), world.neighbour_of_both());
    let round = |world: &World, whole| {
        world.attach_ok("web", web, &[("publish", "8080:80"), ("ipfile", "ip")]);
        world.detach_ok("web");
        if whole {
            world.netns_ok(&["rm"], "");
        }
    };
    // The first makes tables that iptables leaves.
    round(&world, true);
    let before = everything(&world);
    (0..100).for_each(|n| round(&world, n % 10 == 9));
    let after = everything(&world);
    assert!(before == after, "{}", differences(&before, &after));
}

fn differences(before: &str, after: &str) -> String {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_network_that_cannot_have_ipv6_is_refused_and_nothing_is_done() {
    let Some(world) = World::new() else { return };
    let before = everything(&world);
    for (flags, said) in [
        (
            &["--ip", "fd00:19::1/64", "--mtu", "1279"][..],
            "use subnet fd00:19::/64 for network netns0: its MTU is 1279, and IPv6 needs 1280 bytes\n  \
             hint: pass --mtu 1280 or more\n",
        ),
        (
            &["--ip", "fd00:19::1/64", "--ip", "fd00:20::1/64"],
            "use fd00:19::1/64 and fd00:20::1/64 for network netns0: a network has one subnet of IPv4 at most, \
             and one of IPv6\n",
        ),
    ] {
        let refused = world.netns(&[flags, &["create"]].concat(), "");
        assert_eq!(stderr(&refused), format!("netns: {said}"));
    }
    world.sh(
        "ip link add lan type veth && ip link set lan up && ip addr add fd00:19:0:0:8::1/80 dev lan nodad",
    );
    let refused = world.netns(&["--ip", "fd00:19::1/64", "create"], "");
    let said = "netns: use subnet fd00:19::/64 for bridge netns0: the host already has a route to \
                fd00:19:0:0:8::/80 by lan\n  hint: pass --ip with an address of another subnet\n";
    assert_eq!(stderr(&refused), said);
    world.sh("ip link del lan");
    assert!(everything(&world) == before);
}
