//! Whether a pid is still the container's.

use std::fs::File;
use std::io::{self, Read};

use nix::libc::{ENOENT, ESRCH};

use crate::model::sandbox::{FoundBy, Sandbox, start_time};

/// Enough for the first fields of `/proc/PID/stat`, in bytes.
const MAX_BYTES: usize = 1024;

/// Whether the process that a container was found by still runs: what was read by its pid
/// before was then its own.
pub(super) fn is_running(sandbox: &Sandbox) -> io::Result<bool> {
    match sandbox.found_by {
        FoundBy::Process { pid, start_time } => Ok(started(pid)? == Some(start_time)),
        FoundBy::Path(_) => Ok(false),
    }
}

/// When a process started, in clock ticks since boot; `None` if it is dead.
fn started(pid: i32) -> io::Result<Option<u64>> {
    let mut bytes = [0; MAX_BYTES];
    let read = File::open(format!("/proc/{pid}/stat")).and_then(|mut stat| stat.read(&mut bytes));
    let length = match read {
        Err(error) if matches!(error.raw_os_error(), Some(ENOENT | ESRCH)) => return Ok(None),
        length => length?,
    };
    let stat = String::from_utf8_lossy(&bytes[..length]);
    Ok(start_time(&stat).and_then(|started| started.parse().ok()))
}
