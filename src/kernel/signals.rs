//! How signals are taken, whatever the caller has set.

use std::sync::Arc;

use nix::libc::SIGCHLD;
use nix::sys::signal::SigSet;

use crate::error::{Doing, Result};

/// Has signals taken as usual, by this program and those that it runs.
///
/// Where a caller ignores SIGCHLD the kernel forgets how a program has ended, and waiting for it
/// fails. A handler that does nothing is what can be set instead without unsafe code; programs
/// that are run get the default back.
///
/// # Errors
/// The kernel refuses.
pub fn reset() -> Result<()> {
    let operation = || "reset signals";
    signal_hook::flag::register(SIGCHLD, Arc::default()).doing(operation)?;
    SigSet::empty().thread_set_mask().doing(operation)
}
