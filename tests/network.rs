//! Bridge, veth pair and lease in real namespaces.

use crate::common::scene::ask;
use crate::common::traffic::{ask_tcp, serve_tcp};
use crate::common::{Process, World, state, stderr};

#[test]
fn an_attached_container_pings_gateway_and_neighbour_and_leaves_nothing() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    world.attach_ok("a", a, &[("publish", "8080:80")]);
    world.attach_ok("b", b, &[]);
    assert!(a.pings("172.19.0.1"), "the gateway");
    assert!(a.pings("172.19.0.3"), "the neighbour");
    world.detach_ok("a");
    world.detach_ok("b");
    world.assert_as(&before);
}

#[test]
fn a_pod_reaches_the_port_that_its_second_container_publishes() {
    let Some(mut world) = World::new() else { return };
    let pod = world.process();
    world.attach_ok("pause", pod, &[]);
    world.attach_ok("web", pod, &[("publish", "8080:80")]);
    serve_tcp(pod, 80, "web");
    for on in [true, false] {
        world.set_bridge_netfilter(on);
        assert_eq!(ask(Some(pod), "172.19.0.1", "8080/tcp"), "web", "bridge-netfilter {on}");
    }
    world.detach_ok("web");
    assert!(pod.pings("172.19.0.1"), "the first container is still there");
    assert_eq!(ask(Some(pod), "172.19.0.1", "8080/tcp"), "", "the port is gone");
}

#[test]
fn a_chosen_mtu_stays_when_the_last_container_goes() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create", "--mtu", "1400"], "");
    let before = world.snapshot();
    let web = world.process();
    world.attach_ok("web", web, &[]);
    world.detach_ok("web");
    world.assert_as(&before);
}

/// Whether an echo request that fills a packet of 1500 bytes is answered.
fn pings_with_1500(from: Option<Process>, world: &World, address: &str) -> bool {
    let command = format!("busybox ping -c 1 -W 1 -s 1472 {address}");
    (0..3).any(|_| from.map_or_else(|| world.try_sh(&command), |from| from.try_sh(&command)).status.success())
}

#[test]
fn the_mtu_of_one_container_is_its_own_and_the_bridge_keeps_the_networks() {
    let Some(mut world) = World::new() else { return };
    let [a, b, small] = [(); 3].map(|()| world.process());
    world.attach_ok("a", a, &[("ipfile", "a")]);
    world.attach_ok("b", b, &[("ipfile", "b")]);
    let before = world.snapshot();
    std::fs::write("/run/test.toml", "[policy]\nmtus = ['1280-9000']").unwrap();
    let ask = |mtu| {
        let asked = [("mtu", mtu), ("publish", "8080:80"), ("ipfile", "small")];
        world.netns(&["--config", "/run/test.toml"], &state("small", "creating", Some(small.pid), &asked))
    };
    let refused = stderr(&ask("9000"));
    let expected = "netns: use MTU 9000 for container small: bridge netns0 takes packets of 1500 bytes at most\n  \
        hint: `netns --mtu 9000 create` changes the network's\n";
    assert_eq!(refused, expected);
    let attached = ask("1280");
    assert!(attached.status.success(), "{}", stderr(&attached));

    assert!(world.sh("ip link show netns0").contains(" mtu 1500 "), "the bridge is everybody's");
    assert!(small.sh("ip link show eth0").contains(" mtu 1280 "));
    assert!(pings_with_1500(Some(a), &world, "172.19.0.3"), "the older ones among themselves");
    assert!(pings_with_1500(None, &world, "172.19.0.2") && pings_with_1500(Some(a), &world, "172.19.0.1"));
    let path = world.sh("ip route get 172.19.0.4");
    assert!(path.contains(" mtu 1280"), "what is sent to it is divided or refused, not lost: {path}");
    assert!(
        pings_with_1500(None, &world, "172.19.0.4") && pings_with_1500(Some(small), &world, "172.19.0.1")
    );
    serve_tcp(small, 80, "small".repeat(1000));
    assert_eq!(ask_tcp("127.0.0.1:8080"), "small".repeat(1000));

    world.sh("ip link del netns0");
    let again = world.process();
    world.attach_ok("again", again, &[("ipfile", "again")]);
    assert!(pings_with_1500(None, &world, "172.19.0.4"), "also on a bridge that is made again");
    world.detach_ok("again");
    world.detach_ok("small");
    world.sh("rm /run/test.toml");
    world.assert_as(&before);
}

#[test]
fn the_mtu_that_an_annotation_asks_for_first_is_not_the_networks() {
    let Some(mut world) = World::new() else { return };
    let [first, second] = [(); 2].map(|()| world.process());
    std::fs::write("/run/test.toml", "mtu = 1400\n[policy]\nmtus = ['1280']").unwrap();
    for (id, process, asked) in
        [("first", first, &[("mtu", "1280"), ("ipfile", "a")][..]), ("second", second, &[])]
    {
        world.netns_ok(&["--config", "/run/test.toml"], &state(id, "creating", Some(process.pid), asked));
    }
    for (show, mtu) in [(world.sh("ip link show netns0"), 1400), (second.sh("ip link show eth0"), 1400)] {
        assert!(show.contains(&format!(" mtu {mtu} ")), "{show}");
    }
    assert!(first.sh("ip link show eth0").contains(" mtu 1280 ") && first.pings("172.19.0.3"));
}

#[test]
fn an_mtu_too_small_for_ipv6_is_one_all_the_same() {
    let Some(mut world) = World::new() else { return };
    let [a, b, c] = [(); 3].map(|()| world.process());
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    world.netns_ok(&["--mtu", "600", "create"], "");
    world.attach_ok("a", a, &[("ipfile", "a")]);
    world.attach_ok("b", b, &[("mtu", "68"), ("ipfile", "b")]);
    assert!(
        a.sh("ip link show eth0").contains(" mtu 600 ") && b.sh("ip link show eth0").contains(" mtu 68 ")
    );
    assert!(a.pings("172.19.0.1") && b.pings("172.19.0.1"));
    world.netns_ok(&["--mtu", "1500", "create"], "");
    world.attach_ok("c", c, &[("ipfile", "c")]);
    assert!(c.pings("172.19.0.2"));
    let ipv6 = world.sh("cat /proc/sys/net/ipv6/conf/netns0/disable_ipv6 2>/dev/null || echo 1");
    assert_eq!(ipv6, "1\n", "the bridge gets no IPv6 with its larger MTU");
    for id in ["a", "b", "c"] {
        world.detach_ok(id);
    }
    world.netns_ok(&["rm"], "");
    world.assert_as(&before);
}
