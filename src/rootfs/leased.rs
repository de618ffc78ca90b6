//! Files that containers reach, opened without ever waiting for a container.
//!
//! Whoever may read a file may hold a lease on it (`fcntl(2)`, `F_SETLEASE`): an open that
//! conflicts waits until the holder lets go of it, 45 seconds at most. With `O_NONBLOCK` it
//! fails instead, and the holder is told to let go.

use std::io::{self, ErrorKind};
use std::time::Duration;

/// How often a file is tried; 1 ms after the first time, and twice as long after each other.
const TRIES: u32 = 6;

/// What `open` opens, which says `O_NONBLOCK`; tried again for 31 ms while somebody holds a
/// lease.
///
/// # Errors
/// Somebody still holds a lease; or those of `open`.
pub(super) fn open<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for attempt in 0..TRIES {
        match open() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            opened => return opened,
        }
        if attempt + 1 < TRIES {
            std::thread::sleep(Duration::from_millis(1 << attempt));
        }
    }
    Err(io::Error::new(ErrorKind::ResourceBusy, "a container holds a lease on it, and does not let go"))
}
