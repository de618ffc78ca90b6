//! The state directory: one lock, one file for each container and each network, and an index.
//!
//! The only writer of the directory. A record is written to a temporary file and renamed, so a
//! reader without the lock never sees half of one. The lock file is never renamed or unlinked.
//! Nothing is synced to a disk: what is recorded here does not outlive the kernel's memory
//! either.
//!
//! ```text
//! lock                         held for the whole of every run that changes something
//! index                        of all containers what every run must know, read at once
//! containers/ID@HASH.json      HASH is of id and bundle, which only together are unique
//! networks/BRIDGE.json
//! names/BRIDGE/hosts           what all containers on the bridge have mounted, and resolv.conf
//! damaged/…                    records that could not be read, set aside for a human
//! ```

pub mod index;
pub mod journal;
mod lock;
pub mod record;

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::value::Iface;
use crate::error::{Doing, Error, Result};
use index::{Entry, Index};
use lock::Lock;
use record::{Network, Record, Survey};

/// A record that is being written. The next run removes what a killed one left of it.
const UNFINISHED: &str = "unfinished";

/// The longest part of an id that is part of a file name, in bytes.
const MAX_NAME: usize = 180;

/// All records, as files that anybody in their right may read.
#[derive(Debug, Default)]
pub struct Records {
    /// Every network, in the order of names.
    pub networks: Vec<Network>,
    /// Every container, in the order of file names.
    pub containers: Vec<Record>,
    /// The files that are no records, and why.
    pub damaged: Vec<(PathBuf, Error)>,
}

impl Records {
    /// Reads everything without the lock; nothing is there before the first attach.
    ///
    /// # Errors
    /// The directory cannot be read, or others may write to it.
    pub fn read(dir: &Path) -> Result<Self> {
        match check_directory(dir) {
            Err(_) if !dir.exists() => return Ok(Self::default()),
            checked => checked?,
        }
        let mut damaged = Vec::new();
        Ok(Self {
            networks: read_all(&dir.join("networks"), &mut damaged)?,
            containers: read_all(&dir.join("containers"), &mut damaged)?,
            damaged,
        })
    }

    /// The same as planning sees it.
    pub fn survey(self) -> Survey {
        let containers = self.containers.iter().map(Entry::from).collect();
        Survey { networks: self.networks, containers, damaged: self.damaged }
    }
}

/// The state directory, locked until this is dropped.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    index: Index,
    lock: Lock,
}

impl Store {
    /// Creates the directory if need be, waits, for a bounded time, for the lock, and reads
    /// what planning needs. What is damaged is moved out of the way of the next run.
    ///
    /// # Errors
    /// The directory cannot be made or read, belongs to somebody else, can be written by
    /// others, or is a symbolic link; or another run holds the lock for too long.
    pub fn lock(dir: &Path) -> Result<(Self, Survey)> {
        for directory in [dir.to_path_buf(), dir.join("containers"), dir.join("networks")] {
            create_directory(&directory)?;
            check_directory(&directory)?;
        }
        let lock = Lock::acquire(&dir.join("lock"))?;
        for half_written in [UNFINISHED, index::UNFINISHED] {
            remove(&dir.join(half_written))?;
        }
        let path = dir.join("index");
        let (index, survey) = match Index::open(&path)? {
            Some((index, entries)) if !index.is_mostly_past(entries.len()) => {
                (index, survey_of(dir, entries)?)
            }
            Some((_, entries)) => (Index::create(&path, &entries)?, survey_of(dir, entries)?),
            None => {
                let survey = Records::read(dir)?.survey();
                (Index::create(&path, &survey.containers)?, survey)
            }
        };
        let store = Self { dir: dir.to_path_buf(), index, lock };
        for (file, _) in &survey.damaged {
            store.set_aside(file)?;
        }
        Ok((store, survey))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The lock.
    pub fn lock_file(&self) -> &Lock {
        &self.lock
    }

    /// A container's record; `None` if it was never written or is forgotten.
    ///
    /// # Errors
    /// It cannot be read; if it is damaged it is set aside.
    pub fn record(&self, entry: &Entry) -> Result<Option<Record>> {
        let path = container_file(&self.dir, &entry.id, &entry.bundle);
        read_one(&path).map_err(|error| error.also(self.set_aside(&path).err()))
    }

    /// Records a container before its steps are taken.
    ///
    /// # Errors
    /// A file cannot be written, as on a full disk.
    pub fn begin(&mut self, record: &Record) -> Result<()> {
        let unfinished = Record { done: false, ..record.clone() };
        self.index.came(Entry::from(&unfinished))?;
        self.write(&container_file(&self.dir, &record.id, &record.bundle), &unfinished)
    }

    /// Records that all of a container's steps have been taken.
    ///
    /// # Errors
    /// A file cannot be written, as on a full disk.
    pub fn finish(&mut self, record: &Record) -> Result<()> {
        let finished = Record { done: true, ..record.clone() };
        self.write(&container_file(&self.dir, &record.id, &record.bundle), &finished)?;
        self.index.done(&record.id, &record.bundle)
    }

    /// Records that a container is to be undone by the next run.
    ///
    /// # Errors
    /// A file cannot be written, as on a full disk.
    pub fn reopen(&mut self, entry: &Entry) -> Result<()> {
        self.index.came(Entry { done: false, ..entry.clone() })?;
        match self.record(entry)? {
            Some(record) => {
                let unfinished = Record { done: false, ..record };
                self.write(&container_file(&self.dir, &entry.id, &entry.bundle), &unfinished)
            }
            None => Ok(()),
        }
    }

    /// Forgets a container.
    ///
    /// # Errors
    /// A file cannot be removed or written; a record that is not there is fine.
    pub fn forget(&mut self, id: &str, bundle: &Path) -> Result<()> {
        remove(&container_file(&self.dir, id, bundle))?;
        self.index.gone(id, bundle)
    }

    /// Writes a network's record.
    ///
    /// # Errors
    /// The file cannot be written, as on a full disk.
    pub fn put_network(&self, network: &Network) -> Result<()> {
        self.write(&network_file(&self.dir, &network.bridge), network)
    }

    /// Forgets a network.
    ///
    /// # Errors
    /// The file cannot be removed; one that is not there is fine.
    pub fn forget_network(&self, bridge: &Iface) -> Result<()> {
        remove(&network_file(&self.dir, bridge))
    }

    /// Forgets that anything was ever remembered, once nothing is.
    ///
    /// # Errors
    /// The index cannot be removed.
    pub fn forget_all(&self) -> Result<()> {
        remove(&self.dir.join("index"))
    }

    fn set_aside(&self, file: &Path) -> Result<()> {
        let aside = self.dir.join("damaged");
        fs::create_dir_all(&aside).doing(|| format!("create {}", aside.display()))?;
        let name = file.file_name().unwrap_or(file.as_os_str());
        fs::rename(file, aside.join(name)).doing(|| format!("set aside {}", file.display()))
    }

    /// Only one process writes at a time, so one name for the unfinished file is enough.
    fn write(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let operation = || format!("write record {}", path.display());
        let text = serde_json::to_vec_pretty(value).doing(operation)?;
        let unfinished = self.dir.join(UNFINISHED);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&unfinished)
            .doing(operation)?;
        file.write_all(&text).doing(operation)?;
        fs::rename(&unfinished, path).doing(operation)
    }
}

fn survey_of(dir: &Path, containers: Vec<Entry>) -> Result<Survey> {
    let mut damaged = Vec::new();
    let networks = read_all(&dir.join("networks"), &mut damaged)?;
    Ok(Survey { networks, containers, damaged })
}

fn create_directory(dir: &Path) -> Result<()> {
    if fs::symlink_metadata(dir).is_ok() {
        return Ok(());
    }
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.doing(|| format!("create state directory {}", dir.display()))
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
    dir.join("containers").join(format!("{shown}@{:016x}.json", journal::key(id, bundle)))
}

fn network_file(dir: &Path, bridge: &Iface) -> PathBuf {
    dir.join("networks").join(format!("{bridge}.json"))
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

/// One record; `None` if it is not there, as when its owner has detached meanwhile.
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
