//! Containers on one bridge that say they are their neighbour, by ARP and by its own address of
//! the link layer.

use super::soon;
use crate::common::traffic::{ask_tcp, ask_tcp_from, serve_tcp};
use crate::common::{Process, World};

/// 172.19.0.2, whose port 80 is published as 8080; another on its bridge; and another host.
struct Scene {
    world: World,
    web: Process,
    thief: Process,
    far: Process,
}

impl Scene {
    fn new() -> Option<Self> {
        let mut world = World::new()?;
        let (web, thief, far) = (world.process(), world.process(), world.neighbour());
        world.attach_ok("web", web, &[("publish", "8080:80")]);
        world.attach_ok("thief", thief, &[]);
        serve_tcp(web, 80, "web");
        serve_tcp(thief, 80, "thief");
        Some(Self { world, web, thief, far })
    }

    /// Fails unless `web` answers on its published port, for another host and for this one.
    fn assert_is_web(&self, after: &str) {
        for _ in 0..3 {
            let answers =
                [ask_tcp_from(self.far, "10.0.0.1:8080"), ask_tcp("10.0.0.1:8080"), ask_tcp("172.19.0.2:80")];
            assert_eq!(answers, ["web", "web", "web"], "after {after}");
        }
    }
}

/// Runs a command with these capabilities and no others, in the network of a container.
fn with(process: Process, capabilities: &str, command: &str) {
    let caps = format!("-all,+{capabilities}");
    process.sh(&format!("setpriv --bounding-set={caps} --inh-caps={caps} sh -c '{command}'"));
}

#[test]
fn a_published_port_is_not_taken_by_arp() {
    let Some(scene) = Scene::new() else { return };
    scene.assert_is_web("nothing");
    // What the host knows already is asked for anew in its own time: now.
    scene.world.sh("ip neigh flush dev netns0");
    with(scene.thief, "net_admin", "ip addr add 172.19.0.2/32 dev eth0");
    with(scene.thief, "net_raw", "busybox arping -q -U -c 2 -I eth0 -s 172.19.0.2 172.19.0.1");
    scene.assert_is_web("unsolicited ARP");
    with(scene.thief, "net_raw", "busybox arping -q -A -c 2 -I eth0 -s 172.19.0.2 172.19.0.1");
    scene.assert_is_web("ARP answers");
    // The host can reach nobody else by that address either: it asks nobody.
    scene.web.sh("ip link set eth0 down");
    assert_eq!(ask_tcp_from(scene.far, "10.0.0.1:8080"), "", "it is down, and nobody answers for it");
    soon("its detach", || scene.world.detach_ok("web"));
    assert!(!scene.world.sh("ip neigh show nud permanent").contains("172.19.0.2 "));
    assert_eq!(ask_tcp("172.19.0.2:80"), "thief", "the address is nobody's now");
}

#[test]
fn a_published_port_is_not_taken_by_the_address_of_the_link_layer() {
    let Some(scene) = Scene::new() else { return };
    let mac = scene.web.sh("cat /sys/class/net/eth0/address 2>/dev/null; ip -br link show eth0");
    let mac = mac.split_whitespace().find(|word| word.starts_with("02:6e:")).unwrap().to_owned();
    let own = format!(
        "ip link set eth0 down address {mac}; ip addr add 172.19.0.2/16 dev eth0; ip link set eth0 up"
    );
    with(scene.thief, "net_admin", &own);
    for _ in 0..3 {
        with(scene.thief, "net_raw", "busybox arping -q -U -c 1 -I eth0 -s 172.19.0.2 172.19.0.1");
        scene.assert_is_web("packets from its address");
    }
}

#[test]
fn what_stops_that_is_there_again_with_a_bridge_that_was_deleted() {
    let Some(mut scene) = Scene::new() else { return };
    scene.world.sh("ip link del netns0");
    let newcomer = scene.world.process();
    scene.world.attach_ok("newcomer", newcomer, &[]);
    with(scene.thief, "net_admin", "ip addr add 172.19.0.2/32 dev eth0");
    with(scene.thief, "net_raw", "busybox arping -q -U -c 2 -I eth0 -s 172.19.0.2 172.19.0.1");
    scene.assert_is_web("a bridge made again");
    assert!(scene.world.sh("bridge -d link").contains("hairpin on"));
}
