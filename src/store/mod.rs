//! The state directory: one lock, one file for each container and each network, and an index.
//!
//! The only writer of the directory. A record is written to a temporary file and renamed, so a
//! reader without the lock never sees half of one. The lock file is never renamed or unlinked.
//! Nothing is synced to a disk: what is recorded here does not outlive the kernel's memory
//! either.
//!
//! ```text
//! lock                         held for the whole of every run that changes something
//! index                        of all containers what planning and reaping need to know
//! catalogue, leases/BRIDGE     the same, so that a run need not read about everyone
//! containers/ID@HASH.json      HASH is of id and bundle, which only together are unique
//! networks/BRIDGE.json
//! damaged/…                    records that could not be read, set aside for a human
//! ```

pub mod catalogue;
pub mod index;
pub mod journal;
mod leases;
mod lock;
pub mod record;
pub mod rest;

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::publish::Publish;
use crate::config::value::Iface;
use crate::error::{Doing, Error, Result};
use catalogue::{Catalogue, Row};
use index::{Contents, Entry, Index};
use ipnetwork::IpNetwork;
use leases::LeaseFile;
use lock::Lock;
use record::{Network, Record, Survey};
use rest::Rest;

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
        match fs::symlink_metadata(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            found => {
                check_directory(dir, &found.doing(|| format!("use state directory {}", dir.display()))?)?
            }
        }
        let mut damaged = Vec::new();
        Ok(Self {
            networks: read_networks(dir, &mut damaged)?,
            containers: read_all(&dir.join("containers"), &mut damaged)?,
            damaged,
        })
    }

    /// The same as planning sees it.
    pub fn survey(self) -> Survey {
        let containers = self.containers.iter().map(Entry::from).collect();
        Survey { networks: self.networks, containers, damaged: self.damaged, rest: None }
    }
}

/// The state directory, locked until this is dropped.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    index: Index,
    /// `None` if it cannot be used: then everyone is read.
    catalogue: Option<Catalogue>,
    lock: Lock,
}

/// What a newcomer wants that others may have.
#[derive(Debug)]
pub struct Wish<'a> {
    /// As in [`Record`].
    pub id: &'a str,
    /// As in [`Record`].
    pub bundle: &'a Path,
    /// The inode of its network namespace.
    pub netns: u64,
    /// As in [`Network`].
    pub bridge: &'a Iface,
    /// As in [`Network`].
    pub gateway: IpNetwork,
    /// As in [`Network`].
    pub cursor: Option<IpAddr>,
    /// The address that it must have, if it is to be that one.
    pub static_ip: Option<IpAddr>,
    /// The ports that it asks for.
    pub publish: &'a [Publish],
}

/// As many free addresses as must be known of, since the bridge may have some of them itself.
const ROOM: usize = 32;

impl Store {
    /// Creates the directory if need be, waits, for a bounded time, for the lock, and reads
    /// what every run needs. What is damaged is moved out of the way of the next run.
    ///
    /// The survey knows of nobody yet, unless all had to be read to make the catalogue anew:
    /// see [`Self::meet`] and [`Self::everyone`].
    ///
    /// # Errors
    /// The directory cannot be made or read, belongs to somebody else, can be written by
    /// others, or is a symbolic link; or another run holds the lock for too long.
    pub fn lock(dir: &Path) -> Result<(Self, Survey)> {
        use_directory(dir)?;
        for below in ["containers", "networks", "leases"] {
            use_directory(&dir.join(below))?;
        }
        let lock = Lock::acquire(&dir.join("lock"))?;
        let mut damaged = Vec::new();
        let networks = read_networks(dir, &mut damaged)?;
        let index = Index::open(&dir.join("index"))?;
        let catalogue =
            index.as_ref().and_then(|index| Catalogue::open(&dir.join("catalogue"), index.length()));
        let kept = catalogue.filter(|known| !index::is_mostly_past(known.events(), known.len()));
        let (store, containers, rest) = match (index, kept) {
            (Some(index), Some(catalogue)) => {
                let rest = Rest { shares: catalogue.shares().clone(), ..Rest::default() };
                let store = Self { dir: dir.to_path_buf(), index, catalogue: Some(catalogue), lock };
                (store, Vec::new(), Some(rest))
            }
            (index, _) => {
                let (store, containers) = Self::read_all(dir, index, lock, &mut damaged)?;
                (store, containers, None)
            }
        };
        for (file, _) in &damaged {
            store.set_aside(file)?;
        }
        Ok((store, Survey { networks, containers, damaged, rest }))
    }

    /// The store after a run that was killed, or with too long a past: reads everyone, and
    /// makes anew whatever is not the truth itself.
    fn read_all(
        dir: &Path,
        index: Option<Index>,
        lock: Lock,
        damaged: &mut Vec<(PathBuf, Error)>,
    ) -> Result<(Self, Vec<Entry>)> {
        for half_written in [UNFINISHED, index::UNFINISHED] {
            remove(&dir.join(half_written))?;
        }
        let path = dir.join("index");
        let read = match index {
            Some(mut index) => index.read()?.map(|contents| (index, contents)),
            None => None,
        };
        let (index, Contents { entries, events }) = match read {
            Some((index, contents)) if !index::is_mostly_past(contents.events, contents.entries.len()) => {
                (index, contents)
            }
            old => {
                let entries: Vec<Entry> = match old {
                    Some((_, contents)) => contents.entries.into_iter().map(|(_, entry)| entry).collect(),
                    None => {
                        let records: Vec<Record> = read_all(&dir.join("containers"), damaged)?;
                        records.iter().map(Entry::from).collect()
                    }
                };
                let mut index = Index::create(&path, &entries)?;
                let contents = index.read()?.unwrap_or_default();
                (index, contents)
            }
        };
        let mut store = Self { dir: dir.to_path_buf(), index, catalogue: None, lock };
        store.catalogue = store.catalogue_of(&entries, events).ok();
        if store.catalogue.is_none() {
            remove(&dir.join("catalogue"))?;
        }
        Ok((store, entries.into_iter().map(|(_, entry)| entry).collect()))
    }

    fn catalogue_of(&self, entries: &[(u64, Entry)], events: usize) -> io::Result<Catalogue> {
        leases::clear(&self.dir)?;
        for (_, entry) in entries {
            mark(&self.dir, entry, true)?;
        }
        Catalogue::create(&self.dir.join("catalogue"), entries, events as u64)
    }

    /// Says that everything is written: what every run does that was not killed.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn close(&mut self) {
        let length = self.index.length();
        self.note(|catalogue, _| catalogue.close(length));
    }

    /// What is known at a glance of those that this run is to look at; `None` if all must be
    /// read, because the catalogue cannot be used or tells of another boot.
    pub fn sweep(&mut self, boot_id: &str) -> Option<Vec<Row>> {
        let catalogue = self.catalogue.as_mut().filter(|catalogue| catalogue.is_of(boot_id))?;
        catalogue.sweep().ok()
    }

    /// The container that a row is about.
    pub fn entry(&self, row: &Row) -> Option<Entry> {
        self.index.entry(row.at).map(|entry| Entry { done: row.done, ..entry })
    }

    /// Everyone.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn everyone(&mut self) -> Result<Vec<Entry>> {
        let contents = self.index.read()?.unwrap_or_default();
        Ok(contents.entries.into_iter().map(|(_, entry)| entry).collect())
    }

    /// The container `id` in `bundle`; `None` if everyone must be read to know.
    pub fn container(&self, id: &str, bundle: &Path) -> Option<Option<Entry>> {
        match self.catalogue.as_ref()?.by_key(journal::key(id, bundle)).ok()? {
            Some(row) => self.entry(&row).map(Some),
            None => Some(None),
        }
    }

    /// Those who share a namespace with any of `entries`, themselves among them, and what is
    /// known of the rest; `None` if everyone must be read.
    pub fn mates(&self, entries: &[Entry]) -> Option<(Vec<Entry>, Rest)> {
        let catalogue = self.catalogue.as_ref()?;
        let mut mates: Vec<Entry> = Vec::new();
        for entry in entries {
            for row in catalogue.by_namespace(entry.process.netns).ok()? {
                let mate = self.entry(&row)?;
                if !mates.contains(&mate) {
                    mates.push(mate);
                }
            }
        }
        Some((mates, Rest { shares: catalogue.shares().clone(), ..Rest::default() }))
    }

    /// Those whom a newcomer could be mistaken for or share a namespace with, and what is known
    /// of the rest; `None` if anyone else may be in its way, and everyone must be read.
    pub fn meet(&self, wish: &Wish<'_>) -> Option<(Vec<Entry>, Rest)> {
        let catalogue = self.catalogue.as_ref()?;
        let mut rows = catalogue.by_namespace(wish.netns).ok()?;
        rows.extend(catalogue.by_key(journal::key(wish.id, wish.bundle)).ok()?);
        let mut near: Vec<Entry> = Vec::new();
        for row in &rows {
            let entry = self.entry(row)?;
            if !near.contains(&entry) {
                near.push(entry);
            }
        }
        let mut rest = Rest { shares: catalogue.shares().clone(), ..Rest::default() };
        for publish in wish.publish {
            if rest.ports.iter().all(|(protocol, _)| *protocol != publish.protocol) {
                rest.ports.push((publish.protocol, catalogue.ports(publish.protocol).ok()?));
            }
            if publish.host.is_some_and(|host| rest.publishes(&publish.at(host)).is_some()) {
                return None;
            }
        }
        let leases = LeaseFile::part(&self.dir, wish.bridge, wish.gateway, wish.cursor).ok()?;
        if wish.static_ip.is_some_and(|wanted| leases.has(wanted)) || !leases.has_room(ROOM) {
            return None;
        }
        rest.leases = Some(leases);
        Some((near, rest))
    }

    /// Changes the catalogue. What fails there fails nobody: the next run makes it anew.
    fn note(&mut self, change: impl FnOnce(&mut Catalogue, &Path) -> io::Result<()>) {
        if let Some(catalogue) = &mut self.catalogue
            && change(catalogue, &self.dir).is_err()
        {
            self.catalogue = None;
            let _ = fs::remove_file(self.dir.join("catalogue"));
        }
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
        let entry = Entry::from(&unfinished);
        self.note(|catalogue, _| catalogue.open_for_change());
        let place = self.index.came(&entry)?;
        self.note(|catalogue, dir| {
            catalogue.add(&entry, place)?;
            mark(dir, &entry, true)
        });
        self.write(&container_file(&self.dir, &record.id, &record.bundle), &unfinished)
    }

    /// Records that all of a container's steps have been taken, and which address its network
    /// leased last.
    ///
    /// # Errors
    /// A file cannot be written, as on a full disk.
    pub fn finish(&mut self, record: &Record, network: &Network) -> Result<()> {
        let finished = Record { done: true, ..record.clone() };
        self.write(&container_file(&self.dir, &record.id, &record.bundle), &finished)?;
        let key = journal::key(&record.id, &record.bundle);
        self.index.done(key)?;
        self.note(|catalogue, dir| {
            catalogue.change(key, |row| row.done = true)?;
            match network.cursor {
                Some(cursor) => LeaseFile::open(dir, &network.bridge)?.keep_cursor(network.gateway, cursor),
                None => Ok(()),
            }
        });
        Ok(())
    }

    /// Records that a container is to be undone by the next run.
    ///
    /// # Errors
    /// A file cannot be written, as on a full disk.
    pub fn reopen(&mut self, entry: &Entry) -> Result<()> {
        self.note(|catalogue, _| catalogue.open_for_change());
        let place = self.index.came(&Entry { done: false, ..entry.clone() })?;
        let key = journal::key(&entry.id, &entry.bundle);
        self.note(|catalogue, _| catalogue.change(key, |row| (row.at, row.done) = (place, false)));
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
    pub fn forget(&mut self, entry: &Entry) -> Result<()> {
        self.note(|catalogue, _| catalogue.open_for_change());
        remove(&container_file(&self.dir, &entry.id, &entry.bundle))?;
        self.index.gone(journal::key(&entry.id, &entry.bundle))?;
        self.note(|catalogue, dir| {
            catalogue.remove(entry)?;
            // The containers of a pod have one address.
            let alone = catalogue.by_namespace(entry.process.netns)?.is_empty();
            if alone { mark(dir, entry, false) } else { Ok(()) }
        });
        Ok(())
    }

    /// Writes a network's record.
    ///
    /// # Errors
    /// The file cannot be written, as on a full disk.
    pub fn put_network(&mut self, network: &Network) -> Result<()> {
        self.note(|catalogue, _| catalogue.open_for_change());
        self.write(&network_file(&self.dir, &network.bridge), network)
    }

    /// Forgets a network.
    ///
    /// # Errors
    /// The file cannot be removed; one that is not there is fine.
    pub fn forget_network(&self, bridge: &Iface) -> Result<()> {
        leases::forget(&self.dir, bridge).doing(|| format!("forget the leases of {bridge}"))?;
        remove(&network_file(&self.dir, bridge))
    }

    /// Forgets that anything was ever remembered, once nothing is.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn forget_all(&mut self) -> Result<()> {
        self.catalogue = None;
        remove(&self.dir.join("catalogue"))?;
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

/// Every network, with the address that was leased last.
fn read_networks(dir: &Path, damaged: &mut Vec<(PathBuf, Error)>) -> Result<Vec<Network>> {
    let mut networks: Vec<Network> = read_all(&dir.join("networks"), damaged)?;
    for network in &mut networks {
        network.cursor = LeaseFile::cursor(dir, network.gateway, &network.bridge);
    }
    Ok(networks)
}

/// Marks the addresses of a container as leased, or as free.
fn mark(dir: &Path, entry: &Entry, leased: bool) -> io::Result<()> {
    let file = LeaseFile::open(dir, &entry.bridge)?;
    entry.addresses.iter().try_for_each(|address| file.mark(*address, leased))
}

/// Makes a directory if it is not there. What is in it decides what root does next: nobody
/// else may write there.
fn use_directory(dir: &Path) -> Result<()> {
    if let Ok(found) = fs::symlink_metadata(dir) {
        return check_directory(dir, &found);
    }
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.doing(|| format!("create state directory {}", dir.display()))
}

fn check_directory(dir: &Path, found: &Metadata) -> Result<()> {
    let operation = || format!("use state directory {}", dir.display());
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
