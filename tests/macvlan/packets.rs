//! Who reaches whom.

use std::fs;

use super::{FRONT, LAN, Scene};
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{Process, ask_for_in, stderr, wait_for};
use crate::ipv6::routers::advertise;

#[test]
fn containers_and_neighbours_on_the_wire_reach_each_other_by_both_families() {
    let Some(mut scene) = Scene::new(LAN) else { return };
    scene.world.netns_ok(&["create", "lan"], "");
    let before = scene.world.snapshot();
    let (a, b) = (scene.on("a", "lan"), scene.on("b", "lan"));
    assert!(a.sh("ip -o addr show eth0").contains("10.20.0.100/24"));
    assert!(b.sh("ip -o addr show eth0").contains("fd00:20::101/64"));
    for (from, all) in [
        (a, ["10.20.0.101", "fd00:20::101", "10.20.0.1", "fd00:20::1", "99.0.0.1"]),
        (b, ["10.20.0.100", "fd00:20::100", "10.20.0.1", "fd00:20::1", "fd00:99::1"]),
        (scene.router, ["10.20.0.100", "fd00:20::100", "10.20.0.101", "fd00:20::101", "99.0.0.1"]),
    ] {
        all.into_iter().for_each(|address| assert!(from.pings(address), "{address}"));
    }
    serve_tcp(a, 80, "a");
    assert_eq!(ask(Some(scene.router), "10.20.0.100", "80/tcp"), "a", "any port: nothing filters");
    assert_eq!(ask(Some(b), "fd00:20::100", "80/tcp"), "a");
    assert_eq!(ask(None, "10.20.0.100", "80/tcp"), "", "the host has no interface there");
    assert!(scene.world.sh("cat /proc/sys/net/ipv4/ip_forward").starts_with('0'));
    assert_eq!(scene.world.rules(), "", "no rule is taken");
    let doctor = scene.world.netns(&["doctor"], "");
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    for id in ["a", "b"] {
        scene.world.detach_ok(id);
    }
    for process in [a, b] {
        assert!(!process.sh("ip -o link").contains("eth0"), "nothing is left in one that runs");
    }
    scene.world.assert_as(&before);
}

#[test]
fn the_host_and_containers_reach_each_other_where_host_access_is_given() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    let nothing = scene.world.snapshot();
    scene.world.netns_ok(&["create", "lan"], "");
    let before = scene.world.snapshot();
    assert!(scene.world.sh("ip -o addr show lan").contains("10.20.0.100/32"));
    let (a, b) = (scene.on("a", "lan"), scene.on("b", "lan"));
    serve_tcp(a, 80, "a");
    for address in ["10.20.0.101", "fd00:20::101"] {
        assert_eq!(ask(None, address, "80/tcp"), "a", "{address}");
        assert_eq!(ask(Some(scene.router), address, "80/tcp"), "a", "{address}");
    }
    for address in ["10.20.0.100", "fd00:20::100", "10.20.0.5", "10.20.0.101", "99.0.0.1"] {
        assert!(b.pings(address), "{address}");
    }
    let said = scene.refused(&[("network", "lan:ip=10.20.0.100")]);
    assert!(said.contains("10.20.0.100 for container refused: the host's own interface has it"), "{said}");
    let doctor = scene.world.netns(&["doctor"], "");
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    // Somebody deletes it: the next run makes it again, with the routes to those who are there.
    scene.world.sh("ip link del lan");
    let found = scene.world.netns(&["doctor"], "");
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(text.contains("network lan: parent-broken: the host's interface lan is gone"), "{text}");
    assert!(text.contains("remedy: netns create lan"), "{text}");
    scene.world.netns_ok(&["create", "lan"], "");
    assert_eq!(ask(None, "10.20.0.101", "80/tcp"), "a");
    for id in ["a", "b"] {
        scene.world.detach_ok(id);
    }
    scene.world.assert_as(&before);
    scene.world.netns_ok(&["rm", "lan"], "");
    let files =
        |lines: Vec<String>| lines.into_iter().filter(|l| !l.starts_with("/run/")).collect::<Vec<_>>();
    assert_eq!(files(scene.world.snapshot()), files(nothing));
}

#[test]
fn no_address_is_leased_twice_and_a_full_range_says_so() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    scene.world.netns_ok(&["create", "lan"], "");
    let all: Vec<Process> = (0..9).map(|_| scene.world.process()).collect();
    let world = &scene.world;
    // The runs are started together; each is a process of its own.
    let state = |at: usize, process: &Process| {
        let (id, file) = (format!("c{at}"), format!("ip{at}"));
        crate::common::state(&id, "creating", Some(process.pid), &[("network", "lan"), ("ipfile", &file)])
    };
    let runs: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(at, process)| {
            let input = world.dir.join(format!("state{at}"));
            fs::write(&input, state(at, process)).unwrap();
            let mut run = std::process::Command::new(crate::common::NETNS);
            run.args(&world.flags).stdin(fs::File::open(input).unwrap()).spawn().unwrap()
        })
        .collect();
    for mut run in runs {
        assert!(run.wait().unwrap().success());
    }
    let mut leased: Vec<String> =
        all.iter().map(|one| one.sh("ip -o -4 addr show eth0 | cut -d' ' -f7")).collect();
    leased.sort();
    let expected: Vec<String> = (101..110).map(|last| format!("10.20.0.{last}/24\n")).collect();
    assert_eq!(leased, expected);
    let said = scene.refused(&[("network", "lan")]);
    assert!(
        said.contains("lease an address in 10.20.0.0/24 for container refused: all 10 are taken"),
        "{said}"
    );
    scene.world.detach_ok("c4");
    scene.on("late", "lan");
    assert_eq!(scene.world.ls().as_array().unwrap().len(), 9);
}

#[test]
fn a_container_on_a_bridge_and_on_the_wire_answers_by_each() {
    let Some(mut scene) = Scene::new(&format!("{LAN}{FRONT}")) else { return };
    let out = scene.world.neighbour();
    let web = scene.world.process();
    let asked = [("network", "lan;front"), ("publish", "8080:80")];
    scene.world.attach_ok("web", web, &asked);
    web.sh("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 > $f; done");
    serve_tcp(web, 80, "web");
    assert_eq!(ask(Some(out), "10.0.0.1", "8080/tcp"), "web", "published on the bridge");
    assert_eq!(ask(Some(scene.router), "10.20.0.100", "80/tcp"), "web");
    assert!(web.sh("ip -4 route get 192.0.2.1").contains("via 10.20.0.1 dev eth0"));
    assert_eq!(ask(None, "10.8.0.2", "80/tcp"), "web");
    let row = scene.world.ls()[0].clone();
    assert_eq!(
        (&row["networks"][0]["parent"], &row["networks"][1]["parent"]),
        (&"ens6".into(), &serde_json::Value::Null)
    );
    assert_eq!((&row["status"], &row["networks"][1]["bridge"]), (&"running".into(), &"front".into()));
    scene.world.detach_ok("web");
    assert!(!web.sh("ip -o link").contains("eth"), "{}", web.sh("ip -o link"));
}

#[test]
fn names_resolve_between_containers_on_the_wire() {
    let Some(mut scene) = Scene::new(LAN) else { return };
    let mut start = |id: &str| {
        let bundle = scene.world.bundle(id, &["createRuntime", "poststop"], "");
        ask_for_in(&bundle, &[("network", &format!("lan:alias={id}-alias"))]);
        scene.world.runc_start(id, &bundle)
    };
    let (one, two) = (start("one"), start("two"));
    for (process, name) in [(one, "two-alias"), (two, "one")] {
        let hosts = fs::read_to_string(format!("/proc/{}/root/etc/hosts", process.pid)).unwrap();
        assert!(
            hosts.lines().any(|line| line.split_whitespace().skip(1).any(|word| word == name)),
            "{hosts}"
        );
        let ping = format!("nsenter -t {} -n -m -r /bin/busybox ping -c 1 -W 2 {name}", process.pid);
        let pinged = scene.world.try_sh(&ping);
        assert!(pinged.status.success(), "{ping}: {}", stderr(&pinged));
    }
    scene.world.runc_delete("one");
    scene.world.runc_delete("two");
    assert_eq!(scene.world.ls(), serde_json::json!([]));
}

#[test]
fn routers_on_the_wire_are_heeded_only_where_that_is_said() {
    let heeding =
        LAN.replace("network.lan", "network.heeding").replace(":20::", ":21::").replace("10.20", "10.21");
    let Some(mut scene) = Scene::new(&format!("{LAN}{heeding}router-advertisements = true")) else { return };
    scene.router.sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    wait_for("the router's link", || {
        scene.router.sh("ip -6 route show table all; ip -6 addr show dev wire").contains("ff00::/8 dev wire")
    });
    let (deaf, heeds) = (scene.on("deaf", "lan"), scene.on("heeds", "heeding"));
    let has = |web: Process| web.sh("ip -6 addr show dev eth0").contains("2001:db8:7:");
    wait_for("an address by the router's word", || {
        advertise(scene.router, "wire", 7);
        has(heeds)
    });
    assert!(heeds.sh("ip -6 addr show dev eth0").contains("fd00:21::100/64"), "its own stays");
    assert!(heeds.sh("ip -6 route show default").contains("proto ra"));
    assert!(!has(deaf), "{}", deaf.sh("ip -6 addr; ip -6 route"));
    assert!(deaf.pings("fd00:20::1"), "all that was sent has come");
}
