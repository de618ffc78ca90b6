//! Routers that advertise themselves: the host heeds its own as before, and nobody heeds one that
//! is on a bridge of ours.

use std::fs;

use super::BOTH;
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{Process, World, on_every_firewall, wait_for};

on_every_firewall! {
    the_host_keeps_its_default_route_and_heeds_its_router_as_before,
    so_it_does_where_only_a_router_forwards,
}

/// An advertisement of a router for half an hour, and of the prefix `2001:db8:N::/64` (RFC 4861).
fn advertisement(prefix: u8) -> Vec<u8> {
    let router = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let lifetimes = [0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0];
    let address = [0x20, 0x01, 0x0d, 0xb8, 0, prefix, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    [&router[..], &[3, 4, 64, 0xc0], &lifetimes, &address].concat()
}

/// Sends one from an interface of `process` to all who are on its link.
pub fn advertise(process: Process, interface: &str, prefix: u8) {
    let file = format!("/run/test/advertisement{prefix}");
    fs::write(&file, advertisement(prefix)).unwrap();
    // The number of ICMPv6; only what no router has passed on counts (IPV6_MULTICAST_HOPS is 18).
    process.sh(&format!("socat -u {file} 'IP6-SENDTO:[ff02::1%{interface}]:58,setsockopt-int=41:18:255'"));
}

/// A host of which `other` is the router, by its own word.
fn behind_a_router(world: &mut World) -> Process {
    let other = world.neighbour_of_both();
    other.sh("ip addr add fe80::2/64 dev wire1 nodad; ip addr add 2001:db8:99::1/128 dev lo");
    // Whoever does not say of itself that it is one is none.
    other.sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    other.sh("for prefix in 1 2; do ip route add 2001:db8:$prefix::/64 dev wire1; done");
    wait_for("the default route", || {
        advertise(other, "wire1", 1);
        has_router(world)
    });
    other
}

fn has_router(world: &World) -> bool {
    world.sh("ip -6 route show default").contains("dev wire0 proto ra")
}

/// Makes the kernel look as before Linux 6.17, without `force_forwarding`: instead of that there is a
/// parameter of a link that is gone. A `/proc` of its own would show it, and is nobody's who sees
/// that nothing below `/proc/sys` is to be written, but for what is below `net`.
fn be_before_force_forwarding(world: &World) {
    world.sh(
        "mkdir /run/test/net && mount --bind /proc/sys/net /run/test/net && ip link add gone type veth && \
         mount --bind /proc/sys/net/ipv6/conf/gone/forwarding /run/test/net/ipv6/conf/all/force_forwarding && \
         ip link del gone && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && \
         mount --rbind /run/test/net /proc/sys/net",
    );
    let gone = fs::read("/proc/sys/net/ipv6/conf/all/force_forwarding").map_err(|error| error.kind());
    assert_eq!(gone, Err(std::io::ErrorKind::NotFound));
}

fn so_it_does_where_only_a_router_forwards(world: World) {
    be_before_force_forwarding(&world);
    let heeds = "cat /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/wire0/accept_ra";
    keeps_its_router(world, |world| assert_eq!(world.sh(heeds), "1\n2\n"));
}

fn the_host_keeps_its_default_route_and_heeds_its_router_as_before(world: World) {
    let heeds = "cat /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/wire0/accept_ra";
    keeps_its_router(world, |world| assert_eq!(world.sh(heeds), "0\n1\n"));
}

/// `forwards` looks at the host while containers are attached.
fn keeps_its_router(mut world: World, forwards: impl Fn(&World)) {
    let other = behind_a_router(&mut world);
    let parameters = "sysctl -a 2>/dev/null | grep -E 'net.ipv6.conf.*(forwarding|accept_ra) '";
    let before = world.sh(parameters);
    world.use_subnets(&BOTH);
    let (web, rogue) = (world.process(), world.process());
    world.attach_ok("web", web, &[]);
    world.attach_ok("rogue", rogue, &[]);
    assert!(has_router(&world), "{}", world.sh("ip -6 route"));
    forwards(&world);
    serve_tcp(other, 80, "other");
    assert_eq!(ask(Some(web), "2001:db8:99::1", "80/tcp"), "other", "by the router");
    // The host heeds its router as before.
    advertise(other, "wire1", 2);
    wait_for("the second prefix", || world.sh("ip -6 addr show dev wire0").contains("2001:db8:2:"));
    // One on the bridge is heeded neither by the host nor by a container.
    for prefix in [66, 67] {
        advertise(rogue, "eth0", prefix);
    }
    assert!(web.pings("fd00:19::1"), "all that was sent has come");
    for (who, addresses) in
        [("web", web.sh("ip -6 addr; ip -6 route")), ("the host", world.sh("ip -6 addr; ip -6 route"))]
    {
        assert!(
            !addresses.contains("2001:db8:42:") && !addresses.contains("2001:db8:43:"),
            "{who}: {addresses}"
        );
    }
    assert!(!web.sh("ip -6 route").contains("proto ra"));
    assert!(!world.sh("ip -6 route show dev netns0").contains("proto ra"));
    for id in ["web", "rogue"] {
        world.detach_ok(id);
    }
    world.netns_ok(&["rm"], "");
    assert!(has_router(&world));
    assert_eq!(world.sh(parameters), before);
}
