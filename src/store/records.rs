//! Records as files: their names, how they are read, and how they are written.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::directory::{check_directory, private};
use super::index::Entry;
use super::record::{Network, Record, Survey};
use super::{journal, leases};
use crate::config::value::Iface;
use crate::error::{Doing, Error, Result};

/// A record that is being written. The next run removes what a killed one left of it.
pub(super) const UNFINISHED: &str = "unfinished";

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
        match fs::symlink_metadata(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            found => {
                check_directory(dir, &found.doing(|| format!("use state directory {}", dir.display()))?)?
            }
        }
        let mut damaged = Vec::new();
        let mut networks = read_all(&dir.join("networks"), &mut damaged)?;
        // Without them the next search begins at the beginning.
        let _ = leases::read_cursors(dir, &mut networks);
        Ok(Self { networks, containers: read_all(&dir.join("containers"), &mut damaged)?, damaged })
    }

    /// The same as planning sees it.
    pub fn survey(self) -> Survey {
        let containers = self.containers.iter().map(Entry::from).collect();
        Survey { networks: self.networks, containers, damaged: self.damaged, rest: None }
    }
}

/// The file of a container's record. Ids are checked when they are read, so the name stays in
/// its directory; the hash tells bundles apart.
pub(super) fn container_file(dir: &Path, id: &str, bundle: &Path) -> PathBuf {
    let shown = id.get(..id.len().min(MAX_NAME)).unwrap_or_default();
    dir.join("containers").join(format!("{shown}@{:016x}.json", journal::key(id, bundle)))
}

pub(super) fn network_file(dir: &Path, bridge: &Iface) -> PathBuf {
    dir.join("networks").join(format!("{bridge}.json"))
}

pub(super) fn read_all<T: DeserializeOwned>(
    dir: &Path,
    damaged: &mut Vec<(PathBuf, Error)>,
) -> Result<Vec<T>> {
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
pub(super) fn read_one<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let operation = || format!("read record {}", path.display());
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => serde_json::from_slice(&text.doing(operation)?).map(Some).doing(operation),
    }
}

/// Only one process writes at a time, so one name for the unfinished file is enough.
pub(super) fn write(dir: &Path, path: &Path, value: &impl Serialize) -> Result<()> {
    let operation = || format!("write record {}", path.display());
    let text = serde_json::to_vec_pretty(value).doing(operation)?;
    let unfinished = dir.join(UNFINISHED);
    let mut file = private().create(true).truncate(true).open(&unfinished).doing(operation)?;
    file.write_all(&text).doing(operation)?;
    fs::rename(&unfinished, path).doing(operation)
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).doing(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
