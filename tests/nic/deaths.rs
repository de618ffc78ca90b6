//! The container dies, or the hook does.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ASKED, Kind, Scene};
use crate::common::{Process, World, ask_for_in, state, stderr, wait_for};
use crate::kill::{CALLS, End, MOST, kill_at};

/// The four ways to be rid of a container.
const WAYS: [&str; 4] = ["poststop", "gc", "the next attach", "rm"];

fn clean_up(world: &mut World, way: &str) {
    match way {
        "poststop" => world.detach_ok("web"),
        "gc" => assert_eq!(world.netns_ok(&["gc"], ""), "container web\n"),
        "rm" => drop(world.netns_ok(&["rm", "--force"], "")),
        _ => {
            let next = world.process();
            world.attach_ok("next", next, &[("ipfile", "next")]);
            world.detach_ok("next");
        }
    }
    assert_eq!(world.ls(), serde_json::json!([]), "{way}");
}

#[test]
fn a_virtual_one_dies_with_its_container_and_nothing_else_does() {
    for way in WAYS {
        let Some(mut scene) = Scene::new(Kind::Macvlan) else { return };
        let bundle = scene.world.bundle("web", &["createRuntime"], "");
        ask_for_in(&bundle, &[("nic", ASKED)]);
        scene.world.netns_ok(&["create"], "");
        scene.world.runc_start("web", &bundle);
        scene.world.runc_delete("web");
        assert_eq!(scene.world.ls()[0]["status"], "dead");
        // Somebody has got the name meanwhile.
        scene.world.sh("ip link add nic0 link wire type macvlan && ip link set nic0 mtu 1333");
        let stranger = scene.settled();
        match way {
            "poststop" => drop(scene.world.netns_ok(&["detach", "web"], "")),
            way => clean_up(&mut scene.world, way),
        }
        scene.assert_as(&stranger, way);
    }
}

#[test]
fn one_that_the_kernel_gives_back_becomes_what_it_was() {
    for (turn, way) in WAYS.into_iter().enumerate() {
        let Some(mut scene) = Scene::new(Kind::Veth) else { return };
        let before = scene.settled();
        let web = scene.world.process();
        scene.world.attach_ok("web", web, &[("nic", ASKED)]);
        // With the name from inside, or with that of a collision.
        let name = if turn % 2 == 0 { "lan" } else { "dev7" };
        scene.die_and_return(web, name);
        assert_eq!(scene.world.ls()[0]["status"], "dead");
        clean_up(&mut scene.world, way);
        scene.assert_as(&before, way);
    }
}

#[test]
fn one_that_is_nowhere_is_waited_for_once_and_keeps_nobody_else() {
    let Some(mut scene) = Scene::new(Kind::Macvlan) else { return };
    let web = scene.world.process();
    scene.world.attach_ok("web", web, &[("nic", "nic0=lan"), ("ipfile", "web")]);
    // As if it were hardware, which the kernel would give back; this it destroys.
    scene.world.rewrite_record("web", |record| {
        let steps = record["steps"].as_array_mut().expect("steps").iter_mut();
        let mut devices = steps.filter_map(|step| step.pointer_mut("/move-device/before/identity/kind"));
        *devices.next().expect("a device") = Value::Null;
    });
    scene.world.kill(web);
    let timed = |what: &mut dyn FnMut() -> String| {
        let started = Instant::now();
        (what(), started.elapsed())
    };
    let nowhere = "it is neither here nor in the container";
    let (said, took) = timed(&mut || stderr(&scene.world.detach("web")));
    assert!(said.contains(nowhere) && took > Duration::from_secs(2), "{took:?}: {said}");
    let next = scene.world.process();
    for _ in 0..2 {
        let (said, took) = timed(&mut || stderr(&scene.world.attach("next", next, &[("ipfile", "next")])));
        assert!(said.contains(nowhere) && took < Duration::from_secs(2), "{took:?}: {said}");
        scene.world.detach("next");
    }
    assert_eq!(scene.world.ls().as_array().map(Vec::len), Some(1), "still recorded");
}

#[test]
fn a_name_that_is_taken_meanwhile_keeps_it_recorded_until_it_is_free() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let before = scene.settled();
    let web = scene.world.process();
    scene.world.attach_ok("web", web, &[("nic", "nic0=lan")]);
    scene.world.sh("ip link add nic0 type ifb");
    let output = scene.world.detach("web");
    assert!(output.status.success() && stderr(&output).contains("nic0"), "{}", stderr(&output));
    assert!(!web.sh("ip link show").contains("lan"), "it is on the host all the same");
    assert_eq!(scene.world.ls().as_array().map(Vec::len), Some(1), "and still recorded");
    scene.world.sh("ip link del nic0");
    assert_eq!(scene.world.netns_ok(&["gc"], ""), "container web\n");
    scene.assert_as(&before, "after the name was free again");
}

/// Keeps the namespace of `process` alive in one of three ways, and says how to let go of it.
fn hold(world: &mut World, process: Process, way: &str) -> Box<dyn FnOnce(&mut World)> {
    let path = format!("/proc/{}/ns/net", process.pid);
    if way == "a file" {
        let file = fs::File::open(path).expect("open the namespace");
        return Box::new(|_| drop(file));
    }
    if way == "a mount" {
        world.sh(&format!("touch /run/test/ns && mount --bind {path} /run/test/ns"));
        return Box::new(|world| drop(world.sh("umount /run/test/ns")));
    }
    let inside = fs::read_link(path).expect("namespace");
    let mut sleep = Command::new("nsenter");
    sleep.args(["-t", &process.pid.to_string(), "-n", "sleep", "1000"]);
    let pid = world.keep(sleep.spawn().expect("start a process"));
    wait_for("a process inside", || {
        fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|other| other == inside)
    });
    Box::new(move |world| world.kill(Process { pid }))
}

#[test]
fn it_is_found_in_a_namespace_that_outlives_its_process() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let before = scene.settled();
    for (way, status) in [("a process", "running"), ("a mount", "running"), ("a file", "dead")] {
        let web = scene.world.process();
        scene.world.attach_ok("web", web, &[("nic", ASKED), ("no-bridge", "true")]);
        let let_go = hold(&mut scene.world, web, way);
        scene.world.kill(web);
        assert_eq!(scene.world.ls()[0]["status"], status, "{way}");
        scene.world.detach_ok("web");
        scene.assert_as(&before, way);
        let_go(&mut scene.world);
    }
}

#[test]
fn a_run_killed_anywhere_leaves_it_inside_or_as_it_was() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let [web, other] = [(); 2].map(|()| scene.world.process());
    scene.world.netns_ok(&["create"], "");
    // Without duplicate address detection, which would have each of the runs wait for a second.
    scene.world.sh("cd /proc/sys/net/ipv6/conf; echo 0 | tee default/accept_dad nic0/accept_dad");
    let before = scene.settled();
    let (nic, attach) = (format!("--nic={ASKED}"), state("web", "creating", Some(web.pid), &[]));
    let flags = [nic.as_str(), "--no-bridge"];
    let mut kills = 0;
    for call in CALLS {
        for n in 1..MOST {
            let End::Cut = kill_at(call, n, &flags, &attach) else { break };
            kills += 1;
            recover(&scene, other, kills, &before, web, &format!("attach killed at {call} {n}"));
        }
        for n in 1..MOST {
            scene.world.netns_ok(&flags, &attach);
            let End::Cut = kill_at(call, n, &[], &state("web", "stopped", None, &[])) else { break };
            kills += 1;
            recover(&scene, other, kills, &before, web, &format!("detach killed at {call} {n}"));
        }
        scene.world.detach_ok("web");
        scene.assert_as(&before, call);
    }
    eprintln!("{kills} kills");
    assert!(kills > 40, "the sweep killed only {kills} times");
}

/// One more run, each kind in its turn; then the interface is inside or as it was.
fn recover(scene: &Scene, other: Process, turn: usize, before: &str, web: Process, what: &str) {
    let world = &scene.world;
    match turn % 3 {
        0 => drop(world.netns_ok(&["gc"], "")),
        1 => {
            world.attach_ok("other", other, &[("ipfile", "other")]);
            world.detach_ok("other");
        }
        _ => world.detach_ok("web"),
    }
    let rows = world.ls();
    if let Some(row) = rows.as_array().and_then(|rows| rows.first()) {
        assert_eq!(row["status"], "running", "{what}");
        assert!(web.pings("12.0.0.1"), "{what}: whole, and yet it reaches nothing");
        world.detach_ok("web");
    }
    scene.assert_as(before, what);
}
