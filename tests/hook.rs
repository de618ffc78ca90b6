//! The hook as a runtime calls it: what it refuses, what it survives, and what it takes for
//! done already.

use std::fs;
use std::process::{Command, Output, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::common::{NETNS, Process, World, run, state, stderr};

/// Failed with one line that names the cause, and at most a hint below it.
fn assert_refused(output: &Output, cause: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(1), "exit status; it said: {said}");
    let mut lines = said.lines();
    let first = lines.next().unwrap_or_default();
    assert!(first.starts_with("netns: ") && first.contains(cause), "no {cause:?} in: {said}");
    assert!(lines.all(|line| line.starts_with("  hint: ")), "more than a line and a hint: {said}");
    assert!(output.stdout.is_empty(), "nothing on standard output");
}

/// A process in the network namespace of the world's own host.
fn of_the_host(world: &mut World) -> Process {
    let child = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().expect("start sleep");
    Process { pid: world.keep(child) }
}

#[test]
fn what_is_no_state_is_refused_and_nothing_changes() {
    let Some(mut world) = World::new() else { return };
    let pid = Some(world.process().pid);
    let before = world.snapshot();
    let whole = state("a", "creating", pid, &[]);
    let large = state("a", "creating", pid, &[("publish", &"x".repeat(2 << 20))]);
    for (input, cause) in [
        ("", "standard input: it is empty"),
        (" \n", "standard input: it is empty"),
        (&whole[..whole.len() / 2], "standard input: EOF while parsing"),
        ("pid=1", "standard input: expected value"),
        ("[]", "it has no \"id\""),
        (&large, "it is larger than 1 MiB"),
        (&whole.replace("\"id\"", "\"di\""), "it has no \"id\""),
        (&whole.replace("\"a\"", "\"../a\""), "container id '../a'"),
        (&whole.replace("\"status\"", "\"sattus\""), "it has no \"status\""),
        (&whole.replace("creating", "dancing"), "unknown variant"),
        (&whole.replace("/run/test", "run/test"), "it is not an absolute path"),
        (&state("a", "creating", None, &[]), "attach container a: the state names no pid"),
        (&state("a", "created", Some(0), &[]), "attach container a: the state names no pid"),
    ] {
        assert_refused(&world.netns(&[], input), cause);
    }
    world.assert_as(&before);
}

#[test]
fn a_terminal_is_refused_and_nothing_changes() {
    let Some(world) = World::new() else { return };
    let before = world.snapshot();
    let output = world.try_sh(&format!("timeout -s KILL 30 script -qec {NETNS} /dev/null"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("standard input is a terminal"), "{said}");
    assert_eq!(said.lines().count(), 2, "a line and a hint: {said}");
    world.assert_as(&before);
}

#[test]
fn a_dead_process_and_one_of_the_hosts_own_are_refused_and_nothing_changes() {
    let Some(mut world) = World::new() else { return };
    let (dead, own) = (world.process(), of_the_host(&mut world));
    world.kill(dead);
    let before = world.snapshot();
    for (process, cause) in [(dead, "there is no such process"), (own, "host's own network namespace")] {
        assert_refused(&world.attach("a", process, &[]), cause);
        let pid = process.pid.to_string();
        assert_refused(&world.netns(&["attach", &pid], ""), cause);
        assert_refused(&world.netns(&["plan"], &state("a", "creating", Some(process.pid), &[])), cause);
    }
    world.assert_as(&before);
}

#[test]
fn wrong_usage_exits_2_and_nothing_changes() {
    let Some(world) = World::new() else { return };
    let before = world.snapshot();
    for args in [
        &["--nonsense"][..],
        &["nonsense"],
        &["attach"],
        &["attach", "web"],
        &["detach"],
        &["--mtu", "3", "create"],
        &["--bridge", "../x", "create"],
        &["--ip", "172.19.0.1", "create"],
        &["--publish", "80/icmp"],
    ] {
        let output = world.netns(args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(!output.stderr.is_empty(), "{args:?} says why");
    }
    world.assert_as(&before);
}

#[test]
fn a_hostile_annotation_is_refused_and_nothing_changes() {
    let Some(mut world) = World::new() else { return };
    let pid = Some(world.process().pid);
    let before = world.snapshot();
    let attach = |key, value| world.netns(&[], &state("a", "creating", pid, &[(key, value)]));
    for (key, value, cause) in [
        ("iface", "../x", "only letters, digits"),
        ("iface", "all", "the kernel keeps this name"),
        ("iface", "eth0\nnetns: all is well", "eth0\\nnetns: all is well"),
        ("bridge", "br%d", "only letters, digits"),
        ("publish", "80\n-A INPUT -j ACCEPT", "is not a port"),
        ("static-ip", "172.19.0.9\n-A", "invalid IP address"),
        ("mtu", "-1", "from 68 to 65535"),
        ("alias", "localhost.localdomain", "it means whoever asks"),
        ("alias", "db,localhost4", "it means whoever asks"),
        ("state-dir", "/etc", "only a flag, the environment or the file"),
        ("ipfile", "../../etc/passwd", "may only name a file in the bundle"),
        ("publsh", "80", "unknown option"),
    ] {
        assert_refused(&attach(key, value), cause);
    }
    for (key, value) in [
        ("bridge", "docker0"),
        ("ip", "10.0.0.1/8"),
        ("iface", "eth1"),
        ("mtu", "1400"),
        ("nic", "wire0"),
        ("no-bridge", "true"),
        ("name-netns", "true"),
    ] {
        assert_refused(&attach(key, value), "only the policy's");
    }
    let said = stderr(&attach("publsh", "80"));
    assert!(said.contains("hint: did you mean org.netns.publish?"), "{said}");
    world.assert_as(&before);
}

#[test]
fn it_works_without_environment_outputs_and_working_directory() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let (input, gone) = (world.dir.join("log"), world.dir.join("gone"));
    for (id, how) in [
        ("empty-environment", format!("env -i {NETNS}")),
        ("closed-outputs", format!("{NETNS} >&- 2>&-")),
        ("at-the-root", format!("cd /; {NETNS}")),
        ("nowhere", format!("mkdir {0}; cd {0}; rmdir {0}; exec {NETNS}", gone.display())),
        ("all-at-once", format!("cd /proc; exec env -i {NETNS} >&- 2>&-")),
    ] {
        let container = world.process();
        let hook = format!("exec <{}; {how}", input.display());
        fs::write(&input, state(id, "creating", Some(container.pid), &[("publish", "80")])).unwrap();
        world.sh(&hook);
        assert!(container.pings("172.19.0.1"), "{id}");
        fs::write(&input, state(id, "stopped", None, &[])).unwrap();
        world.sh(&hook);
        world.assert_as(&before);
    }
}

#[test]
fn what_is_done_already_is_success_and_changes_nothing() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let fresh = world.snapshot();
    world.detach_ok("never-attached");
    world.assert_as(&fresh);
    let container = world.process();
    world.attach_ok("a", container, &[("publish", "8080:80")]);
    let attached = world.snapshot();
    for status in ["creating", "created", "running"] {
        let output = world.netns(&[], &state("a", status, Some(container.pid), &[("publish", "8080:80")]));
        assert!(output.status.success(), "{status}: {}", stderr(&output));
        world.assert_as(&attached);
    }
    world.detach_ok("a");
    world.assert_as(&fresh);
    world.detach_ok("a");
    world.assert_as(&fresh);
}

#[test]
fn a_dead_container_of_the_same_id_is_cleaned_up_first() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let (first, second) = (world.process(), world.process());
    world.attach_ok("a", first, &[("publish", "8080:80")]);
    let refused = world.attach("a", second, &[]);
    assert_refused(&refused, "it is attached already");
    world.kill(first);
    world.attach_ok("a", second, &[("publish", "8080:80")]);
    let listed = world.ls();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["pid"], second.pid);
    assert_eq!(world.rules().matches("netns container a").count(), 1, "one rule, not two");
    world.detach_ok("a");
    world.assert_as(&before);
}

#[test]
fn one_id_in_two_bundles_is_two_containers() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let other = world.dir.join("other");
    fs::create_dir(&other).unwrap();
    let elsewhere = |state: String| state.replace("/run/test", other.to_str().unwrap());
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[]);
    let attached = world.snapshot();
    world.netns_ok(&[], &elsewhere(state("a", "creating", Some(b.pid), &[])));
    assert!(a.pings("172.19.0.3") && b.pings("172.19.0.2"), "each has an address of its own");
    assert_refused(
        &world.netns(&["detach", "a"], ""),
        "detach container a: it could be any of 2: a of bundle",
    );
    world.netns_ok(&[], &elsewhere(state("a", "stopped", None, &[])));
    world.assert_as(&attached);
    assert!(a.pings("172.19.0.1"), "the other one is left alone");
    world.detach_ok("a");
    world.assert_as(&before);
}

#[test]
fn poststop_exits_0_and_the_next_run_cleans_up_what_it_could_not_undo() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let container = world.process();
    world.attach_ok("a", container, &[("publish", "8080:80")]);
    // Every iptables program is a link into this directory.
    let none: Option<&str> = None;
    mount(Some("none"), "/etc/alternatives", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    let output = world.detach("a");
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("find iptables"), "{}", stderr(&output));
    assert_eq!(world.ls()[0]["status"], "incomplete", "it stays recorded");
    umount2("/etc/alternatives", MntFlags::empty()).unwrap();
    assert!(world.rules().contains("netns container a"), "the rule was left behind");
    world.netns_ok(&["create"], "");
    world.assert_as(&before);
}

#[test]
fn what_the_administrator_broke_meanwhile_keeps_no_container_from_leaving() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let broken = world.dir.join("broken.toml");
    for args in [["--log", "/nowhere/log"], ["--config", "/run/test/broken.toml"]] {
        let container = world.process();
        world.attach_ok("a", container, &[]);
        fs::write(&broken, "bridge = ").unwrap();
        let output = run(Command::new(NETNS).args(args), &state("a", "stopped", None, &[]));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).starts_with("netns: warning: "), "{}", stderr(&output));
        fs::remove_file(&broken).unwrap();
        world.assert_as(&before);
    }
}
