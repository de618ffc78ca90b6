//! A firewall whose programs hang, wait or lie, and what others have put beside our rules.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{NETNS, World, run, state, stderr};
use crate::faults::{replace_iptables, restore_iptables, used_world};

/// A program that holds a lock until it is killed.
fn hold(lock: &str) -> Child {
    let mut flock = Command::new("flock");
    // Without another process that would have the lock too.
    flock.args(["--no-fork", lock, "sleep", "1000"]).stdin(Stdio::null());
    let child = flock.spawn().expect("start flock");
    crate::common::wait_for("the lock", || {
        let other = Command::new("flock").args(["--nonblock", lock, "true"]).status();
        !other.expect("run flock").success()
    });
    child
}

#[test]
fn a_program_that_says_that_all_is_done_and_has_done_nothing_is_noticed() {
    for (lie, noticed) in [
        ("cat >/dev/null", "has not read its orders"),
        ("grep '^#'", "the firewall's program says that it is there, and it is not"),
    ] {
        let Some(mut world) = used_world() else { return };
        let (before, container) = (world.snapshot(), world.process());
        replace_iptables(&format!("case $0 in *-restore) {lie} ;; esac"));
        let output = world.attach("a", container, &[("publish", "8080:80")]);
        restore_iptables();
        assert_eq!(output.status.code(), Some(1), "{lie}");
        assert!(stderr(&output).contains(noticed), "{lie}: {}", stderr(&output));
        world.assert_as(&before);
    }
}

#[test]
fn whoever_holds_the_xtables_lock_is_named_after_five_seconds() {
    let Some(mut world) = World::new() else { return };
    world.use_iptables("legacy");
    world.netns_ok(&["create"], "");
    let (before, container) = (world.snapshot(), world.process());
    let mut holder = hold("/run/xtables.lock");
    let started = Instant::now();
    let output = world.attach("a", container, &[("publish", "8080:80")]);
    let took = started.elapsed();
    let named = format!("hint: process {} (sleep) holds /run/xtables.lock", holder.id());
    holder.kill().and_then(|()| holder.wait()).expect("end flock");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&named), "no {named:?} in: {}", stderr(&output));
    assert!(took < Duration::from_secs(9), "{took:?}");
    world.assert_as(&before);
    world.attach_ok("a", container, &[("publish", "8080:80")]);
}

#[test]
fn a_program_that_hangs_and_outlives_its_run_is_ended_by_the_next() {
    let Some(mut world) = used_world() else { return };
    world.netns_ok(&["create"], "");
    let (before, a, b) = (world.snapshot(), world.process(), world.process());
    replace_iptables("case $0 in *-restore) sleep 1000 ;; esac");
    let attach = state("a", "creating", Some(a.pid), &[("publish", "8080:80"), ("ipfile", "a")]);
    run(Command::new("timeout").args(["-s", "KILL", "1", NETNS]), &attach);
    // It is in use.
    world.sh("umount --lazy /etc/alternatives");
    let here = "for p in $(pgrep -f -- '^/bin/sh /.*iptables-restore --noflush'); do
        [ $(readlink /proc/$p/ns/mnt) != $(readlink /proc/self/ns/mnt) ] || echo $p; done";
    assert_ne!(world.sh(here), "", "it outlives its run");
    let started = Instant::now();
    world.attach_ok("b", b, &[("publish", "8080:80"), ("ipfile", "b")]);
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert_eq!(world.sh(here), "");
    world.detach_ok("b");
    world.assert_as(&before);
}

#[test]
fn rules_that_are_restored_leave_ours_behind_an_administrators_drop() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("a", container, &[("publish", "8080:80")]);
    world.sh("iptables -I FORWARD -s 192.0.2.0/24 -j DROP");
    let forward = world.sh("iptables -S FORWARD");
    assert!(forward.find("DROP").unwrap() < forward.find("NETNS-FORWARD").unwrap(), "{forward}");
    let jump = "iptables -D FORWARD -m comment --comment netns -j NETNS-FORWARD";
    for lost in ["iptables -F NETNS-FORWARD", "iptables -t nat -F", "iptables -t raw -F", jump] {
        world.sh(lost);
        assert!(world.netns_ok(&["reload"], "").starts_with("restored "), "{lost}");
        assert_eq!(world.sh("iptables -S FORWARD"), forward, "{lost}");
        world.sh(lost);
        let other = world.process();
        world.attach_ok("b", other, &[("publish", "8081:80"), ("ipfile", "b")]);
        assert_eq!(world.sh("iptables -S FORWARD"), forward, "{lost}");
        world.detach_ok("b");
    }
}

#[test]
fn a_second_state_directory_is_refused_while_the_first_has_a_network() {
    let Some(mut world) = used_world() else { return };
    let (nothing, first, second) = (world.snapshot(), world.process(), world.process());
    let asked = [("publish", "8080:80"), ("static-ip", "172.19.0.9")];
    world.attach_ok("first", first, &asked);
    let before = world.snapshot();
    let other = ["--state-dir=/run/test/state", "--bridge=other0", "--ip=10.9.0.1/24", "--ipfile=second"];
    let input = state("second", "creating", Some(second.pid), &[("publish", "8081:80")]);
    for (args, input) in [(&other[..], input.as_str()), (&[&other[..], &["create"]].concat(), "")] {
        let output = world.netns(args, input);
        let said = "use state directory /run/test/state: bridge netns0 is recorded in /run/netns-hook";
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    for command in ["gc", "reload"] {
        world.netns_ok(&[&other[..1], &[command]].concat(), "");
    }
    assert!(stderr(&world.netns(&[&other[..1], &["rm"]].concat(), "")).contains("there is none"));
    world.detach_ok("first");
    world.netns_ok(&[&other[..1], &["gc"]].concat(), "");
    assert!(world.links().contains(&"netns0".to_owned()), "it is not of the second's to remove");
    world.attach_ok("first", first, &asked);
    world.sh("rm -r /run/test/state; rm -f /run/test/second");
    world.assert_as(&before);
    world.detach_ok("first");
    world.netns_ok(&["rm"], "");
    world.assert_as(&nothing);
    world.netns_ok(&other, &input);
    assert!(second.pings("10.9.0.1"));
}

#[test]
fn after_a_reboot_rules_are_made_though_the_note_of_the_boot_is_lost() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
    let rules = world.rules();
    // The kernel forgets, the directory is on a disk, and the boot has another id.
    world.sh(
        "ip link del netns0; ip -o link show type veth | grep -o 'netnsv0-[0-9]*' | xargs -n1 ip link del",
    );
    world.sh("for t in raw nat filter; do iptables -t $t -F; iptables -t $t -X; done");
    world.sh("echo 0 >/proc/sys/net/ipv4/ip_forward; rm -r /run/netns-hook/notes");
    world.sh("echo 01234567-89ab-cdef-0123-456789abcdef >/run/test/boot");
    world.sh("mount --bind /run/test/boot /proc/sys/kernel/random/boot_id");
    world.attach_ok("b", b, &[("publish", "8080:80"), ("ipfile", "b")]);
    let now = world.rules().replace("container b", "container a").replace("172.19.0.3", "172.19.0.2");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.replace("[0:0]", "")).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&now), sorted(&rules));
    assert!(b.pings("172.19.0.1"));
}
