//! What a container can do to us and to its neighbours, tried from within.

mod amounts;
mod files;
mod names;
mod together;
mod wire;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

use crate::common::Process;

/// Nobody waits longer for what a container does.
const A_SECOND: Duration = Duration::from_secs(1);

/// Does something where the programs of `process` find their files, in a thread of its own.
fn among_its_files<T: Send + 'static>(
    process: Process,
    what: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let namespace = File::open(format!("/proc/{}/ns/mnt", process.pid)).expect("open the namespace");
    let its_root = root_of(&format!("/proc/{}/root/", process.pid));
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS).expect("unshare");
        setns(namespace, CloneFlags::CLONE_NEWNS).expect("setns");
        // Of a process that was put in place by chroot(2) it would be the machine's own.
        assert_eq!(root_of("/"), its_root, "not where it finds its files");
        what()
    })
}

fn root_of(path: &str) -> (u64, u64) {
    let root = fs::metadata(path).expect("look at the root");
    (root.dev(), root.ino())
}

/// What `what` gives, which must be within a second.
fn soon<T>(said: &str, what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = what();
    assert!(begun.elapsed() < A_SECOND, "{said}: {:?}", begun.elapsed());
    done
}
