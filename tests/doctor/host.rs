//! The host's parameters and routes.

use std::net::UdpSocket;

use super::{Case, ward};
use crate::common::scene::{Scene, ask};
use crate::common::traffic::{ask_tcp, inside};
use crate::common::{Process, World, wait_for};

fn scene() -> Option<Scene> {
    Some(ward(World::new()?, "8080:80"))
}

fn reaches_out(scene: &Scene) -> bool {
    scene.web.try_sh("busybox ping -c 1 -W 1 10.0.0.2").status.success()
}

fn is_reached(scene: &Scene) -> bool {
    ask(Some(scene.other), "10.0.0.1", "8080/tcp") == "web"
}

#[test]
fn forwarding_that_is_off() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "forwarding-off",
        args: &[],
        harm: "sysctl -qw net.ipv4.ip_forward=0",
        flows: || reaches_out(&scene) && is_reached(&scene),
    };
    case.is_remedied();
    case.is_fixed();
}

#[test]
fn forwarding_that_is_off_for_the_bridge() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "forwarding-off",
        args: &[],
        harm: "sysctl -qw net.ipv4.conf.netns0.forwarding=0",
        flows: || reaches_out(&scene),
    };
    case.is_remedied();
    case.is_fixed();
}

#[test]
fn forwarding_that_is_off_for_the_uplink() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "forwarding-off",
        args: &[],
        harm: "sysctl -qw net.ipv4.conf.wire0.forwarding=0",
        flows: || is_reached(&scene),
    };
    assert_eq!(case.is_remedied()["fixable"], false);
}

#[test]
fn route_localnet_that_is_off() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "route-localnet",
        args: &[],
        harm: "sysctl -qw net.ipv4.conf.netns0.route_localnet=0",
        flows: || ask_tcp("127.0.0.1:8080") == "web",
    };
    case.is_remedied();
    case.is_fixed();
}

#[test]
fn a_route_that_takes_a_part_of_the_subnet() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "route-overlap",
        args: &[],
        harm: "ip route add 172.19.0.0/24 via 10.0.0.2",
        flows: || is_reached(&scene),
    };
    let finding = case.is_remedied();
    assert_eq!(finding["remedy"], "ip route del 172.19.0.0/24 via 10.0.0.2 dev wire0");
    assert_eq!(finding["fixable"], false);
}

#[test]
fn a_route_that_takes_a_part_of_the_subnet_where_nobody_is_yet() {
    let Some(scene) = scene() else { return };
    scene.other.sh("ip addr add 172.19.5.5/32 dev lo");
    // As seen from the host it works; for a container it is a neighbour that does not answer.
    let case = Case {
        world: &scene.world,
        check: "route-overlap",
        args: &[],
        harm: "ip route add 172.19.5.0/24 via 10.0.0.2",
        flows: || !scene.world.try_sh("busybox ping -c 1 -W 1 172.19.5.5").status.success(),
    };
    case.is_remedied();
}

#[test]
fn a_route_that_forbids_a_container() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "route-overlap",
        args: &[],
        harm: "ip route add blackhole 172.19.0.2",
        flows: || is_reached(&scene),
    };
    case.is_remedied();
}

#[test]
fn a_table_of_policy_routing_that_takes_the_subnet() {
    let Some(scene) = scene() else { return };
    // As a VPN does.
    scene.world.sh("ip route add default via 10.0.0.2 table 51820");
    let case = Case {
        world: &scene.world,
        check: "route-overlap",
        args: &[],
        harm: "ip rule add not fwmark 51820 table 51820 priority 100",
        flows: || is_reached(&scene),
    };
    case.is_remedied();
}

#[test]
fn a_route_to_the_subnet_that_is_gone() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "route-overlap",
        args: &[],
        harm: "ip route del 172.19.0.0/16 dev netns0",
        flows: || is_reached(&scene),
    };
    case.is_remedied();
    case.is_fixed();
}

/// A second wire to the other host, which the host's default route does not take.
fn second_uplink(scene: &Scene) {
    scene.world.sh(&format!(
        "ip link add wire2 type veth peer name wire3 netns {} && ip addr add 10.1.0.1/24 dev wire2 && \
         ip link set wire2 up && ip route add default via 10.1.0.2 metric 100",
        scene.other.pid
    ));
    scene
        .other
        .sh("ip addr add 10.1.0.2/24 dev wire3; ip link set wire3 up; ip addr add 192.0.2.7/32 dev lo; \
         for i in all wire1 wire3; do echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done");
}

/// What a caller from afar hears who takes the second wire.
fn ask_by_second(other: Process) -> String {
    inside(other, || {
        let output = std::process::Command::new("busybox")
            .args(["timeout", "2", "socat", "-", "TCP4:10.1.0.1:8080,bind=192.0.2.7"])
            .stdin(std::process::Stdio::null())
            .output();
        String::from_utf8_lossy(&output.expect("run socat").stdout).into_owned()
    })
}

#[test]
fn a_strict_reverse_path_filter_on_a_second_uplink() {
    let Some(scene) = scene() else { return };
    scene.world.sh("for i in all default wire0; do echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done");
    second_uplink(&scene);
    let case = Case {
        world: &scene.world,
        check: "reverse-path",
        args: &[],
        harm: "sysctl -qw net.ipv4.conf.wire2.rp_filter=1",
        flows: || ask_by_second(scene.other) == "web",
    };
    assert_eq!(case.is_remedied()["fixable"], false);
}

/// Whether the first datagram of `size` bytes, which must not be cut on its way, arrives.
fn first_large_datagram_arrives(scene: &Scene, size: usize) -> bool {
    let server = inside(scene.other, || UdpSocket::bind("10.0.0.2:0").expect("bind"));
    server.set_read_timeout(Some(std::time::Duration::from_millis(500))).expect("timeout");
    let port = server.local_addr().expect("address").port();
    scene.web.sh("ip route flush cache");
    inside(scene.web, move || {
        let client = UdpSocket::bind("0.0.0.0:0").expect("bind");
        let _ = client.send_to(&vec![0; size], ("10.0.0.2", port));
    });
    server.recv(&mut [0; 2000]).is_ok()
}

#[test]
fn an_mtu_larger_than_the_uplinks() {
    let Some(scene) = scene() else { return };
    let case = Case {
        world: &scene.world,
        check: "mtu-too-large",
        args: &[],
        harm: "ip link set wire0 mtu 1400",
        flows: || first_large_datagram_arrives(&scene, 1500 - 28),
    };
    let finding = case.is_remedied();
    assert!(finding["remedy"].as_str().unwrap().contains("--mtu 1400"));
    let flows = || first_large_datagram_arrives(&scene, 1400 - 28);
    let Case { world, check, args, .. } = case;
    Case { world, check, args, harm: "ip link set wire0 mtu 1300", flows }.is_fixed();
    let mtu = |links: &str| links.matches("mtu 1300").count();
    assert_eq!(mtu(&scene.world.sh("ip -o link show master netns0; ip -o link show netns0")), 3);
    assert_eq!(mtu(&scene.web.sh("ip -o link show eth0")), 1);
    wait_for("the next attach leaves it", || scene.world.netns(&["create"], "").status.success());
    assert_eq!(mtu(&scene.world.sh("ip -o link show netns0")), 1);
}
