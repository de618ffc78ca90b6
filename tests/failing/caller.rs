//! What a caller has set, what no caller does a second time, and what somebody has removed.

use std::process::Command;

use crate::common::{NETNS, World, run, state, stderr};

#[test]
fn ignored_and_blocked_signals_of_the_caller_change_nothing() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let (before, container) = (world.snapshot(), world.process());
    let with = ["--ignore-signal=CHLD,PIPE,TERM", "--block-signal=CHLD,ALRM,TERM", NETNS];
    let attach = state("a", "creating", Some(container.pid), &[("publish", "8080:80")]);
    let output = run(Command::new("env").args(with), &attach);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    assert!(container.pings("172.19.0.1"));
    let output = run(Command::new("env").args(with), &state("a", "stopped", None, &[]));
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    world.assert_as(&before);
}

#[test]
fn a_detach_that_got_no_lock_is_done_by_the_next_run_though_the_namespace_outlives_its_process() {
    for later in ["gc", "attach"] {
        let Some(mut world) = World::new() else { return };
        world.netns_ok(&["create"], "");
        let (before, container, other) = (world.snapshot(), world.process(), world.process());
        world.attach_ok("a", container, &[("publish", "8080:80")]);
        world
            .sh(&format!("touch /run/test/kept; mount --bind /proc/{}/ns/net /run/test/kept", container.pid));
        world.kill(container);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=flock"]);
        strace.args(["-e", "inject=flock:error=ENOLCK", NETNS]);
        let output = run(&mut strace, &state("a", "stopped", None, &[]));
        assert!(output.status.success(), "a failing poststop stops an engine");
        assert!(stderr(&output).contains("No locks available"), "{}", stderr(&output));
        if later == "gc" {
            assert!(world.netns_ok(&["gc"], "").contains("container a"));
        } else {
            world.attach_ok("b", other, &[("ipfile", "b")]);
            world.detach_ok("b");
        }
        world.sh("umount /run/test/kept; rm /run/test/kept");
        world.assert_as(&before);
    }
}

#[test]
fn a_container_whose_record_is_lost_is_detached_all_the_same() {
    for by_hook in [true, false] {
        let Some(mut world) = World::new() else { return };
        world.netns_ok(&["create"], "");
        let (before, container) = (world.snapshot(), world.process());
        world.attach_ok("a", container, &[("publish", "8080:80")]);
        world.sh(&format!("rm {} /run/test/.ip", world.record("a")));
        if by_hook {
            world.detach_ok("a");
        } else {
            world.netns_ok(&["detach", "a"], "");
        }
        world.assert_as(&before);
        world.detach_ok("a");
    }
}
