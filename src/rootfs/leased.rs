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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    #[allow(clippy::print_stderr, reason = "it says why it is skipped")]
    fn a_container_that_holds_a_lease_keeps_nobody_waiting() {
        let path = std::env::temp_dir().join(format!("netns-leased-{}", std::process::id()));
        std::fs::write(&path, "127.0.0.1 localhost").unwrap();
        // 1024 is F_SETLEASE, 0 is F_RDLCK.
        let holds = "$SIG{IO} = 'IGNORE'; open(F, '<', $ARGV[0]); fcntl(F, 1024, 0) or die; \
                     $| = 1; print 1; <STDIN>";
        let mut perl = Command::new("perl");
        let holder = perl.args(["-e", holds]).arg(&path);
        let Ok(mut holder) = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            assert!(std::env::var_os("CI").is_none(), "skipped: there is no perl");
            return eprintln!("skipped: there is no perl");
        };
        assert_eq!(holder.stdout.as_mut().unwrap().read(&mut [0; 1]).unwrap(), 1, "it holds the lease");
        let mut options = OpenOptions::new();
        options.write(true).custom_flags(nix::libc::O_NONBLOCK);
        let started = Instant::now();
        let refused = super::open(|| options.open(&path)).unwrap_err().to_string();
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        assert!(refused.contains("a container holds a lease on it"), "{refused}");
        drop(holder.stdin.take());
        holder.wait().unwrap();
        super::open(|| options.open(&path)).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
