//! The index: of every container what planning and reaping need to know, in one file.
//!
//! A [`journal`] of what has come and what has gone, so that coming and going cost one append
//! however many are up; the catalogue says where in it each container stands. It is written
//! before a container's record and after the record is gone: an entry without a record is
//! nothing, a record without an entry cannot be. An index that is lost or of another version is
//! made again from the records.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::directory::private;
use super::journal::{self, Event, Replay, encode};
use super::record::Record;
use crate::config::publish::Published;
use crate::config::value::Iface;
use crate::error::{Doing, Result};
use crate::firewall::Rule;
use crate::kernel::process::Process;
use crate::plan::Step;

/// A journal that is being written anew.
pub(super) const UNFINISHED: &str = "index.unfinished";

/// The journal is written anew when it has this many events more than containers, twice over.
const SLACK: usize = 128;

/// What planning and reaping need to know of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As in [`Record`].
    pub id: String,
    /// As in [`Record`].
    pub bundle: PathBuf,
    /// As in [`Record`].
    pub process: Process,
    /// As in [`Record`].
    pub bridge: Option<Iface>,
    /// As in [`Record`].
    pub addresses: Vec<IpNetwork>,
    /// As in [`Record`].
    pub published: Vec<Published>,
    /// Those of the record's steps that others may hold too.
    pub shared: Vec<Step>,
    /// Its slots in the bridge's `hosts` file.
    pub slots: Vec<u32>,
    /// As in [`Record`].
    pub done: bool,
}

impl Entry {
    /// The rules that publish its ports.
    pub fn published_rules(&self) -> impl Iterator<Item = Rule> {
        self.published.iter().flat_map(|published| {
            self.addresses.iter().map(|address| Rule::Publish {
                owner: self.id.clone(),
                published: *published,
                to: address.ip(),
            })
        })
    }
}

impl From<&Record> for Entry {
    fn from(record: &Record) -> Self {
        Self {
            id: record.id.clone(),
            bundle: record.bundle.clone(),
            process: record.process.clone(),
            bridge: record.bridge.clone(),
            addresses: record.addresses.clone(),
            published: record.published.clone(),
            shared: record.steps.iter().filter(|step| step.may_be_shared()).cloned().collect(),
            slots: record.steps.iter().filter_map(slot).collect(),
            done: record.done,
        }
    }
}

fn slot(step: &Step) -> Option<u32> {
    match step {
        Step::AddHost { slot, .. } => Some(*slot),
        _ => None,
    }
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    length: u64,
}

/// All of a journal.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Those who came and are not gone, each with where it came.
    pub(super) entries: Vec<(u64, Entry)>,
    /// How many events there are.
    pub(super) events: usize,
}

impl Index {
    /// Opens the journal; `None` if there is none.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let operation = || format!("open index {}", path.display());
        let file = match private().append(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file.doing(operation)?,
        };
        let length = file.metadata().doing(operation)?.len();
        Ok(Some(Self { path: path.to_path_buf(), file, length }))
    }

    /// Reads all of it, and cuts off a torn end; `None` if it is of another version.
    pub(super) fn read(&mut self) -> Result<Option<Contents>> {
        let operation = || format!("read index {}", self.path.display());
        let bytes = fs::read(&self.path).doing(operation)?;
        let Some(Replay { entries, places, events, whole }) = journal::replay(&bytes) else {
            return Ok(None);
        };
        if whole < bytes.len() {
            // Whoever wrote this was killed in the middle of it, before anything else.
            self.file.set_len(whole as u64).doing(operation)?;
        }
        self.length = whole as u64;
        Ok(Some(Contents { entries: places.into_iter().zip(entries).collect(), events }))
    }

    /// The entry that came at `place`; `None` if none did.
    pub(super) fn entry(&self, place: u64) -> Option<Entry> {
        let mut head = [0; 8];
        self.file.read_exact_at(&mut head, place).ok()?;
        let (length, _) = head.split_first_chunk::<4>()?;
        let length = u64::from(u32::from_le_bytes(*length)) + 8;
        if place.checked_add(length)? > self.length {
            return None;
        }
        let mut frame = vec![0; length as usize];
        self.file.read_exact_at(&mut frame, place).ok()?;
        journal::entry(&frame)
    }

    /// Writes a journal of `entries` alone.
    pub(super) fn create(path: &Path, entries: &[Entry]) -> Result<Self> {
        let operation = || format!("write index {}", path.display());
        let bytes = journal::of(entries).doing(operation)?;
        let unfinished = path.with_file_name(UNFINISHED);
        let mut file = private().append(true).create(true).open(&unfinished).doing(operation)?;
        file.set_len(0).doing(operation)?;
        file.write_all(&bytes).doing(operation)?;
        fs::rename(&unfinished, path).doing(operation)?;
        Ok(Self { path: path.to_path_buf(), file, length: bytes.len() as u64 })
    }

    /// How many bytes it has.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// A container is coming: its steps are about to be taken. Where that is said.
    pub(super) fn came(&mut self, entry: &Entry) -> Result<u64> {
        self.append(&Event::Came(entry.clone()))
    }

    /// All steps of a container have been taken.
    pub(super) fn done(&mut self, key: u64) -> Result<()> {
        self.append(&Event::Done(key)).map(drop)
    }

    /// A container is gone, and its record too.
    pub(super) fn gone(&mut self, key: u64) -> Result<()> {
        self.append(&Event::Gone(key)).map(drop)
    }

    fn append(&mut self, event: &Event) -> Result<u64> {
        let operation = || format!("write index {}", self.path.display());
        let bytes = encode(event).doing(operation)?;
        let place = self.length;
        if let Err(error) = self.file.write_all(&bytes) {
            // What comes after half a frame would never be read.
            let _ = self.file.set_len(place);
            return Err(error).doing(operation);
        }
        self.length += bytes.len() as u64;
        Ok(place)
    }
}

/// Whether most of a journal is about containers that are gone.
pub(super) fn is_mostly_past(events: usize, containers: usize) -> bool {
    events > 2 * (containers + SLACK)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::store) fn entry(id: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            bundle: "/b".into(),
            process: Process { pid: 1, start_time: 2, netns: 3, boot_id: "boot".into(), path: None },
            bridge: Some("netns0".parse().unwrap()),
            addresses: vec!["172.19.0.2/16".parse().unwrap()],
            published: Vec::new(),
            shared: Vec::new(),
            slots: Vec::new(),
            done: false,
        }
    }

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("netns-index-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn ids(path: &Path) -> Vec<(String, bool)> {
        let mut index = Index::open(path).unwrap().unwrap();
        let contents = index.read().unwrap().unwrap();
        for (place, entry) in &contents.entries {
            assert_eq!(index.entry(*place).unwrap().id, entry.id, "found where it came");
        }
        contents.entries.into_iter().map(|(_, entry)| (entry.id, entry.done)).collect()
    }

    #[test]
    fn who_came_and_who_is_gone_is_read_back() {
        let dir = directory("events");
        let path = dir.join("index");
        let mut index = Index::create(&path, &[entry("a")]).unwrap();
        index.came(&entry("b")).unwrap();
        index.came(&entry("c")).unwrap();
        index.done(journal::key("c", Path::new("/b"))).unwrap();
        index.gone(journal::key("a", Path::new("/b"))).unwrap();
        assert_eq!(ids(&path), [("c".to_owned(), true), ("b".to_owned(), false)]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_torn_end_costs_only_itself() {
        let dir = directory("torn");
        let path = dir.join("index");
        let mut index = Index::create(&path, &[entry("a")]).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        index.came(&entry("b")).unwrap();
        let longer = fs::metadata(&path).unwrap().len();
        for length in whole + 1..longer {
            let file = private().open(&path).unwrap();
            file.set_len(length).unwrap();
            let mut index = Index::open(&path).unwrap().unwrap();
            assert_eq!(index.read().unwrap().unwrap().entries.len(), 1, "torn at {length}");
            index.came(&entry("c")).unwrap();
            assert_eq!(ids(&path).len(), 2, "and the next is read again");
            drop(Index::create(&path, &[entry("a")]).unwrap().came(&entry("b")));
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn another_version_is_not_read() {
        let dir = directory("version");
        let path = dir.join("index");
        fs::write(&path, b"netns-00whatever").unwrap();
        assert!(Index::open(&path).unwrap().unwrap().read().unwrap().is_none());
        assert!(Index::open(&dir.join("none")).unwrap().is_none());
        fs::remove_dir_all(dir).unwrap();
    }
}
