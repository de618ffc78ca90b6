//! `flock(2)` with a deadline. Whoever is killed lets go of it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use fs2::FileExt;

use super::{in_directory, private};
use crate::error::{Doing, Error, Kind, Result};

/// How long a run waits for the others. Each takes milliseconds; a queue of hundreds passes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one waits for programs of runs that were killed. They end when they are told nothing,
/// and wait five seconds for a lock of their own.
const ORPHANS: Duration = Duration::from_secs(7);

/// A lock on a file, until this is dropped and every program that inherited it has ended.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// What became of an attempt to lock a record.
#[derive(Debug)]
pub enum Held {
    /// We have it.
    Mine(Lock),
    /// Another run has it.
    Busy,
    /// There is no record.
    Absent,
}

type Locking = fn(&File) -> std::io::Result<()>;

impl Lock {
    /// Waits for a lock that nobody else has.
    pub(super) fn exclusive(path: &Path) -> Result<Self> {
        Self::acquire(path, FileExt::try_lock_exclusive, FileExt::lock_exclusive)
    }

    /// Waits for a lock that others may share.
    pub(super) fn shared(path: &Path) -> Result<Self> {
        Self::acquire(path, FileExt::try_lock_shared, FileExt::lock_shared)
    }

    /// Takes a lock, unless somebody else has it.
    pub(super) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        Ok(file.try_lock_exclusive().is_ok().then_some(Self { file }))
    }

    /// As [`Self::exclusive`], for the time that an orphan of ours takes to end by itself.
    pub(super) fn exclusive_soon(path: &Path) -> Result<Self> {
        wait_with(open(path)?, path, FileExt::lock_exclusive, ORPHANS)
    }

    fn acquire(path: &Path, attempt: Locking, wait: Locking) -> Result<Self> {
        let file = open(path)?;
        if attempt(&file).is_ok() { Ok(Self { file }) } else { wait_with(file, path, wait, PATIENCE) }
    }

    /// The lock of a file that nobody else has opened yet.
    pub(super) fn of_new(file: File, path: PathBuf) -> Result<Self> {
        file.try_lock_exclusive().doing(|| format!("lock {}", path.display()))?;
        Ok(Self { file })
    }

    /// The lock of a file that others have opened too.
    pub(super) fn of_existing(path: &Path) -> Result<Held> {
        let operation = || format!("lock {}", path.display());
        let file = match private().open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Held::Absent),
            file => file.doing(operation)?,
        };
        match file.try_lock_exclusive() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Held::Busy),
            locked => locked.doing(operation).map(|()| Held::Mine(Self { file })),
        }
    }

    /// Waits until nobody holds the lock of a file, or it is gone.
    pub(super) fn wait_existing(path: &Path) -> Result<()> {
        match private().open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            file => {
                let file = file.doing(|| format!("lock {}", path.display()))?;
                wait_with(file, path, FileExt::lock_exclusive, PATIENCE).map(drop)
            }
        }
    }

    /// The file, for a program that is to keep the lock while it lives.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

fn open(path: &Path) -> Result<File> {
    let open = || private().create(true).truncate(false).open(path);
    in_directory(path, open).doing(|| format!("open {}", path.display()))
}

/// Waits in a thread, since `flock(2)` itself cannot be told how long.
fn wait_with(file: File, path: &Path, lock: Locking, patience: Duration) -> Result<Lock> {
    let operation = || format!("lock {}", path.display());
    let (sender, receiver) = mpsc::channel();
    let wait = move || {
        let locked = lock(&file).map(|()| file);
        let _ = sender.send(locked);
    };
    std::thread::Builder::new().spawn(wait).doing(operation)?;
    match receiver.recv_timeout(patience) {
        Ok(locked) => locked.doing(operation).map(|file| Lock { file }),
        Err(_) => {
            let holder = holder(path).unwrap_or_else(|| "another run".to_owned());
            let cause = format!("held by {holder} for {} s", patience.as_secs());
            Err(Error::new(operation(), cause).of(Kind::Busy))
        }
    }
}

/// Who holds the `flock(2)` of a file, by `/proc/locks`: `process 4711 (netns)`.
pub fn holder(path: &Path) -> Option<String> {
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
