//! Where nothing is wrong, nothing is found.

use super::{UPLINK, assert_healthy, findings, ward};
use crate::common::scene::ask;
use crate::common::traffic::{serve_tcp, serve_udp};
use crate::common::{Process, World, on_both_variants, stderr};

on_both_variants! {
    a_host_with_two_bridges_a_pod_and_published_ports_is_healthy,
    firewalls_that_let_us_pass_are_no_fault,
}

fn a_host_with_two_bridges_a_pod_and_published_ports_is_healthy(world: World) {
    let mut scene = ward(world, "8080:80,8080:80/udp,127.0.0.1:8181:81,9000-9099:80-179");
    let (second, world) = (scene.world.process(), &mut scene.world);
    world.attach_ok(
        "elsewhere",
        second,
        &[("bridge", "other0"), ("ip", "10.77.0.1/24"), ("publish", "10.0.0.1:53:53/udp")],
    );
    serve_udp(second, 53, "dns");
    let pod = std::process::Command::new("nsenter")
        .args(["-t", &second.pid.to_string(), "-n", "sleep", "1000"])
        .spawn()
        .expect("start a process");
    let pod = Process { pid: world.keep(pod) };
    crate::common::wait_for("a shared namespace", || pod.sh("ip -o link").contains("eth0"));
    world.attach_ok("sidecar", pod, &[("publish", "7070:70"), ("bridge", "other0"), ("ip", "10.77.0.1/24")]);
    serve_tcp(second, 70, "sidecar");
    for on in [true, false] {
        scene.world.set_bridge_netfilter(on);
        scene.assert_reached("8080/tcp", "web");
        assert_eq!(ask(Some(scene.other), "10.0.0.1", "53/udp"), "dns");
        assert_eq!(ask(None, "10.0.0.1", "7070/tcp"), "sidecar");
        let before = scene.world.snapshot();
        assert_healthy(&scene.world);
        scene.world.assert_as(&before);
    }
    let said = scene.world.netns_ok(&["doctor", "--probe"], "");
    assert_eq!(said, "nothing is wrong: 4 containers on 2 networks\n");
    assert_eq!(scene.world.netns_ok(&["doctor", "web"], ""), "nothing is wrong: 1 container on 1 network\n");
}

fn firewalls_that_let_us_pass_are_no_fault(world: World) {
    let scene = ward(world, "8080:80");
    // Docker's, whose chains keep its own bridges apart.
    scene.world.sh(
        "iptables -P FORWARD DROP; for c in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2; \
         do iptables -N $c; done; iptables -I FORWARD -o docker0 -j DOCKER; \
         iptables -I FORWARD -j DOCKER-ISOLATION-STAGE-1; iptables -I FORWARD -j DOCKER-USER; \
         iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2; \
         iptables -A DOCKER-ISOLATION-STAGE-1 -j RETURN; iptables -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP; \
         iptables -A DOCKER-ISOLATION-STAGE-2 -j RETURN; iptables -A DOCKER-USER -j RETURN",
    );
    // Somebody's own, of which not everything is understood.
    scene.world.sh(
        "nft add table inet own && nft add chain inet own forward '{ type filter hook forward priority 5; policy drop; }' && \
         nft add set inet own friends '{ type ipv4_addr; flags interval; elements = { 172.16.0.0/12 }; }' && \
         nft add rule inet own forward ct state vmap '{ established : accept, related : accept, invalid : drop }' && \
         nft add rule inet own forward tcp dport 25 drop && nft add rule inet own forward ip saddr @friends accept && \
         nft add rule inet own forward ct status dnat meta l4proto tcp accept",
    );
    scene.assert_reached("8080/tcp", "web");
    assert!(scene.web.pings("10.0.0.2"));
    assert_healthy(&scene.world);
}

#[test]
fn a_host_without_any_network_is_healthy() {
    let Some(world) = World::new() else { return };
    world.sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
    assert_healthy(&world);
    assert_eq!(world.netns_ok(&["doctor"], ""), "nothing is wrong: 0 containers on 0 networks\n");
    assert_eq!(world.sh("ls /run"), "test\n", "to observe leaves nothing");
}

#[test]
fn a_network_without_containers_is_examined() {
    let Some(mut world) = World::new() else { return };
    world.neighbour();
    world.sh(UPLINK);
    world.netns_ok(&["create"], "");
    assert_healthy(&world);
    world.sh("ip link set netns0 down");
    assert_eq!(findings(&world, &[])[0]["check"], "bridge-broken");
}

#[test]
fn a_container_that_is_not_there_is_an_error() {
    let Some(world) = World::new() else { return };
    let output = world.netns(&["doctor", "web"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("look at container web: no container of this id or name is attached"));
}

#[test]
fn what_a_container_is_asked_for_says_nothing_of_its_neighbours() {
    let Some(scene) = World::new().map(|world| ward(world, "8080:80,9090:90")) else { return };
    assert_eq!(findings(&scene.world, &["beside", "--probe"]).len(), 0);
    assert_eq!(findings(&scene.world, &["web"])[0]["object"], "container web");
    scene.web.sh("ip link set eth0 down");
    assert_eq!(findings(&scene.world, &["beside", "--fix"]).len(), 0, "and fixes nothing of theirs");
    assert_eq!(findings(&scene.world, &["web"])[0]["check"], "interface-broken");
}

#[test]
fn a_remedy_knows_where_the_records_are() {
    let Some(mut world) = World::new() else { return };
    let dir = "/run/test/it's there";
    let container = world.process();
    world.netns_ok(&["--state-dir", dir, "attach", &container.pid.to_string(), "--id", "web"], "");
    world.kill(container);
    let output = world.netns(&["--state-dir", dir, "doctor", "--json"], "");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found[0]["remedy"], r"netns --state-dir '/run/test/it'\''s there' gc");
    super::run_remedy(&world, &found[0]);
    let said = world.netns_ok(&["--state-dir", dir, "doctor"], "");
    assert_eq!(said, "nothing is wrong: 0 containers on 1 network\n");
}
