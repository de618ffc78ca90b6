//! Whether a pid is still the container's.

use std::fs::File;
use std::io::Read;

use crate::model::sandbox::{FoundBy, Sandbox, start_time};

/// Enough for the first fields of `/proc/PID/stat`, in bytes.
const MAX_BYTES: usize = 1024;

/// Whether the process that a container was found by still runs: what was read by its pid
/// before was then its own.
pub(super) fn is_running(sandbox: &Sandbox) -> bool {
    match sandbox.found_by {
        FoundBy::Process { pid, start_time } => started(pid) == Some(start_time),
        FoundBy::Path(_) => false,
    }
}

/// When a process started, in clock ticks since boot; `None` if it is dead.
fn started(pid: i32) -> Option<u64> {
    let mut bytes = [0; MAX_BYTES];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut bytes).ok()?;
    let stat = String::from_utf8_lossy(&bytes[..length]);
    start_time(&stat)?.parse().ok()
}
