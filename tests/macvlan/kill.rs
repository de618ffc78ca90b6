//! Killed at each system call that changes something: whole or gone, and the host as it was.

use super::{LAN, Scene};
use crate::common::state;
use crate::kill::{CALLS, End, MOST, kill_at};

#[test]
fn a_run_killed_anywhere_leaves_each_container_whole_or_gone() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    let victim = scene.world.process();
    let asked = [("network", "lan:ip=10.20.0.109,ip=fd00:20::109"), ("ipfile", "victim")];
    scene.world.netns_ok(&["create", "lan"], "");
    let by = scene.on("bystander", "lan");
    let without = scene.world.snapshot();
    scene.world.attach_ok("victim", victim, &asked);
    let with = scene.world.snapshot();
    scene.world.detach_ok("victim");
    let flags: Vec<&str> = scene.world.flags.iter().map(String::as_str).collect();
    let attach = state("victim", "creating", Some(victim.pid), &asked);
    let detach = state("victim", "stopped", None, &[]);
    let mut kills = 0;
    let recover = |kills: usize, what: &str| {
        if kills.is_multiple_of(2) {
            scene.world.netns_ok(&["gc"], "")
        } else {
            scene.world.netns_ok(&[], &detach)
        };
        let attached = scene.world.ls().as_array().unwrap().len() == 2;
        scene.world.assert_as(if attached { &with } else { &without });
        if attached {
            assert!(victim.pings("10.20.0.1"), "{what}: whole, and yet it reaches nothing");
            scene.world.detach_ok("victim");
        }
        assert!(!victim.sh("ip -o link").contains("eth0"), "{what}");
        scene.world.assert_as(&without);
    };
    for call in CALLS {
        for n in 1..MOST {
            if let End::Whole = kill_at(call, n, &flags, &attach) {
                scene.world.detach_ok("victim");
                break;
            }
            kills += 1;
            recover(kills, &format!("attach killed at {call} {n}"));
        }
        for n in 1..MOST {
            scene.world.netns_ok(&[], &attach);
            if let End::Whole = kill_at(call, n, &flags, &detach) {
                break;
            }
            kills += 1;
            recover(kills, &format!("detach killed at {call} {n}"));
        }
    }
    assert!(by.pings("10.20.0.1"));
    eprintln!("{kills} kills");
    assert!(kills > 60, "the sweep killed only {kills} times");
}

#[test]
fn the_first_run_killed_anywhere_leaves_a_whole_network_or_none() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    let victim = scene.world.process();
    let flags = scene.world.flags.clone();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let input = state("victim", "creating", Some(victim.pid), &[("network", "lan")]);
    scene.world.netns_ok(&[], &input);
    scene.world.netns_ok(&["rm", "lan", "--force"], "");
    let nothing = scene.world.snapshot();
    scene.world.netns_ok(&["create", "lan"], "");
    let network = scene.world.snapshot();
    scene.world.netns_ok(&["rm", "lan"], "");
    for call in CALLS {
        for n in 1..MOST {
            if let End::Whole = kill_at(call, n, &flags, &input) {
                scene.world.netns_ok(&["rm", "lan", "--force"], "");
                break;
            }
            scene.world.netns_ok(&["gc"], "");
            scene.world.detach_ok("victim");
            if scene.world.links().contains(&"lan".to_owned()) {
                scene.world.assert_as(&network);
                scene.world.netns_ok(&["rm", "lan"], "");
            }
            scene.world.assert_as(&nothing);
            assert!(!victim.sh("ip -o link").contains("eth0"), "{call} {n}");
        }
    }
}
