//! What else keeps a container from its network, and what is by design.

use std::fs;
use std::net::TcpListener;

use super::{assert_healthy, findings, only, run_remedy, ward};
use crate::common::scene::{Scene, ask};
use crate::common::traffic::serve_tcp;
use crate::common::{World, stderr};

fn scene(publish: &str) -> Option<Scene> {
    Some(ward(World::new()?, publish))
}

#[test]
fn a_mistake_in_the_configuration_that_stops_every_start() {
    let Some(mut scene) = scene("8080:80") else { return };
    let file = "/run/test/netns-hook.toml";
    for (text, why, hint) in [
        (
            "\nbrigde = 'br7'",
            "use brigde in configuration /run/test/netns-hook.toml, line 2, column 1: unknown option",
            "bridge",
        ),
        ("mtu = 1\nmtu", "read configuration /run/test/netns-hook.toml, line 2, ", ""),
    ] {
        fs::write(file, text).unwrap();
        let process = scene.world.process();
        let refused = scene.world.netns(&["--config", file, "attach", &process.pid.to_string()], "");
        assert!(stderr(&refused).contains(why), "attach: {}", stderr(&refused));
        let finding = only(&scene.world, "configuration", &["--config", file]);
        let told = finding["why"].as_str().unwrap();
        assert!(told.contains(why) && told.ends_with("no container gets a network"), "{finding:#}");
        assert!(hint.is_empty() || finding["hint"].as_str().unwrap().contains(hint), "{finding:#}");
    }
    assert_healthy(&scene.world);
}

#[test]
fn no_resolver_because_those_of_the_host_are_all_loopback() {
    let Some(mut world) = World::new() else { return };
    world.sh("echo nameserver 127.0.0.53 >/run/test/stub; mount --bind /run/test/stub $(readlink -f /etc/resolv.conf)");
    world.flags = vec!["--log=/run/test/hook.log".to_owned()];
    let bundle = world.bundle("web", &["createRuntime", "poststop"], "");
    world.runc_start("web", &bundle);
    let log = fs::read_to_string("/run/test/hook.log").unwrap();
    let warning = "warning: find a resolver for container web: no container reaches the host's, 127.0.0.53";
    assert!(log.contains(warning) && log.contains("--dns"), "attach: {log}");
    let finding = only(&world, "no-resolver", &["web"]);
    assert!(finding["why"].as_str().unwrap().contains("the host's, 127.0.0.53"), "{finding:#}");
    world.runc_delete("web");
    world.flags.push("--dns=10.0.0.2".to_owned());
    fs::remove_file("/run/test/hook.log").unwrap();
    let bundle = world.bundle("app", &["createRuntime", "poststop"], "");
    world.runc_start("app", &bundle);
    assert_eq!(fs::read_to_string("/run/test/hook.log").unwrap(), "");
    assert_eq!(findings(&world, &["app"]).len(), 0);
}

#[test]
fn an_address_to_publish_on_that_the_host_does_not_have() {
    let Some(mut scene) = scene("10.0.0.1:8080:80") else { return };
    let second = scene.world.process();
    let before = scene.world.snapshot();
    let refused = scene.world.attach("app", second, &[("publish", "10.9.9.9:8080:80")]);
    let said = "netns: publish 10.9.9.9:8080:80/tcp for container app: the host does not have this address\n";
    assert!(!refused.status.success() && stderr(&refused).starts_with(said), "{}", stderr(&refused));
    scene.world.assert_as(&before);
    // It may lose one that it had.
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "8080/tcp"), "web");
    scene.world.sh("ip addr add 10.0.0.9/24 dev wire0 && ip addr del 10.0.0.1/24 dev wire0");
    scene.world.sh("ip addr show dev wire0 | grep -q 10.0.0.9 || ip addr add 10.0.0.9/24 dev wire0");
    scene.world.sh("ip route replace default via 10.0.0.2");
    for args in [&[][..], &["--probe"]] {
        let finding = only(&scene.world, "address-gone", args);
        assert!(
            finding["why"].as_str().unwrap().contains("the host has no address 10.0.0.1: "),
            "{finding:#}"
        );
    }
    scene.world.sh("ip addr add 10.0.0.1/24 dev wire0");
    assert_healthy(&scene.world);
}

#[test]
fn a_program_of_the_host_that_took_a_published_port_afterwards() {
    let Some(scene) = scene("8080:80") else { return };
    let taken = TcpListener::bind("0.0.0.0:8080").expect("nobody holds the port");
    let finding = only(&scene.world, "port-taken", &["--probe"]);
    let (why, own) = (finding["why"].as_str().unwrap(), format!("process {} (", std::process::id()));
    assert!(why.starts_with(&own) && why.contains("its port 0.0.0.0:8080->80/tcp"), "{finding:#}");
    scene.assert_reached("8080/tcp", "web");
    drop(taken);
    assert_healthy(&scene.world);
}

#[test]
fn another_engine_that_took_a_published_port_afterwards() {
    let Some(scene) = scene("8080:80") else { return };
    let taken = TcpListener::bind("0.0.0.0:8080").expect("as docker-proxy does");
    scene
        .world
        .sh("iptables -t nat -I PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 172.18.0.9:80");
    assert_ne!(ask(Some(scene.other), "10.0.0.1", "8080/tcp"), "web");
    run_remedy(&scene.world, &only(&scene.world, "port-led-elsewhere", &[]));
    drop(taken);
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "8080/tcp"), "web");
    assert_healthy(&scene.world);
}

#[test]
fn containers_on_the_bridge_that_no_record_knows() {
    let Some(mut scene) = scene("8080:80") else { return };
    let stranger = scene.world.process();
    scene.world.sh(&format!(
        "ip link add veth9 type veth peer name eth0 netns {} && ip link set veth9 master netns0 up",
        stranger.pid
    ));
    let finding = only(&scene.world, "unrecorded", &[]);
    assert_eq!(finding["object"], "bridge netns0");
    assert!(finding["why"].as_str().unwrap().starts_with("its port veth9 leads to "), "{finding:#}");
    assert_eq!(findings(&scene.world, &["web"]).len(), 0, "web is fine");
    scene.world.sh("ip link set veth9 nomaster");
    assert_healthy(&scene.world);
    // On somebody else's bridge they are by design.
    scene.world.sh("ip link add br9 type bridge && ip addr add 10.9.0.1/24 dev br9 && ip link set br9 up");
    scene.world.sh("ip link set veth9 master br9");
    scene.world.attach_ok("app", stranger, &[("bridge", "br9"), ("iface", "eth1")]);
    assert_healthy(&scene.world);
}

#[test]
fn the_remedy_for_an_unserved_port_is_never_a_guess_at_another() {
    let Some(mut scene) = scene("8080:80") else { return };
    let second = scene.world.process();
    serve_tcp(second, 8000, "metrics");
    scene.world.attach_ok("app", second, &[("publish", "7070:70")]);
    let finding = only(&scene.world, "nobody-listens", &[]);
    assert_eq!(finding["remedy"], serde_json::Value::Null);
    let text = finding.to_string();
    assert!(!text.contains("8000") && text.contains("ss -Hlntu` shows who listens"), "{finding:#}");
}

#[test]
fn what_is_by_design_is_not_a_fault() {
    let Some(mut scene) = scene("8080:80") else { return };
    // A container that is to reach its neighbours alone.
    let [alone, own] = [(); 2].map(|()| scene.world.process());
    let attach = |world: &World, pid: u32, id: &str, flags: &[&str]| {
        let pid = pid.to_string();
        world.netns_ok(&[&["attach", pid.as_str(), "--id", id], flags].concat(), "")
    };
    attach(&scene.world, alone.pid, "alone", &["--no-default-route"]);
    // One whose packets are smaller than its neighbours'.
    attach(&scene.world, own.pid, "own", &["--mtu", "1300"]);
    assert!(alone.pings("172.19.0.2") && !alone.pings("10.0.0.2"));
    // A program of the host on another address than the one that is published.
    let _beside = TcpListener::bind("127.0.0.1:9000").expect("listen");
    let third = scene.world.process();
    serve_tcp(third, 90, "third");
    attach(&scene.world, third.pid, "third", &["--publish", "10.0.0.1:9000:90"]);
    assert_healthy(&scene.world);
}

#[test]
fn one_line_at_the_end_sums_up() {
    let Some(scene) = scene("8080:80,9090:90") else { return };
    let last = |args: &[&str]| {
        let output = scene.world.netns(&[&["doctor"], args].concat(), "");
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
    };
    assert_eq!(last(&[]), "1 fault: 2 containers on 1 network");
    scene.world.sh("ip link set netns0 down");
    assert_eq!(last(&[]), "2 faults, of which --fix fixes 1: 2 containers on 1 network");
    assert_eq!(last(&["--fix"]), "1 fault fixed, 1 fault: 2 containers on 1 network");
    serve_tcp(scene.web, 90, "ninety");
    scene.world.sh("ip link set netns0 down");
    assert_eq!(last(&["--fix"]), "1 fault fixed, nothing is wrong: 2 containers on 1 network");
    assert_eq!(last(&[]), "nothing is wrong: 2 containers on 1 network");
}
