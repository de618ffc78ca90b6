//! Why hooks failed, where a user finds it: most engines throw a hook's standard error away.
//!
//! The last failures are kept in the state directory, at most [`MAX_BYTES`] in two files, and
//! each is told to the system's log. Nothing here fails or blocks: the hook has failed already,
//! and its exit status says so.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Doing, Error, Result};

/// The most that is kept, in bytes; half of it in each of two files.
pub const MAX_BYTES: u64 = 64 << 10;

/// The most that is kept of one failure, in bytes: some thousand rules may go wrong at once.
const MAX_LINE: usize = 4 << 10;

/// `daemon` and `err` of `syslog(3)`, as RFC 3164 writes them.
const PRIORITY: &str = "<27>";

/// Where the failures are, the older ones in a file beside it.
fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("log")
}

/// Keeps and tells one failure of the hook for the container `id`.
pub fn remember(state_dir: &Path, id: &str, error: &Error) {
    let mut text = format!("container {id}: {}", error.to_string().replace("\n  ", "; "));
    let end = (0..=MAX_LINE).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    text.truncate(end);
    let pid = std::process::id();
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let _ = keep(state_dir, &format!("{now} netns[{pid}]: {text}\n"));
    let _ = tell(&format!("{PRIORITY}netns[{pid}]: {text}"));
}

/// The failures that are kept, the newest last; those of the container `id` if one is given.
pub fn recall(state_dir: &Path, id: Option<&str>) -> Vec<String> {
    let mut text = Vec::new();
    for path in [older(state_dir), file(state_dir)] {
        if let Ok(file) = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
            let _ = file.take(MAX_BYTES).read_to_end(&mut text);
        }
    }
    let of_container = |line: &&str| id.is_none_or(|id| line.contains(&format!("]: container {id}: ")));
    String::from_utf8_lossy(&text).lines().filter(of_container).map(str::to_owned).collect()
}

/// Forgets them.
///
/// # Errors
/// A file cannot be removed.
pub fn forget(state_dir: &Path) -> Result<()> {
    [older(state_dir), file(state_dir)].iter().try_for_each(|path| match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.doing(|| format!("remove {}", path.display())),
    })
}

fn older(state_dir: &Path) -> PathBuf {
    state_dir.join("log.1")
}

fn keep(state_dir: &Path, line: &str) -> std::io::Result<()> {
    if !state_dir.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
    }
    let found = fs::symlink_metadata(state_dir)?;
    let ours = found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o022 == 0;
    if !ours {
        return Ok(());
    }
    let path = file(state_dir);
    let full = fs::symlink_metadata(&path).is_ok_and(|log| log.len() + line.len() as u64 > MAX_BYTES / 2);
    if full {
        fs::rename(&path, older(state_dir))?;
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    // One write, so that lines of two hooks do not mix.
    options.custom_flags(nix::libc::O_NOFOLLOW).open(&path)?.write_all(line.as_bytes())
}

/// `syslog(3)` without its waiting: a full or missing log is no reason to keep an engine.
fn tell(text: &str) -> std::io::Result<usize> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to(text.as_bytes(), "/dev/log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let dir = std::env::temp_dir().join(format!("netns-failures-{}", std::process::id()));
        for number in 0..2000 {
            remember(&dir, "web", &Error::new(format!("step {number}"), "x".repeat(100)));
        }
        let size: u64 = [file(&dir), older(&dir)].iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(size > MAX_BYTES / 4 && size <= MAX_BYTES, "{size}");
        let all = recall(&dir, Some("web"));
        assert!(all.last().unwrap().contains("step 1999: "));
        assert!(recall(&dir, Some("we")).is_empty());
        fs::remove_dir_all(dir).unwrap();
    }
}
