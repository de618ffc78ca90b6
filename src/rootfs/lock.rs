//! One writer at a time for a network's files: who makes, lengthens or rewrites one of them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fs2::FileExt;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

/// How long others may hold it together. Each does so for the time of a few system calls.
const PATIENCE: Duration = Duration::from_secs(2);

/// The lock of the directory `dir`, held until the file is closed: a file of its own, which no
/// container reaches.
///
/// # Errors
/// Others hold it for too long; or it cannot be made.
pub(super) fn hold(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let file = options.open(dir.join("lock"))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match file.try_lock_exclusive() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            locked => return locked.map(|()| file),
        }
        if Instant::now() > end {
            let cause =
                format!("{}: another run holds it for {} s", dir.join("lock").display(), PATIENCE.as_secs());
            return Err(io::Error::new(ErrorKind::ResourceBusy, cause));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
