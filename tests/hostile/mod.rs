//! What a container can do to us and to its neighbours, tried from within.

mod amounts;
mod files;
mod names;
mod together;
mod wire;

use std::fs::File;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{chroot, fchdir};

use crate::common::Process;

/// Nobody waits longer for what a container does.
const A_SECOND: Duration = Duration::from_secs(1);

/// Does something where the programs of `process` find their files, in a thread of its own.
fn among_its_files<T: Send + 'static>(
    process: Process,
    what: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let open =
        |name| File::open(format!("/proc/{}/{name}", process.pid)).expect("open what is the process's");
    let (namespace, root) = (open("ns/mnt"), open("root"));
    std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_FS).expect("unshare");
        setns(namespace, CloneFlags::CLONE_NEWNS).expect("setns");
        // Where the tests run in a changed root, that of the namespace is the machine's.
        fchdir(root).and_then(|()| chroot(".")).expect("chroot");
        what()
    })
}

/// What `what` gives, which must be within a second.
fn soon<T>(said: &str, what: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = what();
    assert!(begun.elapsed() < A_SECOND, "{said}: {:?}", begun.elapsed());
    done
}
