//! A container of two networks whose runs are killed, and whose record is damaged.

use super::families::dual;
use super::{DEFINED, world};
use crate::common::{World, on_firewall, state};
use crate::kill::{End, kill_at};

/// The calls by which the files of names are joined, and those of everything else.
const CALLS: [&str; 8] = ["sendto", "pwrite64", "mkdir", "symlink", "unlink", "unlinkat", "rmdir", "openat"];

on_firewall! { nft of_both_families_a_kill_at_any_moment_leaves_it_whole_or_gone }
on_firewall! { nftables of_both_families_a_kill_at_any_moment_leaves_it_whole_or_gone }

fn of_both_families_a_kill_at_any_moment_leaves_it_whole_or_gone(mut world: World) {
    dual(&mut world);
    let (victim, bystander) = (world.process(), world.process());
    let flags: Vec<&str> = world.flags.iter().map(String::as_str).collect();
    let asked = [
        (
            "network",
            "front:alias=db,ip=10.8.0.9,ip=fd00:8::9;back:ip=10.9.0.9,ip=fd00:9::9,mac=02:00:00:00:00:09",
        ),
        ("publish", "8081:81"),
    ];
    world.attach_ok("bystander", bystander, &[("network", "back"), ("ipfile", "b")]);
    world.netns_ok(&["create", "front"], "");
    let without = world.snapshot();
    let attach = state("victim", "creating", Some(victim.pid), &asked);
    world.netns_ok(&[], &attach);
    let with = world.snapshot();
    assert!(["10.8.0.1", "fd00:8::1", "fd00:9::1"].into_iter().all(|gateway| victim.pings(gateway)));
    world.detach_ok("victim");
    world.assert_as(&without);
    let mut kills = 0;
    for call in CALLS {
        for n in 1..300 {
            if let End::Whole = kill_at(call, n, &flags, &attach) {
                break;
            }
            kills += 1;
            world.netns_ok(&["gc"], "");
            let attached = world.ls().as_array().unwrap().len() == 2;
            world.assert_as(if attached { &with } else { &without });
            world.detach_ok("victim");
        }
        world.detach_ok("victim");
        for n in 1..300 {
            world.netns_ok(&[], &attach);
            if let End::Whole = kill_at(call, n, &flags, &state("victim", "stopped", None, &[])) {
                break;
            }
            kills += 1;
            world.netns_ok(&["gc"], "");
            let attached = world.ls().as_array().unwrap().len() == 2;
            world.assert_as(if attached { &with } else { &without });
        }
        world.detach_ok("victim");
        world.assert_as(&without);
    }
    eprintln!("{kills} kills");
    assert!(kills > 100, "the sweep killed only {kills} times");
}

#[test]
fn a_damaged_record_leaves_nothing_of_either_network() {
    let Some(mut world) = world(DEFINED) else { return };
    let victim = world.process();
    for network in ["front", "back"] {
        world.netns_ok(&["create", network], "");
    }
    let before = world.snapshot();
    world.attach_ok(
        "victim",
        victim,
        &[("network", "front;back:mac=02:00:00:00:00:09"), ("publish", "80:80")],
    );
    std::fs::write(world.record("victim"), "{").expect("damage the record");
    let _ = world.netns(&["detach", "victim"], "");
    let _ = world.netns(&["gc"], "");
    let damaged = |line: &&String| !line.contains("damaged") && !line.contains("/run/test/.ip");
    let after = world.snapshot();
    let left: Vec<_> = after.iter().filter(damaged).filter(|line| !before.contains(line)).collect();
    assert_eq!(left, Vec::<&String>::new());
}
