//! The lock of the state directory, and the one number that is kept in its file.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use fs2::FileExt;

use super::directory::private;
use crate::error::{Doing, Error, Result};

/// How long a run waits for the others. Each takes milliseconds; a queue of hundreds passes.
const PATIENCE: Duration = Duration::from_secs(30);

/// An exclusive `flock(2)` on a file that is never renamed or unlinked. Whoever is killed lets
/// go of it.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// The file cannot be opened, or another run has held it for [`PATIENCE`]: who it is.
    pub(super) fn acquire(path: &Path) -> Result<Self> {
        let file = private().create(true).open(path).doing(|| format!("open {}", path.display()))?;
        let file = if file.try_lock_exclusive().is_ok() { file } else { wait(file, path)? };
        Ok(Self { file, path: path.to_path_buf() })
    }

    /// The file, for a child that is to keep the lock while it lives.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The number that was kept last, if there is one.
    pub fn number(&self) -> Option<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, 0).ok().map(|()| u64::from_le_bytes(bytes))
    }

    /// Keeps a number for the next run.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, number: u64) -> Result<()> {
        let bytes = number.to_le_bytes();
        self.file.write_all_at(&bytes, 0).doing(|| format!("write {}", self.path.display()))
    }
}

/// Waits in a thread, since `flock(2)` itself cannot be told how long.
fn wait(file: File, path: &Path) -> Result<File> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let locked = file.lock_exclusive().map(|()| file);
        let _ = sender.send(locked);
    });
    let operation = || format!("lock {}", path.display());
    match receiver.recv_timeout(PATIENCE) {
        Ok(locked) => locked.doing(operation),
        Err(_) => {
            let holder = holder(path).unwrap_or_else(|| "another run".to_owned());
            Err(Error::new(operation(), format!("held by {holder} for {} s", PATIENCE.as_secs())))
        }
    }
}

/// Who holds the lock, by `/proc/locks`: `process 4711 (netns)`.
fn holder(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", std::fs::metadata(path).ok()?.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let held = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some("FLOCK") && line.split_whitespace().any(|field| field.ends_with(&inode))
    };
    let pid = locks.lines().find(held)?.split_whitespace().nth(4)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", name.trim()))
}
