//! Programs that have outlived the run that started them: a runtime that loses patience kills
//! the hook alone. Most end by themselves a moment later; one that hangs would keep the lock that
//! it has inherited for ever.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Kills every program that holds the file `lock` open, unless a run of ours that holds it too has
/// started it, or it is one. Their number.
///
/// # Errors
/// There is no such file, or `/proc` cannot be read.
pub(super) fn end(lock: &Path) -> io::Result<usize> {
    let lock = fs::metadata(lock)?;
    let holds = |pid: i32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut found = files.filter_map(|file| fs::metadata(file.path()).ok());
        found.any(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino()))
    };
    let program = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let own = program("self");
    let mut ended = 0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let is_ours = || program(&pid.to_string()).file_name() == own.file_name();
        if holds(pid) && !is_ours() && !parent(pid).is_some_and(holds) {
            // It is the first of a group of its own, in which all are that it has started.
            ended += usize::from(killpg(Pid::from_raw(pid), Signal::SIGKILL).is_ok());
        }
    }
    Ok(ended)
}

/// The process that has started it, or inherited it (`proc_pid_stat(5)`, field 4).
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
