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
//! names/BRIDGE/hosts           what all containers on the bridge have mounted, and resolv.conf
//! damaged/…                    records that could not be read, set aside for a human
//! ```

pub mod catalogue;
mod directory;
pub mod index;
pub mod journal;
mod leases;
mod lock;
mod meeting;
pub mod record;
mod records;
pub mod rest;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::value::Iface;
use crate::error::{Doing, Error, Result};
use catalogue::{Catalogue, Row};
use directory::use_directory;
use index::{Contents, Entry, Index};
use leases::LeaseFile;
use lock::Lock;
pub use meeting::Wish;
use record::{Network, Record, Survey};
pub use records::Records;
use records::{UNFINISHED, container_file, network_file, read_all, read_one, remove};

/// The state directory, locked until this is dropped.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    index: Index,
    /// `None` if it cannot be used: then everyone is read.
    catalogue: Option<Catalogue>,
    lock: Lock,
}

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
        let mut networks: Vec<Network> = read_all(&dir.join("networks"), &mut damaged)?;
        let leases = leases::read_cursors(dir, &mut networks);
        let index = Index::open(&dir.join("index"))?;
        let catalogue =
            index.as_ref().and_then(|index| Catalogue::open(&dir.join("catalogue"), index.length()));
        let current = |known: &Catalogue| !index::is_mostly_past(known.events(), known.len());
        let kept = catalogue.filter(|known| leases.is_ok() && damaged.is_empty() && current(known));
        let (store, containers, rest) = match (index, kept) {
            (Some(index), Some(catalogue)) => {
                let rest = catalogue.rest();
                let store = Self { dir: dir.to_path_buf(), index, catalogue: Some(catalogue), lock };
                (store, Vec::new(), Some(rest))
            }
            (index, _) => {
                let (store, containers) = Self::read_all(dir, index, lock, &networks, &mut damaged)?;
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
        networks: &[Network],
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
        store.catalogue = store.catalogue_of(networks, &entries, events).ok();
        if store.catalogue.is_none() {
            remove(&dir.join("catalogue"))?;
        }
        Ok((store, entries.into_iter().map(|(_, entry)| entry).collect()))
    }

    fn catalogue_of(
        &self,
        networks: &[Network],
        entries: &[(u64, Entry)],
        events: usize,
    ) -> io::Result<Catalogue> {
        leases::clear(&self.dir)?;
        for network in networks {
            LeaseFile::open(&self.dir, &network.bridge)?;
        }
        for (_, entry) in entries {
            mark(&self.dir, entry, true)?;
        }
        Catalogue::create(&self.dir.join("catalogue"), entries, events as u64)
    }

    /// Says that everything is written: what every run does in the end, unless it was killed.
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

    /// The containers that rows are about, each once.
    fn entries(&self, rows: impl IntoIterator<Item = Row>) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        for row in rows {
            let entry = self.entry(&row)?;
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        Some(entries)
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

    /// Changes the catalogue. What fails there fails nobody: the next run makes it anew.
    fn note(&mut self, change: impl FnOnce(&mut Catalogue, &Path) -> io::Result<()>) {
        if let Some(catalogue) = &mut self.catalogue
            && change(catalogue, &self.dir).is_err()
        {
            self.catalogue = None;
            let _ = fs::remove_file(self.dir.join("catalogue"));
        }
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
        let entry = Entry::from(&unfinished);
        self.note(|catalogue, _| catalogue.open_for_change());
        let place = self.index.came(&entry)?;
        self.note(|catalogue, dir| {
            catalogue.add(&entry, place)?;
            mark(dir, &entry, true)
        });
        records::write(&self.dir, &container_file(&self.dir, &record.id, &record.bundle), &unfinished)
    }

    /// Records that all of a container's steps have been taken, and which address its network
    /// leased last.
    ///
    /// # Errors
    /// A file cannot be written, as on a full disk.
    pub fn finish(&mut self, record: &Record, network: Option<&Network>) -> Result<()> {
        let finished = Record { done: true, ..record.clone() };
        records::write(&self.dir, &container_file(&self.dir, &record.id, &record.bundle), &finished)?;
        let key = journal::key(&record.id, &record.bundle);
        self.index.done(key)?;
        self.note(|catalogue, dir| {
            catalogue.change(key, |row| row.done = true)?;
            match network.and_then(|network| Some((network, network.cursor?))) {
                Some((network, cursor)) => {
                    LeaseFile::open(dir, &network.bridge)?.keep_cursor(network.gateway, cursor)
                }
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
                records::write(&self.dir, &container_file(&self.dir, &entry.id, &entry.bundle), &unfinished)
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
        self.note(|catalogue, dir| {
            catalogue.open_for_change()?;
            LeaseFile::open(dir, &network.bridge).map(drop)
        });
        records::write(&self.dir, &network_file(&self.dir, &network.bridge), network)
    }

    /// Forgets a network.
    ///
    /// # Errors
    /// The file cannot be removed; one that is not there is fine.
    pub fn forget_network(&self, bridge: &Iface) -> Result<()> {
        remove(&leases::path(&self.dir, bridge))?;
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
}

/// Marks the addresses of a container as leased, or as free.
fn mark(dir: &Path, entry: &Entry, leased: bool) -> io::Result<()> {
    let Some(bridge) = &entry.bridge else { return Ok(()) };
    let file = LeaseFile::open(dir, bridge)?;
    entry.addresses.iter().try_for_each(|address| file.mark(*address, leased))
}
