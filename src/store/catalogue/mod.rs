//! The catalogue: what a run must know of all other containers, for a cost that does not grow
//! with them.
//!
//! A sparse file of rows of one size, found by who a container is and by where it lives, and
//! counts of what is published. The journal says all of it too, so nothing here needs to be
//! written at once: whoever changes the catalogue opens it first and closes it at the end. The
//! one that a killed run left open, or that does not belong to the journal, is made anew.

mod layout;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::directory::private;
use super::index::Entry;
use super::journal;
use super::leases::read_sparse;
use super::rest::{Counts, Rest};
use crate::config::publish::Protocol;
pub use layout::Row;
use layout::{CLOSED, HEAD, Head, ROW, ROWS};

/// The rows that one attach looks at; with more containers each attach takes the next ones. A
/// bridge takes 1,023 ports.
pub const SWEEP: u32 = 1024;

/// The open file.
#[derive(Debug)]
pub(super) struct Catalogue {
    file: File,
    head: Head,
    opened: bool,
}

impl Catalogue {
    /// Opens the catalogue of a journal of this length; `None` if there is none that can be
    /// used.
    pub(super) fn open(path: &Path, journal: u64) -> Option<Self> {
        let file = private().open(path).ok()?;
        let mut bytes = [0; HEAD];
        read_sparse(&file, &mut bytes, 0).ok()?;
        let (head, closed, of) = Head::decode(&bytes)?;
        (closed && of == journal).then_some(Self { file, head, opened: false })
    }

    /// Makes a catalogue of these entries, each with its place in a journal of `events`.
    pub(super) fn create(path: &Path, entries: &[(u64, Entry)], events: u64) -> io::Result<Self> {
        let file = private().create(true).truncate(true).open(path)?;
        let mut catalogue = Self { file, head: Head::default(), opened: true };
        for (at, entry) in entries {
            catalogue.add(entry, *at)?;
        }
        catalogue.head.events = events;
        Ok(catalogue)
    }

    /// Closes the catalogue, which now says what a journal of this length says.
    pub(super) fn close(&mut self, journal: u64) -> io::Result<()> {
        if self.opened {
            let head = self.head.encode(journal).filter(|head| head.len() <= HEAD);
            let head = head.ok_or_else(|| io::Error::other("more is shared than fits"))?;
            self.file.write_all_at(&head, 0)?;
            self.opened = false;
        }
        Ok(())
    }

    /// Says that from now on something may be half written, here, in the journal, or in a
    /// record.
    pub(super) fn open_for_change(&mut self) -> io::Result<()> {
        if !self.opened {
            self.file.write_all_at(&[0; 8], CLOSED)?;
            self.opened = true;
        }
        Ok(())
    }

    /// How many containers there are.
    pub(super) fn len(&self) -> usize {
        self.head.live as usize
    }

    /// Whether all of it, if there is anything, is about this boot.
    pub(super) fn is_of(&self, boot_id: &str) -> bool {
        self.head.live == 0 || self.head.boot == journal::key(boot_id, Path::new(""))
    }

    /// How many events the journal has.
    pub(super) fn events(&self) -> usize {
        self.head.events as usize
    }

    /// Adds a container that the journal tells of at `at`.
    pub(super) fn add(&mut self, entry: &Entry, at: u64) -> io::Result<()> {
        self.open_for_change()?;
        let row = self.row_for(entry, at)?;
        let boot = journal::key(&entry.process.boot_id, Path::new(""));
        if self.head.live > 0 && self.head.boot != boot {
            return Err(io::Error::new(ErrorKind::InvalidInput, "containers of two boots"));
        }
        self.head.boot = boot;
        self.head.events += 1;
        self.head.live += 1;
        let slot = match self.head.free {
            0 => {
                self.head.rows += 1;
                self.head.rows as u32
            }
            free => {
                self.head.free = self.row(free as u32)?.next_by_key.into();
                free as u32
            }
        };
        self.write(slot, &row)?;
        self.write_number(layout::by_key(row.key), slot)?;
        self.write_number(layout::by_namespace(row.netns), slot)?;
        self.count(entry, true)
    }

    fn row_for(&self, entry: &Entry, at: u64) -> io::Result<Row> {
        let key = journal::key(&entry.id, &entry.bundle);
        let process = &entry.process;
        Ok(Row {
            key,
            at,
            start_time: process.start_time,
            netns: process.netns,
            pid: process.pid,
            done: entry.done,
            next_by_key: self.number(layout::by_key(key))?,
            next_by_namespace: self.number(layout::by_namespace(process.netns))?,
        })
    }

    /// Says that the container of this key is done, or that the journal tells of it elsewhere.
    pub(super) fn change(&mut self, key: u64, change: impl Fn(&mut Row)) -> io::Result<()> {
        self.open_for_change()?;
        let found = self.chain(layout::by_key(key), |row| row.next_by_key)?;
        if let Some((slot, mut row)) = found.into_iter().find(|(_, row)| row.key == key) {
            change(&mut row);
            self.head.events += 1;
            self.write(slot, &row)?;
        }
        Ok(())
    }

    /// Removes a container.
    pub(super) fn remove(&mut self, entry: &Entry) -> io::Result<()> {
        let key = journal::key(&entry.id, &entry.bundle);
        let chain = self.chain(layout::by_key(key), |row| row.next_by_key)?;
        let Some((slot, row)) = chain.iter().copied().find(|(_, row)| row.key == key) else {
            return Ok(());
        };
        self.open_for_change()?;
        match chain.iter().copied().find(|(_, row)| row.next_by_key == slot) {
            Some((before, other)) => self.write(before, &Row { next_by_key: row.next_by_key, ..other })?,
            None => self.write_number(layout::by_key(key), row.next_by_key)?,
        }
        let chain = self.chain(layout::by_namespace(row.netns), |row| row.next_by_namespace)?;
        match chain.iter().copied().find(|(_, row)| row.next_by_namespace == slot) {
            Some((before, other)) => {
                self.write(before, &Row { next_by_namespace: row.next_by_namespace, ..other })?;
            }
            None => self.write_number(layout::by_namespace(row.netns), row.next_by_namespace)?,
        }
        let free = Row { pid: 0, next_by_key: self.head.free as u32, key: 0, at: 0, ..row };
        self.write(slot, &free)?;
        self.head.free = slot.into();
        self.head.events += 1;
        self.head.live = self.head.live.saturating_sub(1);
        self.count(entry, false)
    }

    /// The container of this key, if there is one.
    pub(super) fn by_key(&self, key: u64) -> io::Result<Option<Row>> {
        let chain = self.chain(layout::by_key(key), |row| row.next_by_key)?;
        Ok(chain.into_iter().map(|(_, row)| row).find(|row| row.key == key))
    }

    /// Those who live in the network namespace with this inode.
    pub(super) fn by_namespace(&self, netns: u64) -> io::Result<Vec<Row>> {
        let chain = self.chain(layout::by_namespace(netns), |row| row.next_by_namespace)?;
        Ok(chain.into_iter().map(|(_, row)| row).filter(|row| row.netns == netns).collect())
    }

    /// The next [`SWEEP`] rows.
    pub(super) fn sweep(&mut self) -> io::Result<Vec<Row>> {
        let all = self.head.rows;
        let first = if all > SWEEP.into() { self.head.turn % all } else { 0 };
        let count = (all - first).min(SWEEP.into());
        self.head.turn = first + count;
        let mut bytes = vec![0; ROW * count as usize];
        self.file.read_exact_at(&mut bytes, ROWS + first * ROW as u64)?;
        let (rows, _) = bytes.as_chunks::<ROW>();
        Ok(rows.iter().map(Row::decode).filter(Row::is_used).collect())
    }

    /// What is known of those who are not read: what they share.
    pub(super) fn rest(&self) -> Rest {
        Rest { shares: self.head.shares.clone(), ..Rest::default() }
    }

    /// How many publish each port of a protocol.
    pub(super) fn ports(&self, protocol: Protocol) -> io::Result<Counts> {
        let mut counts = vec![0; 1 << 16];
        read_sparse(&self.file, &mut counts, layout::port(protocol, 0))?;
        Ok(Counts(counts))
    }

    fn count(&mut self, entry: &Entry, more: bool) -> io::Result<()> {
        for published in &entry.published {
            let mut counts = vec![0; published.host.count() as usize];
            let at = layout::port(published.protocol, published.host.first);
            read_sparse(&self.file, &mut counts, at)?;
            for count in &mut counts {
                // Once there are many, there are many until the catalogue is made anew.
                *count = match (*count, more) {
                    (u8::MAX, _) => u8::MAX,
                    (count, true) => count + 1,
                    (count, false) => count.saturating_sub(1),
                };
            }
            self.file.write_all_at(&counts, at)?;
        }
        for step in &entry.shared {
            self.head.shares.count(step, more);
        }
        Ok(())
    }

    fn chain(&self, start: u64, next: impl Fn(&Row) -> u32) -> io::Result<Vec<(u32, Row)>> {
        let (mut chain, mut slot) = (Vec::new(), self.number(start)?);
        while slot != 0 {
            let row = self.row(slot)?;
            if chain.len() as u64 > self.head.rows {
                return Err(io::Error::new(ErrorKind::InvalidData, "the catalogue is damaged"));
            }
            chain.push((slot, row));
            slot = next(&row);
        }
        Ok(chain)
    }

    fn row(&self, slot: u32) -> io::Result<Row> {
        let mut bytes = [0; ROW];
        self.file.read_exact_at(&mut bytes, layout::place(slot))?;
        Ok(Row::decode(&bytes))
    }

    fn write(&self, slot: u32, row: &Row) -> io::Result<()> {
        self.file.write_all_at(&row.encode(), layout::place(slot))
    }

    fn number(&self, at: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        read_sparse(&self.file, &mut bytes, at)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn write_number(&self, at: u64, number: u32) -> io::Result<()> {
        self.file.write_all_at(&number.to_ne_bytes(), at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::layout::CHAINS;
    use super::*;
    use crate::config::publish::Publish;
    use crate::firewall::Rule;
    use crate::plan::Step;
    use proptest::prelude::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("netns-catalogue-{name}-{}", std::process::id()))
    }

    /// Six containers in four namespaces; the even ones publish two ports of one block.
    fn entry(who: u8) -> Entry {
        let mut entry = super::super::index::tests::entry(&who.to_string());
        entry.process.netns = u64::from(who % 4) * CHAINS;
        entry.process.pid = 100 + i32::from(who);
        if who.is_multiple_of(2) {
            let publish: Publish =
                format!("{}-{}:80-81", 8000 + 2 * u16::from(who), 8001 + 2 * u16::from(who)).parse().unwrap();
            entry.published = vec![publish.at(publish.host.unwrap())];
            entry.shared = vec![Step::Firewall(Rule::Block { protocol: Protocol::Tcp, block: 31 })];
        }
        entry
    }

    /// Everything that a catalogue can be asked, for each of the six.
    fn answers(catalogue: &mut Catalogue) -> Vec<String> {
        let ports = catalogue.ports(Protocol::Tcp).unwrap();
        let mut swept: Vec<_> =
            catalogue.sweep().unwrap().iter().map(|row| (row.pid, row.at, row.done)).collect();
        swept.sort_unstable();
        let mut answers = vec![format!("{swept:?} {:?} {}", catalogue.rest(), catalogue.len())];
        for entry in (0..6).map(entry) {
            let key = journal::key(&entry.id, &entry.bundle);
            let found = catalogue.by_key(key).unwrap().map(|row| (row.pid, row.at, row.done));
            let mut mates: Vec<_> =
                catalogue.by_namespace(entry.process.netns).unwrap().iter().map(|row| row.pid).collect();
            mates.sort_unstable();
            let busy: Vec<u8> = entry
                .published
                .iter()
                .flat_map(|p| ports.0[usize::from(p.host.first)..=usize::from(p.host.last)].to_vec())
                .collect();
            answers.push(format!("{found:?} {mates:?} {busy:?}"));
        }
        answers
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn after_any_changes_it_answers_as_one_that_is_made_anew(
            events in proptest::collection::vec((0u8..6, 0u8..3), 0..40),
        ) {
            let (here, anew) = (path("changed"), path("anew"));
            let mut model: BTreeMap<u8, (u64, Entry)> = BTreeMap::new();
            let mut catalogue = Catalogue::create(&here, &[], 0).unwrap();
            for (at, (who, what)) in events.into_iter().enumerate() {
                let (at, entry) = (8 + at as u64, entry(who));
                let key = journal::key(&entry.id, &entry.bundle);
                match what {
                    0 if !model.contains_key(&who) => {
                        catalogue.add(&entry, at).unwrap();
                        model.insert(who, (at, entry));
                    }
                    1 => {
                        catalogue.change(key, |row| row.done = true).unwrap();
                        model.entry(who).and_modify(|(_, entry)| entry.done = true);
                    }
                    _ => {
                        catalogue.remove(&entry).unwrap();
                        model.remove(&who);
                    }
                }
            }
            catalogue.close(77).unwrap();
            prop_assert!(Catalogue::open(&here, 76).is_none(), "it is of another journal");
            let mut catalogue = Catalogue::open(&here, 77).unwrap();
            let entries: Vec<_> = model.into_values().collect();
            let mut expected = Catalogue::create(&anew, &entries, 0).unwrap();
            prop_assert_eq!(answers(&mut catalogue), answers(&mut expected));
        }
    }

    #[test]
    fn one_that_was_left_open_is_not_used() {
        let path = path("open");
        let mut catalogue = Catalogue::create(&path, &[(8, entry(0))], 1).unwrap();
        assert!(Catalogue::open(&path, 9).is_none(), "it was never closed");
        catalogue.close(9).unwrap();
        assert_eq!(Catalogue::open(&path, 9).unwrap().len(), 1);
        catalogue.remove(&entry(0)).unwrap();
        assert!(Catalogue::open(&path, 9).is_none(), "it was opened again");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn whoever_is_of_another_boot_is_not_looked_up_here() {
        let path = path("boot");
        let mut catalogue = Catalogue::create(&path, &[(8, entry(0))], 1).unwrap();
        assert!(catalogue.is_of("boot") && !catalogue.is_of("another"));
        let mut stranger = entry(1);
        stranger.process.boot_id = "another".to_owned();
        assert!(catalogue.add(&stranger, 9).is_err());
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn all_rows_get_their_turn() {
        let path = path("turn");
        let many: Vec<(u64, Entry)> = (0..3000u64)
            .map(|n| {
                let mut entry = super::super::index::tests::entry(&n.to_string());
                entry.process.pid = n as i32;
                (n + 1, entry)
            })
            .collect();
        let mut catalogue = Catalogue::create(&path, &many, 3000).unwrap();
        let mut seen: Vec<i32> = (0..3).flat_map(|_| catalogue.sweep().unwrap()).map(|row| row.pid).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..3000).collect::<Vec<_>>());
        std::fs::remove_file(path).unwrap();
    }
}
