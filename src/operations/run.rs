//! What every operation that changes something holds while it runs.

use std::path::{Path, PathBuf};

use super::machine::Machine;
use crate::config::Settings;
use crate::error::{Doing, Error, Kind, Result};
use crate::firewall::{self, Firewall};
use crate::kernel::alive;
use crate::log::Log;
use crate::model::container::{ContainerId, Key};
use crate::model::network::{Network, NetworkName};
use crate::model::record::Record;
use crate::model::rule::{Backend, Family, Rule};
use crate::store::{Damage, Held, Lock, Owner, Records, Store, Turn};

/// The generation of the ruleset after our last transaction, if nobody else has made one.
const GENERATION: &str = "generation";
/// The boot that everything recorded belongs to.
const BOOT: &str = "boot";

/// One run.
#[derive(Debug)]
pub(super) struct Run<'s> {
    pub(super) settings: &'s Settings,
    pub(super) store: Store,
    pub(super) machine: Machine,
    pub(super) log: &'s Log,
    pub(super) boot_id: String,
    /// The shared lock of the firewall's rules. It is never waited for under the lock of
    /// everything, and never kept while another container is waited for.
    rules: Option<Lock>,
    /// Those who cannot be undone now: they stay recorded, and stop nobody.
    pub(super) given_up: Vec<Key>,
    /// The rules that a rebuild has put there already, if there was one.
    pub(super) rebuilt: Option<Vec<Rule>>,
    /// Where the next run's turn to look at others begins.
    pub(super) turn: Turn,
    /// Transactions made by firewalls that were let go of, and those that are noted.
    transactions: u64,
    noted: u64,
}

impl<'s> Run<'s> {
    /// Opens the store, made if need be, and the kernel.
    pub(super) fn open(settings: &'s Settings) -> Result<Self> {
        Self::on(Store::open(&settings.state_dir)?, settings)
    }

    /// As [`Self::open`], but looks at nothing where there is no store.
    pub(super) fn existing(settings: &'s Settings) -> Result<Option<Self>> {
        let store = Store::existing(&settings.state_dir)?;
        store.map(|store| Self::on(store, settings)).transpose()
    }

    /// As [`Self::open`], on a store that is open.
    pub(super) fn on(store: Store, settings: &'s Settings) -> Result<Self> {
        Ok(Self {
            settings,
            store,
            machine: Machine::open(&settings.log)?,
            log: &settings.log,
            boot_id: alive::boot_id().doing(|| "read the boot's id")?,
            rules: None,
            given_up: Vec::new(),
            rebuilt: None,
            turn: Turn::default(),
            transactions: 0,
            noted: 0,
        })
    }

    /// Where the state lives.
    pub(super) fn state_dir(&self) -> &Path {
        &self.settings.state_dir
    }

    /// Takes the shared lock of the firewall's rules, which every program of the firewall keeps
    /// while it lives, and gets ready whoever is expected to get orders.
    pub(super) fn share_rules(&mut self, expected: &[(Backend, Family)]) -> Result<()> {
        if self.rules.is_none() {
            let lock = self.store.share_rules()?;
            self.machine.firewall.lend(lock.file())?;
            self.rules = Some(lock);
        }
        expected.iter().for_each(|(backend, family)| self.machine.firewall.expect(*backend, *family));
        Ok(())
    }

    /// Lets go of that lock.
    pub(super) fn release_rules(&mut self) {
        // Another one, to which nothing is lent.
        self.transactions += self.machine.firewall.transactions();
        self.machine.firewall = Firewall::new(self.machine.netfilter.clone(), self.log.clone());
        self.rules = None;
    }

    /// Takes the lock of the rules alone. A program of the firewall may have outlived the run
    /// that started it, and keeps that lock: one that does not end is killed.
    pub(super) fn own_rules(&mut self) -> Result<Lock> {
        self.release_rules();
        match self.store.own_rules_soon() {
            Err(error) if error.kind() == Kind::Busy => {
                let ended = firewall::end_orphans(&self.store.rules_lock())?;
                self.log.debug(&format!("# {ended} programs that outlived their runs were killed"));
                self.store.own_rules()
            }
            locked => locked,
        }
    }

    /// A container's record. One that is damaged is set aside, and told of.
    ///
    /// # Errors
    /// It cannot be read, or is of another version.
    pub(super) fn record(&self, key: &Key) -> Result<Option<Record>> {
        self.undamaged(self.store.record(key)?, || self.store.container_file(key))
    }

    fn undamaged<T>(
        &self,
        found: Option<std::result::Result<T, Damage>>,
        file: impl Fn() -> PathBuf,
    ) -> Result<Option<T>> {
        match found {
            Some(Err(version)) if version.kind() == Kind::Conflict => Err(version),
            Some(Err(damage)) => {
                self.store.set_aside(&file())?;
                self.log.warn(&damage);
                Ok(None)
            }
            found => Ok(found.and_then(std::result::Result::ok)),
        }
    }

    /// As [`Self::record`], of exactly this container: its name is made of a hash.
    ///
    /// # Errors
    /// As there; or it is another's.
    pub(super) fn record_of(&self, container: &ContainerId) -> Result<Option<Record>> {
        let found = self.record(&container.key())?;
        match found.as_ref().map(|record| &record.container).filter(|other| *other != container) {
            None => Ok(found),
            Some(other) => {
                let cause = format!("{other} of bundle {} has its name", other.bundle.display());
                Err(Error::new(format!("find {container}"), cause).of(Kind::Conflict))
            }
        }
    }

    /// A network's record. One that is damaged is set aside, and told of: what it made is found
    /// in the kernel. One of another boot is forgotten with what it made.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn network(&self, name: &NetworkName) -> Result<Option<Network>> {
        let found = self.undamaged(self.store.network(name)?, || self.store.network_file(name))?;
        Ok(found.filter(|network| network.boot_id == self.boot_id))
    }

    /// Sets aside every record that is damaged, and tells of it.
    pub(super) fn set_aside_damaged(&self) -> Result<()> {
        for (path, damage) in self.store.records()?.damaged {
            if damage.kind() != Kind::Conflict && !path.starts_with(self.store.dir().join("damaged")) {
                self.store.set_aside(&path)?;
                self.log.warn(&damage);
            }
        }
        Ok(())
    }

    /// Tells of every record that was set aside.
    pub(super) fn warn_of_damage(&self) {
        let damaged = self.store.damaged().unwrap_or_default();
        damaged.iter().for_each(|(_, damage)| self.log.warn(damage));
    }

    /// Whether this may be the first run since the machine was started.
    pub(super) fn is_another_boot(&self) -> bool {
        self.store.note(BOOT).as_ref() != Some(&self.boot_id)
    }

    /// Notes the boot: nothing that is recorded is of another.
    pub(super) fn note_boot(&self) {
        self.store.put_note(BOOT, &self.boot_id);
    }

    // The generation of the nftables ruleset tells whether anybody else has changed it. Each of
    // our transactions adds one to what is noted; while other runs are at it nobody can tell.
    // On iptables-legacy, whose tables have no generation, ours do not count.

    /// Whether somebody else may have changed the ruleset since our last transaction.
    pub(super) fn is_ruleset_changed(&self) -> bool {
        let Some(generation) = self.machine.netfilter.generation() else { return false };
        self.store.note(GENERATION) != Some(generation.to_string())
    }

    /// Whether no other run is applying or undoing anything.
    pub(super) fn nobody_pending(&self) -> Result<bool> {
        for key in self.store.all_pending()?.into_iter().filter_map(Owner::container) {
            if matches!(self.store.hold(&key)?, Held::Busy) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes the generation of the ruleset in which every rule was there that should be.
    pub(super) fn put_generation(&self, generation: Option<u64>) {
        self.store.put_note(GENERATION, &generation.unwrap_or_default().to_string());
    }

    /// How many transactions have been made since the last call.
    pub(super) fn forget_transactions(&mut self) -> u64 {
        let all = self.transactions + self.machine.firewall.transactions();
        let new = all - self.noted;
        self.noted = all;
        new
    }

    /// Adds our transactions to what is noted, under the lock of everything.
    pub(super) fn note_transactions(&mut self) {
        let ours = self.forget_transactions();
        match self.store.note(GENERATION).and_then(|text| text.parse::<u64>().ok()) {
            Some(_) if ours == 0 => {}
            Some(noted) => self.store.put_note(GENERATION, &(noted + ours).to_string()),
            None if self.nobody_pending().unwrap_or(false) => {
                self.put_generation(self.machine.netfilter.generation());
            }
            None => {}
        }
    }
}

/// Tells of every record that could not be read.
pub fn warn_of_damage(log: &Log, records: &Records) {
    records.damaged.iter().for_each(|(_, error): &(_, Error)| log.warn(error));
}
