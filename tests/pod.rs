//! Containers that share one network namespace, as those of a pod do.

use std::process::{Command, Stdio};

use crate::common::{Process, World, state, stderr, wait_for};

/// Another process in the network namespace of `first`.
pub fn beside(world: &mut World, first: Process) -> Process {
    let child = Command::new("nsenter")
        .args(["-t", &first.pid.to_string(), "-n", "sleep", "1000"])
        .stdin(Stdio::null())
        .spawn()
        .expect("start a process");
    let second = Process { pid: world.keep(child) };
    let netns = |process: Process| std::fs::read_link(format!("/proc/{}/ns/net", process.pid)).ok();
    wait_for("a shared namespace", || netns(first).is_some() && netns(first) == netns(second));
    second
}

#[test]
fn the_second_joins_and_the_last_one_out_undoes() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let sandbox = world.process();
    let app = beside(&mut world, sandbox);
    world.attach_ok("sandbox", sandbox, &[("publish", "8080:80")]);
    let links = world.links();
    world.attach_ok("app", app, &[("publish", "8443:443")]);
    assert_eq!(world.links(), links, "no second veth pair");
    assert_eq!(sandbox.sh("ip -o link show type veth").lines().count(), 1, "one interface inside");
    let listed = world.ls();
    let addresses: Vec<_> = listed.as_array().unwrap().iter().map(|row| &row["addresses"][0]).collect();
    assert_eq!(addresses, ["172.19.0.2/16"; 2], "{listed}");

    world.detach_ok("sandbox");
    assert!(app.pings("172.19.0.1"), "the other one keeps the network");
    assert!(!world.rules().contains("netns container sandbox"), "its port is gone");
    assert!(world.rules().contains("netns container app"), "the other one's is not");
    assert!(std::path::Path::new("/run/test/.ip").exists(), "the other one's too");
    world.detach_ok("app");
    world.assert_as(&before);
    assert_eq!(sandbox.sh("ip -o link show type veth"), "");
}

#[test]
fn the_first_process_may_die_before_the_others() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let sandbox = world.process();
    let app = beside(&mut world, sandbox);
    world.attach_ok("sandbox", sandbox, &[]);
    world.attach_ok("app", app, &[("publish", "127.0.0.1:8443:443")]);
    world.kill(sandbox);
    world.netns_ok(&["create"], "");
    assert!(app.pings("172.19.0.1"), "a namespace with anyone in it is alive");
    world.detach_ok("sandbox");
    assert!(app.pings("172.19.0.1"), "the last one is not out yet");
    world.detach_ok("app");
    world.assert_as(&before);
}

#[test]
fn what_the_second_cannot_have_changes_nothing_for_the_first() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let sandbox = world.process();
    let app = beside(&mut world, sandbox);
    world.attach_ok("sandbox", sandbox, &[("publish", "8080:80")]);
    let before = world.snapshot();
    for (key, value, cause) in [
        ("static-ip", "172.19.0.9", "it shares the network namespace of container sandbox"),
        ("publish", "8080:81", "already published by container sandbox"),
    ] {
        let output = world.netns(&[], &state("app", "creating", Some(app.pid), &[(key, value)]));
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(cause), "{}", stderr(&output));
        world.assert_as(&before);
    }
    assert!(app.pings("172.19.0.1"));
}
