//! The state directory: one lock, and one file for each container and each network.
//!
//! The only writer of the directory. A record is written to a temporary file and renamed, so a
//! reader without the lock never sees half of one. The lock file is never renamed or unlinked.
//!
//! ```text
//! lock                         held for the whole of every run that changes something
//! containers/ID@HASH.json      HASH is of id and bundle, which only together are unique
//! networks/BRIDGE.json
//! damaged/…                    records that could not be read, set aside for a human
//! ```

pub mod record;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use fs2::FileExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::value::Iface;
use crate::error::{Doing, Error, Result};
use record::{Network, Record, Survey};

/// How long a run waits for the others. Each takes milliseconds; a queue of hundreds passes.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The longest part of an id that is part of a file name, in bytes.
const MAX_NAME: usize = 180;

/// Reads everything without the lock, as `ls` does; nothing is there before the first attach.
///
/// # Errors
/// The directory cannot be read, or others may write to it.
pub fn read(dir: &Path) -> Result<Survey> {
    match check_directory(dir) {
        Ok(()) => survey(dir),
        Err(_) if !dir.exists() => Ok(Survey::default()),
        Err(error) => Err(error),
    }
}

/// The state directory, locked until this is dropped.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    _lock: File,
}

impl Store {
    /// Creates the directory if need be and waits, for a bounded time, for the lock.
    ///
    /// # Errors
    /// The directory cannot be made, belongs to somebody else, can be written by others, or is
    /// a symbolic link; or another run has held the lock for [`LOCK_WAIT`].
    pub fn lock(dir: &Path) -> Result<Self> {
        for directory in [dir.to_path_buf(), dir.join("containers"), dir.join("networks")] {
            if fs::symlink_metadata(&directory).is_err() {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&directory)
                    .doing(|| format!("create state directory {}", directory.display()))?;
            }
            check_directory(&directory)?;
        }
        let path = dir.join("lock");
        let lock = private_file().truncate(false).open(&path).doing(|| format!("open {}", path.display()))?;
        Ok(Self { dir: dir.to_path_buf(), _lock: acquire(lock, &path)? })
    }

    /// Reads everything, and moves what is damaged out of the way of the next run.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn survey(&self) -> Result<Survey> {
        let survey = survey(&self.dir)?;
        for (file, _) in &survey.damaged {
            self.set_aside(file)?;
        }
        Ok(survey)
    }

    fn set_aside(&self, file: &Path) -> Result<()> {
        let aside = self.dir.join("damaged");
        fs::create_dir_all(&aside).doing(|| format!("create {}", aside.display()))?;
        let name = file.file_name().unwrap_or(file.as_os_str());
        fs::rename(file, aside.join(name)).doing(|| format!("set aside {}", file.display()))
    }

    /// Writes a container's record.
    ///
    /// # Errors
    /// The file cannot be written, as on a full disk.
    pub fn put(&self, record: &Record) -> Result<()> {
        self.write(&container_file(&self.dir, &record.id, &record.bundle), record)
    }

    /// Writes a network's record.
    ///
    /// # Errors
    /// The file cannot be written, as on a full disk.
    pub fn put_network(&self, network: &Network) -> Result<()> {
        self.write(&network_file(&self.dir, &network.bridge), network)
    }

    /// Forgets a container.
    ///
    /// # Errors
    /// The file cannot be removed; one that is not there is fine.
    pub fn forget(&self, record: &Record) -> Result<()> {
        remove(&container_file(&self.dir, &record.id, &record.bundle))
    }

    /// Forgets a network.
    ///
    /// # Errors
    /// The file cannot be removed; one that is not there is fine.
    pub fn forget_network(&self, bridge: &Iface) -> Result<()> {
        remove(&network_file(&self.dir, bridge))
    }

    /// Only one process writes at a time, so one name for the unfinished file is enough, and
    /// what a killed run left behind is overwritten by the next.
    fn write(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let operation = || format!("write record {}", path.display());
        let text = serde_json::to_vec_pretty(value).doing(operation)?;
        let unfinished = self.dir.join("unfinished");
        let mut file = private_file().truncate(true).open(&unfinished).doing(operation)?;
        file.write_all(&text).doing(operation)?;
        fs::rename(&unfinished, path).doing(operation)
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    options
}

/// Waits for the lock in a thread, since `flock(2)` itself cannot be told how long.
fn acquire(lock: File, path: &Path) -> Result<File> {
    if lock.try_lock_exclusive().is_ok() {
        return Ok(lock);
    }
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let locked = lock.lock_exclusive().map(|()| lock);
        let _ = sender.send(locked);
    });
    let operation = || format!("lock {}", path.display());
    match receiver.recv_timeout(LOCK_WAIT) {
        Ok(locked) => locked.doing(operation),
        Err(_) => Err(Error::new(operation(), format!("held by another run for {} s", LOCK_WAIT.as_secs()))
            .hint(format!("`fuser {}` shows which", path.display()))),
    }
}

/// What is in the directory decides what root does next: nobody else may write there.
fn check_directory(dir: &Path) -> Result<()> {
    let operation = || format!("use state directory {}", dir.display());
    let found = fs::symlink_metadata(dir).doing(operation)?;
    let cause = if !found.is_dir() {
        "it is not a directory"
    } else if found.uid() != nix::unistd::geteuid().as_raw() {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others may write to it"
    } else {
        return Ok(());
    };
    Err(Error::new(operation(), cause).hint("remove it, or pass --state-dir with another one"))
}

/// The file of a container's record. Ids are checked when they are read, so the name stays in
/// its directory; the hash tells bundles apart.
fn container_file(dir: &Path, id: &str, bundle: &Path) -> PathBuf {
    let shown = id.get(..id.len().min(MAX_NAME)).unwrap_or_default();
    dir.join("containers").join(format!("{shown}@{:016x}.json", key(id, bundle)))
}

fn network_file(dir: &Path, bridge: &Iface) -> PathBuf {
    dir.join("networks").join(format!("{bridge}.json"))
}

/// FNV-1a of id and bundle: the same in every build and on every run, unlike std's hashers.
pub fn key(id: &str, bundle: &Path) -> u64 {
    let bytes = id.bytes().chain([0]).chain(bundle.as_os_str().as_encoded_bytes().iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn survey(dir: &Path) -> Result<Survey> {
    let mut damaged = Vec::new();
    Ok(Survey {
        networks: read_all(&dir.join("networks"), &mut damaged)?,
        containers: read_all(&dir.join("containers"), &mut damaged)?,
        damaged,
    })
}

fn read_all<T: DeserializeOwned>(dir: &Path, damaged: &mut Vec<(PathBuf, Error)>) -> Result<Vec<T>> {
    let operation = || format!("read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.doing(operation)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>().doing(operation)?;
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        match read_one(&path) {
            Ok(value) => all.extend(value),
            Err(error) => damaged.push((path, error)),
        }
    }
    Ok(all)
}

/// One record; `None` if its owner has detached since the directory was read.
fn read_one<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let operation = || format!("read record {}", path.display());
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => serde_json::from_slice(&text.doing(operation)?).map(Some).doing(operation),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove record {}", path.display()))
        }
        _ => Ok(()),
    }
}
