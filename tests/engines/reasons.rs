//! Why a container got no network, told where its user looks: most engines throw it away.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::conformance::{ENGINES, in_a_world};
use super::podman::Podman;
use super::{Ask, DockerLike, Engine, find};
use crate::common::{World, stderr};

fn reason_is_found(name: &str, world: &mut World, engine: &mut dyn Engine) {
    let publish = [("publish", "8080:80")];
    engine.start(world, Ask { id: "first", options: &publish, then_fails: false }).expect("start first");
    engine.start(world, Ask { id: "second", options: &publish, then_fails: false }).expect_err("refused");
    let ls = world.netns(&["ls"], "");
    let note = stderr(&ls);
    assert!(note.contains("`netns failures` shows all") && note.contains("8080"), "{name}: {note}");
    let log = world.sh("cat /run/netns-hook/log");
    assert!(log.contains("already published by container"), "{name}: {log}");
    // The engine's own id of the container that failed, as the log has it.
    let id = log.split("]: container ").nth(1).and_then(|rest| rest.split(':').next()).expect("an id");
    let inspected = stderr(&world.netns(&["inspect", id], ""));
    assert!(inspected.contains("its hook failed: ") && inspected.contains("8080"), "{name}: {inspected}");
    engine.delete(world, "second");
    engine.delete(world, "first");
}

#[test]
fn the_reason_is_found_whatever_the_engine_does_with_it() {
    for name in ENGINES {
        assert!(in_a_world(name, reason_is_found).is_ok(), "{name}");
    }
}

#[test]
fn the_system_log_gets_one_line_for_each_failure() {
    let Some(mut world) = World::new() else { return };
    world.sh("mount -t tmpfs dev /dev -o mode=755 && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9");
    let (a, b) = (world.process(), world.process());
    let syslog = UnixDatagram::bind("/dev/log").expect("bind /dev/log");
    syslog.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
    world.attach_ok("a", a, &[("publish", "8080:80")]);
    assert!(!world.attach("b", b, &[("publish", "8080:80")]).status.success());
    let mut line = [0; 4096];
    let length = syslog.recv(&mut line).expect("a line in the system log");
    let line = String::from_utf8_lossy(&line[..length]).into_owned();
    assert!(
        line.starts_with("<27>netns[") && line.contains("container b: ") && !line.contains('\n'),
        "{line}"
    );
    syslog.set_nonblocking(true).expect("nonblocking");
    assert!(syslog.recv(&mut [0; 16]).is_err(), "one line only");
    // A log that nobody reads fills up, and keeps nobody waiting.
    for _ in 0..64 {
        assert!(!world.attach("b", b, &[("publish", "8080:80")]).status.success());
    }
    world.detach_ok("a");
}

#[test]
fn whoever_forgets_network_none_is_told_that() {
    let Some(world) = World::new() else { return };
    let Some(runc) = find("runc") else { return };
    let podman = Podman::new(&world, &runc);
    let run = "run -d --name web --annotation org.netns.publish=8080:80 box /bin/busybox sleep 1000";
    let refused = podman.run(&world, run).expect_err("podman has given it an eth0");
    let told = world.netns_ok(&["failures"], "");
    for text in [refused, told] {
        assert!(text.contains("the container has an interface eth0 already"), "{text}");
        assert!(text.contains("start it with `--network none`"), "{text}");
    }
}
