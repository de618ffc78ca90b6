//! All records, for those who look at everything, and a few of them in turn, for those who must
//! not.

use std::fs::File;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use rustix::fs::{RawDir, SeekFrom, seek};

use super::{Damage, Owner, Store, names_in, record};
use crate::error::{Doing, Error, Result};
use crate::model::container::Key;
use crate::model::network::Network;
use crate::model::record::Record;

/// Where the next [`Store::in_turn`] begins.
const TURN: &str = "verify";

/// All records, read without a lock.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Every network, in the order of names.
    pub networks: Vec<Network>,
    /// Every container, in the order of names.
    pub containers: Vec<Record>,
    /// Those of them that are being applied or undone, or were when a run was interrupted.
    pub incomplete: Vec<Key>,
    /// The files that are no records, and why.
    pub damaged: Vec<(PathBuf, Damage)>,
}

impl Records {
    /// Reads everything; nothing is there before the first attach.
    ///
    /// # Errors
    /// The directory cannot be read, or others may write to it.
    pub fn read(dir: &Path) -> Result<Self> {
        Store::existing(dir)?.map_or_else(|| Ok(Self::default()), |store| store.records())
    }

    /// The containers whose records are damaged, as far as their files' names tell.
    pub(crate) fn damaged_keys(&self) -> impl Iterator<Item = Key> {
        self.damaged.iter().filter_map(|(path, _)| Key::parse(path.file_stem()?.to_str()?))
    }

    /// Whether a container is attached, and no run is at it.
    pub(crate) fn is_complete(&self, record: &Record) -> bool {
        !self.incomplete.contains(&record.key())
    }
}

impl Store {
    /// Reads everything.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn records(&self) -> Result<Records> {
        let mut damaged = Vec::new();
        let networks = self.read_all("networks", &mut damaged)?;
        let mut containers: Vec<Record> = self.read_all("containers", &mut damaged)?;
        containers.retain(|record| !self.gone.contains(&record.key()));
        let incomplete = self.all_pending()?.into_iter().filter_map(Owner::container).collect();
        damaged.extend(self.damaged()?);
        Ok(Records { networks, containers, incomplete, damaged })
    }

    /// The records that were set aside because they do not parse, and why.
    pub(crate) fn damaged(&self) -> Result<Vec<(PathBuf, Damage)>> {
        let aside = self.dir.join("damaged");
        let mut damaged = Vec::new();
        for name in names_in(&aside)? {
            let path = aside.join(name);
            let error = match record::read::<Record>(&path)? {
                Some(Err(damage)) => damage,
                _ => Error::new(format!("use record {}", path.display()), "it was set aside"),
            };
            let hint = "`netns gc` removes what is left of whoever is gone";
            damaged.push((path, error.hint(hint)));
        }
        Ok(damaged)
    }

    fn read_all<T: serde::de::DeserializeOwned>(
        &self,
        below: &str,
        damaged: &mut Vec<(PathBuf, Damage)>,
    ) -> Result<Vec<T>> {
        let dir = self.dir.join(below);
        let mut all = Vec::new();
        for path in names_in(&dir)?.iter().map(|name| dir.join(name)) {
            match record::read(&path)? {
                Some(Ok(value)) => all.push(value),
                Some(Err(damage)) => damaged.push((path, damage)),
                // Its owner has detached meanwhile.
                None => {}
            }
        }
        Ok(all)
    }

    /// The next containers whose turn it is to be looked at, at most `limit`, each with its
    /// process if it was found by one, and where the next turn begins. However many there are,
    /// it costs the same; but where somebody has removed the claims of all, all are looked at.
    pub(crate) fn in_turn(&self, limit: usize) -> Result<(Vec<Process>, Turn)> {
        let start = self.note(TURN).and_then(|text| text.parse().ok()).unwrap_or(0);
        let pids = self.dir.join("pids");
        if !pids.exists() {
            let keys = names_in(&self.dir.join("containers"))?;
            let keys = keys.iter().filter_map(|name| Key::parse(name.strip_suffix(".json")?));
            return Ok((keys.map(|key| (None, key)).collect(), Turn(None)));
        }
        let (mut names, mut next) = some_names_in(&pids, limit, start)?;
        if start != 0 && names.len() < limit {
            let (first, after) = some_names_in(&pids, limit - names.len(), 0)?;
            names.extend(first);
            next = after;
        }
        let turn = if next == start { Turn(None) } else { Turn(Some(next)) };
        Ok((names.iter().filter_map(|name| parse(name)).collect(), turn))
    }

    /// Notes where the next turn begins.
    pub(crate) fn end_turn(&self, turn: &Turn) {
        turn.0.iter().for_each(|next| self.put_note(TURN, &next.to_string()));
    }
}

/// A container's process, if it was found by one, and whose it is.
pub(crate) type Process = (Option<i32>, Key);

/// Where the next turn begins, if not where this one did.
#[derive(Debug, Clone, Default)]
pub struct Turn(Option<u64>);

/// At most `limit` names in a directory from `start` on, and where the others begin; 0 where
/// these were the last.
pub(super) fn some_names_in(dir: &Path, limit: usize, start: u64) -> Result<(Vec<String>, u64)> {
    let operation = || format!("read {}", dir.display());
    let open = match File::open(dir) {
        Err(error) if super::is_absent(&error) => return Ok((Vec::new(), 0)),
        open => open.doing(operation)?,
    };
    if start > 0 {
        seek(&open, SeekFrom::Start(start)).doing(operation)?;
    }
    let mut names = Vec::new();
    // No larger than `limit` entries need, since the kernel fills all of it.
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let room = buffer.len().min(512 * limit);
    let mut entries = RawDir::new(&open, buffer.get_mut(..room).unwrap_or_default());
    while let Some(entry) = entries.next() {
        let entry = entry.doing(operation)?;
        let name = entry.file_name().to_str().unwrap_or_default();
        if ![".", ".."].contains(&name) {
            names.push(name.to_owned());
        }
        if names.len() == limit {
            return Ok((names, entry.next_entry_cookie()));
        }
    }
    Ok((names, 0))
}

/// `4711@ID@HASH`, or `netns@ID@HASH`.
fn parse(name: &str) -> Option<Process> {
    let (pid, key) = name.split_once('@')?;
    let pid = if pid == "netns" { None } else { Some(pid.parse().ok()?) };
    Some((pid, Key::parse(key)?))
}
