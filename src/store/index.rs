//! The index: what every run must know of every container, in one file that is read at once.
//!
//! A journal in postcard: what has come and what has gone, each in a frame with its length and
//! a checksum, so that coming and going cost one append however many are up. It is written
//! before a container's record and after the record is gone: an entry without a record is
//! nothing, a record without an entry cannot be. An index that is lost or of another version is
//! made again from the records.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::record::Record;
use crate::config::publish::Published;
use crate::config::value::Iface;
use crate::error::{Doing, Result};
use crate::firewall::Rule;
use crate::kernel::process::Process;
use crate::plan::Step;

/// The first bytes of the file; another number for another form of [`Event`].
const MAGIC: &[u8; 8] = b"netns-01";

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
    pub bridge: Iface,
    /// As in [`Record`].
    pub addresses: Vec<IpNetwork>,
    /// As in [`Record`].
    pub published: Vec<Published>,
    /// Those of the record's steps that others may hold too.
    pub shared: Vec<Step>,
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
            done: record.done,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Event {
    Came(Entry),
    Done(u64),
    Gone(u64),
}

/// The open journal.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    file: File,
    /// Events in the file.
    events: usize,
}

impl Index {
    /// Reads the journal; `None` if there is none that can be used.
    pub(super) fn open(path: &Path) -> Result<Option<(Self, Vec<Entry>)>> {
        let operation = || format!("read index {}", path.display());
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.doing(operation)?,
        };
        let Some(Replay { entries, events, whole }) = replay(&bytes) else {
            return Ok(None);
        };
        let file = OpenOptions::new()
            .append(true)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path)
            .doing(operation)?;
        if whole < bytes.len() {
            // Whoever wrote this was killed in the middle of it, before anything else.
            file.set_len(whole as u64).doing(operation)?;
        }
        Ok(Some((Self { path: path.to_path_buf(), file, events }, entries)))
    }

    /// Writes a journal of `entries` alone.
    pub(super) fn create(path: &Path, entries: &[Entry]) -> Result<Self> {
        let operation = || format!("write index {}", path.display());
        let bytes = journal(entries).doing(operation)?;
        let unfinished = path.with_file_name(UNFINISHED);
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&unfinished)
            .doing(operation)?;
        file.set_len(0).doing(operation)?;
        file.write_all(&bytes).doing(operation)?;
        fs::rename(&unfinished, path).doing(operation)?;
        Ok(Self { path: path.to_path_buf(), file, events: entries.len() })
    }

    /// A container is coming: its steps are about to be taken.
    pub(super) fn came(&mut self, entry: Entry) -> Result<()> {
        self.append(&Event::Came(entry))
    }

    /// All steps of a container have been taken.
    pub(super) fn done(&mut self, id: &str, bundle: &Path) -> Result<()> {
        self.append(&Event::Done(key(id, bundle)))
    }

    /// A container is gone, and its record too.
    pub(super) fn gone(&mut self, id: &str, bundle: &Path) -> Result<()> {
        self.append(&Event::Gone(key(id, bundle)))
    }

    /// Whether most of the file is about containers that are gone.
    pub(super) fn is_mostly_past(&self, containers: usize) -> bool {
        self.events > 2 * (containers + SLACK)
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        let operation = || format!("write index {}", self.path.display());
        let bytes = encode(event).doing(operation)?;
        self.file.write_all(&bytes).doing(operation)?;
        self.events += 1;
        Ok(())
    }
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Those who came and are not gone.
    pub entries: Vec<Entry>,
    /// How many events there are.
    pub events: usize,
    /// How many bytes of the journal are whole; the rest is a torn write.
    pub whole: usize,
}

/// Reads a journal up to the first frame that is not whole; `None` for another version.
pub fn replay(bytes: &[u8]) -> Option<Replay> {
    let mut rest = bytes.strip_prefix(MAGIC.as_slice())?;
    let (mut entries, mut events) = (Live::default(), 0);
    while let Some((event, next)) = first(rest) {
        entries.apply(event);
        events += 1;
        rest = next;
    }
    Some(Replay { entries: entries.list, events, whole: bytes.len() - rest.len() })
}

/// A journal of `entries` alone.
///
/// # Errors
/// An entry is larger than 4 GiB.
pub fn journal(entries: &[Entry]) -> postcard::Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    for entry in entries {
        bytes.extend(encode(&Event::Came(entry.clone()))?);
    }
    Ok(bytes)
}

/// The entries that are left while a journal is read.
#[derive(Default)]
struct Live {
    list: Vec<Entry>,
    positions: HashMap<u64, usize>,
}

impl Live {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Came(entry) => {
                let key = key(&entry.id, &entry.bundle);
                if let Some(known) = self.positions.get(&key).and_then(|at| self.list.get_mut(*at)) {
                    *known = entry;
                } else {
                    self.positions.insert(key, self.list.len());
                    self.list.push(entry);
                }
            }
            Event::Done(key) => {
                if let Some(entry) = self.positions.get(&key).and_then(|at| self.list.get_mut(*at)) {
                    entry.done = true;
                }
            }
            Event::Gone(gone) => {
                if let Some(at) = self.positions.remove(&gone) {
                    self.list.swap_remove(at);
                    if let Some(moved) = self.list.get(at) {
                        self.positions.insert(key(&moved.id, &moved.bundle), at);
                    }
                }
            }
        }
    }
}

fn encode(event: &Event) -> postcard::Result<Vec<u8>> {
    frame(&postcard::to_allocvec(event)?)
}

/// A frame: length and checksum of the payload, four bytes each, little-endian, and the payload.
///
/// # Errors
/// The payload is larger than 4 GiB.
pub fn frame(payload: &[u8]) -> postcard::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend(checksum(payload).to_le_bytes());
    frame.extend(payload);
    Ok(frame)
}

/// The first event and what comes after it; `None` at the end, or where a frame is not whole.
fn first(bytes: &[u8]) -> Option<(Event, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    if checksum(payload) != u32::from_le_bytes(*sum) {
        return None;
    }
    Some((postcard::from_bytes(payload).ok()?, rest))
}

/// The low half of FNV-1a: against torn writes, not against malice; only root writes here.
fn checksum(bytes: &[u8]) -> u32 {
    fnv(bytes.iter().copied()) as u32
}

/// FNV-1a of id and bundle: the same in every build and on every run, unlike std's hashers.
pub fn key(id: &str, bundle: &Path) -> u64 {
    fnv(id.bytes().chain([0]).chain(bundle.as_os_str().as_encoded_bytes().iter().copied()))
}

fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(id: &str) -> Entry {
        Entry {
            id: id.to_owned(),
            bundle: "/b".into(),
            process: Process { pid: 1, start_time: 2, netns: 3, boot_id: "boot".into() },
            bridge: "netns0".parse().unwrap(),
            addresses: vec!["172.19.0.2/16".parse().unwrap()],
            published: Vec::new(),
            shared: Vec::new(),
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
        let (_, entries) = Index::open(path).unwrap().unwrap();
        entries.into_iter().map(|entry| (entry.id, entry.done)).collect()
    }

    #[test]
    fn who_came_and_who_is_gone_is_read_back() {
        let dir = directory("events");
        let path = dir.join("index");
        let mut index = Index::create(&path, &[entry("a")]).unwrap();
        index.came(entry("b")).unwrap();
        index.came(entry("c")).unwrap();
        index.done("c", Path::new("/b")).unwrap();
        index.gone("a", Path::new("/b")).unwrap();
        assert_eq!(ids(&path), [("c".to_owned(), true), ("b".to_owned(), false)]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_torn_end_costs_only_itself() {
        let dir = directory("torn");
        let path = dir.join("index");
        let mut index = Index::create(&path, &[entry("a")]).unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        index.came(entry("b")).unwrap();
        let longer = fs::metadata(&path).unwrap().len();
        for length in whole + 1..longer {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(length).unwrap();
            let (mut index, entries) = Index::open(&path).unwrap().unwrap();
            assert_eq!(entries.len(), 1, "torn at {length}");
            index.came(entry("c")).unwrap();
            assert_eq!(ids(&path).len(), 2, "and the next is read again");
            drop(Index::create(&path, &[entry("a")]).unwrap().came(entry("b")));
        }
        fs::remove_dir_all(dir).unwrap();
    }

    proptest! {
        /// Against a model, with a journal that is cut and grows again.
        #[test]
        fn whoever_came_last_is_read_back_from_any_journal_torn_anywhere(
            events in proptest::collection::vec((0u8..6, 0u8..3), 0..40), torn in any::<u16>(),
        ) {
            let mut bytes = MAGIC.to_vec();
            let mut model: Vec<(usize, BTreeMap<String, bool>)> = vec![(bytes.len(), BTreeMap::new())];
            for (who, what) in events {
                let (id, mut now) = (who.to_string(), model.last().unwrap().1.clone());
                let key = key(&id, Path::new("/b"));
                let event = match what {
                    0 => { now.insert(id.clone(), false); Event::Came(entry(&id)) }
                    1 => { now.entry(id).and_modify(|done| *done = true); Event::Done(key) }
                    _ => { now.remove(&id); Event::Gone(key) }
                };
                bytes.extend(encode(&event).unwrap());
                model.push((bytes.len(), now));
            }
            let torn = MAGIC.len() + usize::from(torn) % (bytes.len() - MAGIC.len() + 1);
            let read = replay(&bytes[..torn]).unwrap();
            let (whole, expected) = model.iter().rev().find(|(end, _)| *end <= torn).unwrap();
            let left = read.entries.iter().map(|entry| (entry.id.clone(), entry.done)).collect();
            prop_assert_eq!((read.whole, &left), (*whole, expected));
            let again = replay(&journal(&read.entries).unwrap()).unwrap();
            prop_assert_eq!(again.entries, read.entries);
        }

        #[test]
        fn a_flipped_bit_costs_no_more_than_what_follows(at in any::<usize>(), bit in 0u32..8) {
            let mut bytes = journal(&[entry("a"), entry("b"), entry("c")]).unwrap();
            let at = MAGIC.len() + at % (bytes.len() - MAGIC.len());
            bytes[at] ^= 1u8 << bit;
            let one = journal(&[entry("a")]).unwrap().len() - MAGIC.len();
            let ids: Vec<_> = replay(&bytes).unwrap().entries.into_iter().map(|entry| entry.id).collect();
            prop_assert_eq!(ids, &["a", "b", "c"][..(at - MAGIC.len()) / one]);
        }
    }

    #[test]
    fn another_version_is_not_read() {
        let dir = directory("version");
        let path = dir.join("index");
        fs::write(&path, b"netns-00whatever").unwrap();
        assert!(Index::open(&path).unwrap().is_none());
        assert!(Index::open(&dir.join("none")).unwrap().is_none());
        fs::remove_dir_all(dir).unwrap();
    }
}
