//! Each system call that can run out of something, or be refused, fails once.

use std::fs;
use std::process::Command;

use super::{Operation, Scene, conclude};
use crate::common::{NETNS, run};

/// The system calls that fail, and how each can.
const CALLS: [(&str, &[&str]); 18] = [
    ("openat", &["EMFILE", "ENOMEM", "EACCES", "EINTR", "ENOSPC"]),
    ("openat2", &["EMFILE", "EACCES", "ENOMEM"]),
    ("read", &["EINTR", "ENOMEM", "EIO"]),
    ("write", &["ENOSPC", "EINTR", "ENOMEM"]),
    ("pwrite64", &["ENOSPC", "EINTR"]),
    ("rename", &["ENOSPC", "EACCES", "ENOMEM"]),
    ("symlink", &["ENOSPC", "EACCES", "ENOMEM"]),
    ("readlink", &["ENOMEM", "EACCES"]),
    ("getdents64", &["ENOMEM"]),
    ("mkdir", &["ENOSPC", "EACCES", "ENOMEM"]),
    ("unlink", &["EACCES", "ENOMEM"]),
    ("rmdir", &["ENOMEM"]),
    ("mmap", &["ENOMEM"]),
    ("clone3", &["ENOMEM", "EAGAIN"]),
    ("socket", &["EMFILE", "ENOMEM", "EACCES"]),
    ("pipe2", &["EMFILE"]),
    ("sendto", &["ENOMEM", "EINTR"]),
    ("flock", &["EINTR", "ENOMEM"]),
];

/// More than any of them is made by one run.
const MOST: usize = 300;

/// Has a call fail, the `first` one, the one `step` calls later, and so on: the tests have most
/// calls in common.
fn sweep(firewall: &str, first: usize, step: usize) {
    let Some(mut scene) = Scene::new(firewall) else { return };
    let (mut times, mut bad) = (0, Vec::new());
    for operation in [Operation::Attach, Operation::Detach, Operation::Gc] {
        for (call, errors) in CALLS {
            for n in (first..MOST).step_by(step) {
                let error = errors[n / step % errors.len()];
                let (args, input) = scene.prepare(operation);
                let log = scene.world.dir.join("log");
                let mut strace = Command::new("strace");
                strace.args(["-f", "-y", "-qq", "-e", "signal=none", "-e", &format!("trace={call}")]);
                strace.args(["-e", &format!("inject={call}:error={error}:when={n}"), "-o"]).arg(&log);
                let output = run(strace.arg(NETNS).args(args), &input);
                let log = fs::read_to_string(&log).expect("strace's log");
                let failed: Vec<&str> = log.lines().filter(|line| line.contains("(INJECTED)")).collect();
                let wrong = scene.judge(operation, &output, n / step);
                if failed.is_empty() {
                    break;
                }
                // Each process has an `n`th call. `iptables-save` ends well where it cannot print, so
                // that nobody learns of what another has failed to remove just before.
                if call == "write" && failed.len() > 1 {
                    continue;
                }
                times += 1;
                let what = format!("{operation:?} where {call} {n} fails with {error}");
                bad.extend(wrong.iter().map(|wrong| format!("{what}: {wrong}")));
                if !wrong.is_empty() {
                    drop(scene);
                    scene = Scene::new(firewall).expect("another world");
                }
            }
        }
    }
    conclude(&format!("one system call fails, {firewall}"), times, &bad);
    assert!(times > 150, "only {times} system calls failed");
}

#[test]
fn whatever_system_call_fails_each_container_is_whole_or_gone_on_nft() {
    sweep("nft", 1, 2);
}

#[test]
fn whatever_system_call_fails_each_container_is_whole_or_gone_on_legacy() {
    sweep("legacy", 2, 2);
}

#[test]
fn whatever_system_call_fails_each_container_is_whole_or_gone_on_nftables() {
    sweep("nftables", 1, 3);
}
