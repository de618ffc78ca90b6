//! The life of a container in the state directory: pending, recorded, and forgotten.

use std::path::{Path, PathBuf};

use super::{Claim, Held, Lock, Owner, Store, names_in, read_link, record, remove};
use crate::error::Result;
use crate::model::container::Key;
use crate::model::network::NetworkName;
use crate::model::record::Record;

/// What stands before the name of a network among those that are pending: no id has a colon.
const NETWORK: &str = "network:";

/// How far a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// Its steps are being applied, or were when the run was interrupted.
    Attaching,
    /// Its steps are being undone, or were.
    Leaving,
}

impl Pending {
    fn text(self) -> &'static str {
        match self {
            Self::Attaching => "attaching",
            Self::Leaving => "leaving",
        }
    }
}

impl Store {
    /// Records a container and claims everything that its record lists, before its first step.
    /// The record's own lock is held by what is returned.
    ///
    /// # Errors
    /// A file cannot be written, as on a full disk, or somebody holds a claim; nothing is left.
    pub fn begin(&self, record: &Record) -> Result<Lock> {
        self.record_and_claim(record).map_err(|error| error.also(self.forget(record).err()))
    }

    fn record_and_claim(&self, record: &Record) -> Result<Lock> {
        let key = record.key();
        self.set_pending(&key, Pending::Attaching)?;
        let path = self.container_file(&key);
        let file = record::write(&self.dir, &path, record)?;
        let lock = Lock::of_new(file, path)?;
        let owner = Owner::Container(key);
        for claim in Claim::all_of(record) {
            if !self.is_of_a_mate(&claim, record)? {
                self.claim(&claim, &owner)?;
            }
        }
        Ok(lock)
    }

    /// Whether it is a lease that somebody holds who lives in the same network namespace.
    pub(crate) fn is_of_a_mate(&self, claim: &Claim, record: &Record) -> Result<bool> {
        let Claim::Lease(..) = claim else { return Ok(false) };
        let Some(Owner::Container(holder)) = self.holder(claim)? else { return Ok(false) };
        Ok(holder != record.key() && self.in_netns(record.sandbox.netns)?.contains(&holder))
    }

    /// Says that a container is about to be applied or undone.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_pending(&self, key: &Key, how: Pending) -> Result<()> {
        self.replace_link(&self.dir.join("pending").join(key.as_str()), how.text())
    }

    /// How far a container is; `None` if it is attached.
    pub(crate) fn pending(&self, key: &Key) -> Result<Option<Pending>> {
        let text = read_link(&self.dir.join("pending").join(key.as_str()))?;
        Ok(text.map(|text| if text == Path::new("leaving") { Pending::Leaving } else { Pending::Attaching }))
    }

    /// Everybody who is being applied or undone, or was when a run was interrupted.
    pub(crate) fn all_pending(&self) -> Result<Vec<Owner>> {
        let names = names_in(&self.dir.join("pending"))?;
        let owner = |name: &String| match name.strip_prefix(NETWORK) {
            Some(network) => network.parse().ok().map(Owner::Network),
            None => Key::parse(name).map(Owner::Container),
        };
        Ok(names.iter().filter_map(owner).collect())
    }

    /// Says that the steps of a network are about to be applied or undone.
    pub(crate) fn set_network_pending(&self, name: &NetworkName) -> Result<()> {
        self.replace_link(&self.network_pending(name), Pending::Attaching.text())
    }

    /// Says that a network is whole.
    pub(crate) fn finish_network(&self, name: &NetworkName) -> Result<()> {
        remove(&self.network_pending(name))
    }

    fn network_pending(&self, name: &NetworkName) -> PathBuf {
        self.dir.join("pending").join(format!("{NETWORK}{name}"))
    }

    /// Says that a container is attached.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(&self, key: &Key) -> Result<()> {
        remove(&self.dir.join("pending").join(key.as_str()))
    }

    /// Forgets a container: its claims, its record, and last that it was pending.
    pub(crate) fn forget(&self, record: &Record) -> Result<()> {
        let key = record.key();
        for claim in Claim::all_of(record) {
            self.release(&claim, &Owner::Container(key.clone()))?;
        }
        self.forget_key(&key)
    }

    /// Forgets a container of which no record is left: [`Self::links_of`] has found its claims.
    pub(crate) fn forget_key(&self, key: &Key) -> Result<()> {
        remove(&self.dir.join("rules").join(key.as_str()))?;
        remove(&self.dir.join("damaged").join(format!("{key}.json")))?;
        remove(&self.container_file(key))?;
        self.finish(key)
    }

    /// Tries to take the lock of a container's record. The lock of everything must be held, or
    /// the record may be replaced meanwhile.
    pub(crate) fn hold(&self, key: &Key) -> Result<Held> {
        Lock::of_existing(&self.container_file(key))
    }

    /// Waits until no run holds the lock of a container's record, or the record is gone.
    pub(crate) fn wait_for(&self, key: &Key) -> Result<()> {
        Lock::wait_existing(&self.container_file(key))
    }

    /// Asks whoever removes rules next to remove this container's.
    pub(crate) fn ask_for_removal(&self, key: &Key) -> Result<()> {
        self.replace_link(&self.dir.join("rules").join(key.as_str()), &format!("../containers/{key}.json"))
    }

    /// Whether a container's rules are still to be removed.
    pub(crate) fn awaits_removal(&self, key: &Key) -> Result<bool> {
        Ok(read_link(&self.dir.join("rules").join(key.as_str()))?.is_some())
    }

    /// All whose rules are to be removed.
    pub(crate) fn all_for_removal(&self) -> Result<Vec<Key>> {
        self.keys("rules")
    }

    /// Says that a container's rules are gone.
    pub(crate) fn removed_rules_of(&self, key: &Key) -> Result<()> {
        remove(&self.dir.join("rules").join(key.as_str()))
    }
}
