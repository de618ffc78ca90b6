//! What a container is itself to blame for, and what the dead left.

use std::fs;

use std::net::UdpSocket;
use std::time::Duration;

use super::{findings, only, run_remedy, ward};
use crate::common::scene::{Scene, ask};
use crate::common::traffic::{inside, serve_tcp, serve_udp};
use crate::common::{World, wait_for};

fn scene(publish: &str) -> Option<Scene> {
    Some(ward(World::new()?, publish))
}

#[test]
fn a_dead_container_whose_port_leads_nowhere() {
    let Some(mut scene) = scene("8080:80") else { return };
    let second = scene.world.process();
    scene.world.attach_ok("old", second, &[("publish", "7070:70")]);
    serve_tcp(second, 70, "old");
    let server = std::net::TcpListener::bind("127.0.0.1:7070").expect("listen");
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let _ = stream.and_then(|mut stream| std::io::Write::write_all(&mut stream, b"host"));
        }
    });
    // The server in the test's own thread keeps the namespace; the process is what died.
    scene.world.sh(&format!("nsenter -t {} -n ip link del eth0", second.pid));
    scene.world.kill(second);
    assert_eq!(ask(None, "127.0.0.1", "7070/tcp"), "", "the host's own server is not reached");
    let finding = only(&scene.world, "dead-container", &[]);
    assert_eq!((&finding["object"], &finding["remedy"]), (&"container old".into(), &"netns gc".into()));
    run_remedy(&scene.world, &finding);
    assert_eq!(ask(None, "127.0.0.1", "7070/tcp"), "host");
    super::assert_healthy(&scene.world);

    let third = scene.world.process();
    scene.world.attach_ok("old", third, &[("publish", "6060:70")]);
    scene.world.kill(third);
    assert_eq!(only(&scene.world, "dead-container", &["--fix"])["fixed"], true);
    super::assert_healthy(&scene.world);
}

#[test]
fn a_port_that_nobody_listens_on() {
    let Some(scene) = scene("8080:80,9090:90,9191:91/udp") else { return };
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "9090/tcp"), "");
    let found = findings(&scene.world, &["--probe"]);
    let checks: Vec<_> = found.iter().map(|finding| finding["check"].as_str().unwrap()).collect();
    assert_eq!(checks, ["nobody-listens", "nobody-listens"], "{found:#?}");
    let hint = found[0]["hint"].as_str().unwrap();
    assert!(hint.contains("start the program that serves it"), "{hint}");
    serve_tcp(scene.web, 90, "ninety");
    serve_udp(scene.web, 91, "ninety-one");
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "9090/tcp"), "ninety");
    super::assert_healthy(&scene.world);
}

#[test]
fn a_port_that_is_served_on_localhost_only() {
    let Some(mut scene) = scene("8080:80") else { return };
    let second = scene.world.process();
    scene.world.attach_ok("app", second, &[("publish", "7070:70")]);
    let server = inside(second, || std::net::TcpListener::bind("127.0.0.1:70").expect("listen"));
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let _ = stream.and_then(|mut stream| std::io::Write::write_all(&mut stream, b"app"));
        }
    });
    let flows = || ask(Some(scene.other), "10.0.0.1", "7070/tcp") == "app";
    assert!(!flows());
    let finding = only(&scene.world, "listens-on-loopback", &["--probe"]);
    assert!(finding["why"].as_str().unwrap().contains("listens on 127.0.0.1 only"), "{finding:#}");
    run_remedy(&scene.world, &finding);
    wait_for("the relay", flows);
    super::assert_healthy(&scene.world);
}

#[test]
fn a_flow_to_where_the_port_led_before() {
    let Some(mut scene) = scene("8080:80") else { return };
    let new = scene.world.process();
    serve_udp(new, 80, "new");
    scene.world.attach_ok("new", new, &[("publish", "5353:80/udp")]);
    let client = inside(scene.other, || {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
        socket.connect("10.0.0.1:5353").map(|()| socket).expect("connect")
    });
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
    let flows = || {
        let mut buffer = [0; 64];
        let answered = client.send(b"?").and_then(|_| client.recv(&mut buffer));
        answered.is_ok_and(|n| buffer[..n] == *b"new")
    };
    // The port leads to `web` for a moment, in which the client's flow begins anew.
    let rules = scene.world.rules();
    let rule = rules.lines().find(|line| line.contains("\"netns container new\"")).expect("a rule");
    let right = rule.trim_start_matches("-A ");
    let wrong = right.replace("172.19.0.4:80", "172.19.0.2:80");
    let turn = |rule: &str, away: &str| {
        scene.world.sh(&format!("iptables -t nat -A {rule} && iptables -t nat -D {away}"));
    };
    for by_fix in [false, true] {
        wait_for("the new one", flows);
        scene.world.sh("conntrack -D -p udp --dport 5353");
        turn(&wrong, right);
        assert!(!flows(), "it leads to web");
        turn(right, &wrong);
        assert!(!flows(), "the flow is real");
        let finding = only(&scene.world, "stale-flow", &[]);
        if by_fix {
            assert_eq!(only(&scene.world, "stale-flow", &["--fix"])["fixed"], true);
        } else {
            run_remedy(&scene.world, &finding);
        }
        wait_for("the new one", flows);
        super::assert_healthy(&scene.world);
    }
}

#[test]
fn a_resolver_on_a_loopback_address() {
    let Some(scene) = scene("8080:80") else { return };
    // The host's upstream, behind the stub that the container was given.
    serve_udp(scene.other, 53, "resolved");
    scene.world.sh(
        "mkdir -p /run/systemd/resolve && echo nameserver 10.0.0.2 > /run/systemd/resolve/resolv.conf && \
         echo nameserver 127.0.0.53 > /run/test/resolv.conf",
    );
    let flows = || ask(Some(scene.web), "127.0.0.53", "53/udp") == "resolved";
    assert!(!flows());
    let finding = only(&scene.world, "loopback-resolver", &["web"]);
    assert!(finding["why"].as_str().unwrap().contains("points at 127.0.0.53"), "{finding:#}");
    run_remedy(&scene.world, &finding);
    wait_for("a resolver", flows);
    assert!(findings(&scene.world, &["web", "--probe"]).is_empty());
}

#[test]
fn a_resolv_conf_is_read_as_the_container_sees_it_and_never_out_of_its_root() {
    let Some(mut world) = World::new() else { return };
    world.sh("echo nameserver 127.0.0.1 > /run/test/outside; ip link set lo up");
    for (id, make, found) in [
        ("plain", "echo nameserver 127.0.0.1 > etc/resolv.conf", true),
        ("linked", "mkdir run; echo nameserver 127.0.0.1 > run/stub; ln -s /run/stub etc/resolv.conf", true),
        ("absolute", "ln -s /run/test/outside etc/resolv.conf", false),
        ("relative", "ln -s ../../../../../../../run/test/outside etc/resolv.conf", false),
        ("magic", "ln -s /proc/1/root/run/test/outside etc/resolv.conf", false),
        ("fifo", "busybox mkfifo etc/resolv.conf", false),
        ("device", "mknod etc/resolv.conf c 1 5", false),
        ("directory", "mkdir etc/resolv.conf", false),
        ("missing", "true", false),
        ("other", "echo nameserver 10.0.0.2 > etc/resolv.conf", false),
    ] {
        let bundle = world.bundle(id, &["createRuntime", "poststop"], "");
        world.sh(&format!("cd {}/rootfs && {make}", bundle.display()));
        // Its resolv.conf stays its image's.
        let file = bundle.join("config.json");
        let config = fs::read_to_string(&file).unwrap();
        let annotated = config.replacen('{', "{\"annotations\":{\"org.netns.no-dns\":\"true\"},", 1);
        fs::write(file, annotated).unwrap();
        world.runc_start(id, &bundle);
        let checks =
            findings(&world, &[id]).iter().map(|finding| finding["check"].clone()).collect::<Vec<_>>();
        assert_eq!(checks.len(), usize::from(found), "{id}: {checks:?}");
        assert!(checks.iter().all(|check| check == "loopback-resolver"), "{id}: {checks:?}");
        world.runc_delete(id);
    }
}
