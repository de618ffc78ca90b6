//! PortMapping ports, with real packets on every way that leads to them, and on none other.

use std::net::UdpSocket;
use std::time::Duration;

use crate::common::scene::{Scene, ask};
use crate::common::traffic::{inside, serve_tcp, serve_udp};
use crate::common::{Process, World, on_every_firewall, stderr, wait_for};

on_every_firewall! {
    a_published_port_is_reached_on_every_way,
    a_range_of_100_ports_keeps_its_order_and_is_one_rule_of_iptables,
    a_port_of_one_address_is_published_there_alone,
    a_port_without_a_host_port_gets_a_free_one_and_tells,
    a_server_sees_who_calls_from_another_host,
    a_neighbour_that_routes_the_subnet_reaches_nothing_unpublished,
    nobody_on_a_wire_reaches_a_port_published_on_localhost,
    a_container_never_reaches_the_localhost_of_the_host,
    a_container_never_speaks_for_the_localhost_of_the_host,
    route_localnet_is_on_only_while_a_port_is_published_for_localhost,
    a_port_that_is_taken_is_refused_and_nothing_changes,
}

fn a_published_port_is_reached_on_every_way(world: World) {
    let scene = Scene::new(world, "8080:80,8080:80/udp");
    for on in [true, false] {
        scene.world.set_bridge_netfilter(on);
        scene.assert_reached("8080/tcp", "web");
        scene.assert_reached("8080/udp", "web");
    }
    scene.world.detach_ok("web");
    let silent = |(_, from, address): (_, Option<Process>, _)| ask(from, address, "8080/tcp").is_empty();
    assert!(scene.ways().into_iter().take(5).all(silent), "it is detached");
}

fn a_range_of_100_ports_keeps_its_order_and_is_one_rule_of_iptables(world: World) {
    let scene = Scene::new(world, "9000-9099:9000-9099,8000-8099:80-179,7000-7099:80-179/udp");
    let (published, count) =
        if scene.world.is_on_nftables() { ("comment \"netns container web\"", 300) } else { ("-j DNAT ", 3) };
    assert_eq!(scene.world.rules().matches(published).count(), count, "{}", scene.world.rules());
    for port in (9000..9100).chain(82..180) {
        serve_tcp(scene.web, port, port.to_string());
    }
    for port in 82..180 {
        serve_udp(scene.web, port, port.to_string());
    }
    for port in 9000..9100 {
        assert_eq!(ask(Some(scene.other), "10.0.0.1", &format!("{port}/tcp")), port.to_string());
    }
    for shift in 2..100 {
        let inside = (80 + shift).to_string();
        assert_eq!(ask(Some(scene.other), "10.0.0.1", &format!("{}/tcp", 8000 + shift)), inside);
        assert_eq!(ask(Some(scene.other), "10.0.0.1", &format!("{}/udp", 7000 + shift)), inside);
    }
    for port in ["9000/tcp", "9099/tcp"] {
        scene.assert_reached(port, &port[..4]);
    }
    for (port, answer) in [("8000/tcp", "web"), ("8099/tcp", "179"), ("7000/udp", "web"), ("7099/udp", "179")]
    {
        scene.assert_reached(port, answer);
    }
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "9100/tcp"), "", "beyond the range");
}

fn a_port_of_one_address_is_published_there_alone(world: World) {
    world.sh("ip addr add 10.9.9.9/32 dev lo");
    let scene = Scene::new(world, "10.0.0.1:8080:80,10.0.0.1:8080:80/udp");
    for (who, from, address) in scene.ways() {
        let answer = if address == "10.0.0.1" { "web" } else { "" };
        for port in ["8080/tcp", "8080/udp"] {
            assert_eq!(ask(from, address, port), answer, "{port} by {address}, asked by {who}");
        }
    }
    scene.other.sh("ip route add 10.9.9.9 via 10.0.0.1");
    assert_eq!(ask(Some(scene.other), "10.9.9.9", "8080/tcp"), "", "another address of the host");
}

fn a_port_without_a_host_port_gets_a_free_one_and_tells(world: World) {
    let taken = std::net::TcpListener::bind("0.0.0.0:49152").expect("the first port that is tried");
    let scene = Scene::new(world, "80,80/udp,127.0.0.1::81");
    let shown = &scene.world.ls()[1];
    assert_eq!(shown["id"], "web");
    let ports: Vec<u64> =
        (0..3).map(|i| shown["published"][i]["host_port"].as_u64().expect("a host port")).collect();
    let inspected = scene.world.netns_ok(&["inspect", "web", "--json"], "");
    let inspected: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    assert_eq!(inspected["published"], shown["published"]);
    assert!(ports.iter().all(|port| *port > 1024) && ports[0] != 49152 && ports[0] != ports[2], "{ports:?}");
    scene.assert_reached(&format!("{}/tcp", ports[0]), "web");
    scene.assert_reached(&format!("{}/udp", ports[1]), "web");
    assert_eq!(ask(None, "127.0.0.1", &format!("{}/tcp", ports[2])), "secret");
    drop(taken);
}

fn a_server_sees_who_calls_from_another_host(world: World) {
    let scene = Scene::new(world, "8080:88/udp");
    let server = "socat -u UDP-RECVFROM:88,fork SYSTEM:'echo $SOCAT_PEERADDR >> /run/test/callers'";
    let server = std::process::Command::new("nsenter")
        .args(["-t", &scene.web.pid.to_string(), "-n", "sh", "-c", &format!("exec {server}")])
        .spawn();
    let Scene { mut world, web, other, .. } = scene;
    world.keep(server.expect("run nsenter"));
    wait_for("the server", || !web.sh("ss -Hnul sport = :88").is_empty());
    other.sh("echo hello | socat -u - UDP-SENDTO:10.0.0.1:8080");
    let callers = || std::fs::read_to_string("/run/test/callers").unwrap_or_default();
    wait_for("the datagram", || !callers().is_empty());
    assert_eq!(callers().trim(), "10.0.0.2");
}

fn a_neighbour_that_routes_the_subnet_reaches_nothing_unpublished(world: World) {
    world.sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
    let scene = Scene::new(world, "8080:80,8080:80/udp");
    scene.other.sh("ip route add 172.19.0.0/16 via 10.0.0.1");
    for port in ["80/tcp", "81/tcp", "80/udp", "81/udp"] {
        assert_eq!(ask(Some(scene.other), "172.19.0.2", port), "", "{port}");
    }
    assert!(!scene.other.pings("172.19.0.2") && !scene.other.pings("172.19.0.1"));
    scene.assert_reached("8080/tcp", "web");
    scene.world.flush_guard();
    assert_eq!(ask(Some(scene.other), "172.19.0.2", "81/tcp"), "secret", "the attack is real");
    assert_eq!(ask(Some(scene.other), "172.19.0.2", "81/udp"), "secret", "the attack is real");
}

/// Makes 127.0.0.1 an address behind `gateway` for `process`, as an attacker would.
fn route_localhost(process: Process, gateway: &str, link: &str, source: &str) {
    process.sh(&format!(
        "ip link set lo up && ip addr flush dev lo && \
         echo 1 > /proc/sys/net/ipv4/conf/{link}/route_localnet && \
         ip route add 127.0.0.1/32 via {gateway} dev {link} src {source}"
    ));
}

fn nobody_on_a_wire_reaches_a_port_published_on_localhost(world: World) {
    let scene = Scene::new(world, "127.0.0.1:8080:80,127.0.0.1:8080:80/udp");
    route_localhost(scene.other, "10.0.0.1", "wire1", "10.0.0.2");
    route_localhost(scene.beside, "172.19.0.1", "eth0", "172.19.0.3");
    let attack = |port| [scene.other, scene.beside].map(|from| ask(Some(from), "127.0.0.1", port));
    for port in ["8080/tcp", "8080/udp"] {
        assert_eq!(ask(None, "127.0.0.1", port), "web", "the host itself, {port}");
        assert_eq!(attack(port), ["", ""], "{port}");
        assert_eq!(ask(Some(scene.other), "10.0.0.1", port), "", "by another address, {port}");
        assert_eq!(ask(Some(scene.beside), "172.19.0.1", port), "", "by the gateway, {port}");
    }
    scene.world.flush_guard();
    for port in ["8080/tcp", "8080/udp"] {
        assert_eq!(attack(port), ["web", "web"], "the attack is real, {port}");
    }
}

fn a_container_never_reaches_the_localhost_of_the_host(world: World) {
    // CVE-2020-8558: published for localhost, so that the bridge has route_localnet.
    let scene = Scene::new(world, "8080:80");
    let service = std::net::TcpListener::bind("127.0.0.1:3306").expect("listen");
    std::thread::spawn(move || {
        for stream in service.incoming() {
            let _ = stream.and_then(|mut stream| std::io::Write::write_all(&mut stream, b"database"));
        }
    });
    assert_eq!(ask(None, "127.0.0.1", "3306/tcp"), "database");
    route_localhost(scene.other, "10.0.0.1", "wire1", "10.0.0.2");
    route_localhost(scene.beside, "172.19.0.1", "eth0", "172.19.0.3");
    for from in [scene.other, scene.beside] {
        assert_eq!(ask(Some(from), "127.0.0.1", "3306/tcp"), "");
    }
    scene.world.flush_guard();
    assert_eq!(ask(Some(scene.beside), "127.0.0.1", "3306/tcp"), "database", "the attack is real");
}

fn a_container_never_speaks_for_the_localhost_of_the_host(world: World) {
    // Published for localhost, so that the bridge has route_localnet; and nothing filters sources.
    let scene = Scene::new(world, "8080:80");
    scene
        .world
        .sh("echo 0 | tee /proc/sys/net/ipv4/conf/all/rp_filter /proc/sys/net/ipv4/conf/netns0/rp_filter");
    scene.beside.sh("ip addr add 127.0.0.2/32 dev eth0; ip route add 172.19.0.1 dev eth0 src 127.0.0.2");
    scene.beside.sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet");
    let service = UdpSocket::bind("172.19.0.1:323").expect("bind");
    service.set_read_timeout(Some(Duration::from_millis(500))).expect("timeout");
    let attack = || {
        let send = || UdpSocket::bind("127.0.0.2:0")?.send_to(b"?", "172.19.0.1:323");
        inside(scene.beside, send).expect("send");
        service.recv_from(&mut [0; 8]).map(|(_, from)| from.ip().to_string()).unwrap_or_default()
    };
    assert_eq!(attack(), "");
    scene.world.flush_guard();
    assert_eq!(attack(), "127.0.0.2", "the attack is real");
}

fn route_localnet_is_on_only_while_a_port_is_published_for_localhost(mut world: World) {
    let [a, b, c] = [(); 3].map(|()| world.process());
    world.sh("ip addr add 10.9.9.9/32 dev lo");
    let route_localnet = || world.sh("cat /proc/sys/net/ipv4/conf/netns0/route_localnet");
    world.attach_ok("a", a, &[("publish", "10.9.9.9:8080:80")]);
    assert_eq!(route_localnet(), "0\n", "only a port of another address");
    world.attach_ok("b", b, &[("publish", "127.0.0.1:8081:80")]);
    assert_eq!(route_localnet(), "1\n");
    world.attach_ok("c", c, &[("publish", "8082:80")]);
    world.detach_ok("b");
    assert_eq!(route_localnet(), "1\n", "one is left");
    world.detach_ok("c");
    assert_eq!(route_localnet(), "0\n", "the last one is gone");
    for name in ["all", "default", "lo"] {
        assert_eq!(world.sh(&format!("cat /proc/sys/net/ipv4/conf/{name}/route_localnet")), "0\n");
    }
}

fn a_port_that_is_taken_is_refused_and_nothing_changes(mut world: World) {
    let (first, second) = (world.process(), world.process());
    world.sh("ip addr add 10.0.0.1/32 dev lo; ip addr add 10.0.0.2/32 dev lo");
    world.attach_ok("first", first, &[("publish", "8080:80,10.0.0.1:9000-9009:9000-9009")]);
    let before = world.snapshot();
    for publish in ["8080:81", "127.0.0.1:8080:81", "81,8080:81", "9009-9010:81-82", "10.0.0.1:9005:81"] {
        let refused = world.attach("second", second, &[("publish", publish)]);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{publish}: {said}");
        assert!(said.contains("for container second: already published by container first"), "{said}");
        world.assert_as(&before);
        assert!(!second.try_sh("ip link show eth0").status.success(), "{publish}");
    }
    world.attach_ok("second", second, &[("publish", "8080:80/udp,10.0.0.2:9000:81")]);
    serve_tcp(first, 80, "first");
    serve_udp(second, 80, "second");
    assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "first");
    assert_eq!(ask(None, "127.0.0.1", "8080/udp"), "second");
}
