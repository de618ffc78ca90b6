//! The journal's form: events in postcard, each in a frame with its length and a checksum. Pure.
//!
//! A run that is killed while it appends leaves half a frame at the end, which says nothing.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::index::Entry;

/// The first bytes of the file; another number for another form of [`Event`].
const MAGIC: &[u8; 8] = b"netns-03";

#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "most are of this kind, and each is gone at once")]
pub(super) enum Event {
    Came(Entry),
    Done(u64),
    Gone(u64),
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Those who came and are not gone.
    pub entries: Vec<Entry>,
    /// Where in the journal each of them came.
    pub places: Vec<u64>,
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
        entries.apply(event, (bytes.len() - rest.len()) as u64);
        events += 1;
        rest = next;
    }
    let Live { list, places, .. } = entries;
    Some(Replay { entries: list, places, events, whole: bytes.len() - rest.len() })
}

/// The entry of the frame that `bytes` begin with; `None` if it is no whole frame, or no entry.
pub(super) fn entry(bytes: &[u8]) -> Option<Entry> {
    match first(bytes)? {
        (Event::Came(entry), _) => Some(entry),
        _ => None,
    }
}

/// A journal of `entries` alone.
///
/// # Errors
/// An entry is larger than 4 GiB.
pub fn of(entries: &[Entry]) -> postcard::Result<Vec<u8>> {
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
    places: Vec<u64>,
    positions: HashMap<u64, usize>,
}

impl Live {
    fn apply(&mut self, event: Event, place: u64) {
        match event {
            Event::Came(entry) => {
                let key = key(&entry.id, &entry.bundle);
                let at = *self.positions.entry(key).or_insert(self.list.len());
                match (self.list.get_mut(at), self.places.get_mut(at)) {
                    (Some(known), Some(known_place)) => (*known, *known_place) = (entry, place),
                    _ => {
                        self.list.push(entry);
                        self.places.push(place);
                    }
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
                    self.places.swap_remove(at);
                    if let Some(moved) = self.list.get(at) {
                        self.positions.insert(key(&moved.id, &moved.bundle), at);
                    }
                }
            }
        }
    }
}

pub(super) fn encode(event: &Event) -> postcard::Result<Vec<u8>> {
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
    use std::collections::BTreeMap;

    use super::super::index::tests::entry;
    use super::*;
    use proptest::prelude::*;

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
            let again = replay(&of(&read.entries).unwrap()).unwrap();
            prop_assert_eq!(again.entries, read.entries);
        }

        #[test]
        fn a_flipped_bit_costs_no_more_than_what_follows(at in any::<usize>(), bit in 0u32..8) {
            let mut bytes = of(&[entry("a"), entry("b"), entry("c")]).unwrap();
            let at = MAGIC.len() + at % (bytes.len() - MAGIC.len());
            bytes[at] ^= 1u8 << bit;
            let one = of(&[entry("a")]).unwrap().len() - MAGIC.len();
            let ids: Vec<_> = replay(&bytes).unwrap().entries.into_iter().map(|entry| entry.id).collect();
            prop_assert_eq!(ids, &["a", "b", "c"][..(at - MAGIC.len()) / one]);
        }
    }
}
