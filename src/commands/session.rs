//! What every command that changes something holds while it runs: the locked store, what it
//! says, and the kernel.

use std::path::Path;

use super::{Settings, warn_of_damage};
use crate::error::Result;
use crate::kernel::{Kernel, netfilter};
use crate::log::Log;
use crate::store::index::Entry;
use crate::store::record::Survey;
use crate::store::{Store, Wish};

/// No generation of a ruleset: the next attach looks whether the rules are there.
const UNKNOWN: u64 = u64::MAX;

/// One run, from taking the lock to letting go of it.
pub(super) struct Session {
    pub(super) store: Store,
    pub(super) survey: Survey,
    pub(super) kernel: Kernel,
    pub(super) log: Log,
    /// The generation of the nftables ruleset when the lock was taken.
    generation: Option<u64>,
    /// Whether the rules were as the last run left them, or have been put back since.
    verified: bool,
}

impl Session {
    /// Takes the lock, reads what is recorded and opens the kernel.
    ///
    /// The firewall's program, should it outlive us, keeps the lock: whoever comes next must
    /// not see the rules change under it.
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        let (store, survey) = Store::lock(&settings.state_dir)?;
        warn_of_damage(&settings.log, &survey.damaged);
        let kernel = Kernel::open(settings.log.clone(), store.lock_file().file())?;
        let generation = netfilter::generation();
        let verified = store.lock_file().number() == Some(generation.unwrap_or_default());
        Ok(Self { store, survey, kernel, log: settings.log.clone(), generation, verified })
    }

    /// Reads of everyone.
    pub(super) fn everyone(&mut self) -> Result<()> {
        if self.survey.rest.take().is_some() {
            self.survey.containers = self.store.everyone()?;
        }
        Ok(())
    }

    /// The container `id` in `bundle`.
    pub(super) fn container(&mut self, id: &str, bundle: &Path) -> Result<Option<Entry>> {
        if self.survey.rest.is_some() {
            if let Some(answer) = self.store.container(id, bundle) {
                return Ok(answer);
            }
            self.everyone()?;
        }
        Ok(self.survey.container(id, bundle).cloned())
    }

    /// Reads of those whom a newcomer has to know. Whether somebody may be in its way, so that
    /// everyone was read.
    pub(super) fn meet(&mut self, wish: &Wish<'_>) -> Result<bool> {
        if self.survey.rest.is_none() {
            return Ok(false);
        }
        if let Some((near, rest)) = self.store.meet(wish) {
            self.survey.containers = near;
            self.survey.rest = Some(rest);
            return Ok(false);
        }
        self.everyone()?;
        Ok(true)
    }

    /// Takes `going` out of what is known, having read of all who may share a step with them.
    pub(super) fn take_leave(&mut self, going: &[Entry]) -> Result<()> {
        if self.survey.rest.is_some() {
            match self.store.mates(going) {
                Some((mates, mut rest)) => {
                    let shared = going.iter().flat_map(|entry| &entry.shared);
                    shared.for_each(|step| rest.shares.count(step, false));
                    self.survey.containers = mates;
                    self.survey.rest = Some(rest);
                }
                None => self.everyone()?,
            }
        }
        self.survey.containers.retain(|entry| !going.contains(entry));
        Ok(())
    }

    /// Whether somebody else may have changed the ruleset since our last run. Never on
    /// iptables-legacy, whose tables have no generation.
    pub(super) fn is_suspicious(&self) -> bool {
        !self.verified && !self.survey.networks.is_empty()
    }

    /// Remembers that every rule is there that should be.
    pub(super) fn rules_are_there(&mut self) {
        self.verified = true;
    }

    /// Keeps the generation of the ruleset as we leave it, unless somebody else has changed it
    /// meanwhile: the next attach compares.
    pub(super) fn close(mut self) -> Result<()> {
        self.store.close();
        let after = netfilter::generation();
        let expected = self.generation.map(|before| before + self.kernel.transactions());
        // On iptables-legacy ours do not count.
        let alone = after == expected || after == self.generation;
        let ours = (self.verified || self.survey.networks.is_empty()) && alone;
        let number = if ours { after.unwrap_or_default() } else { UNKNOWN };
        if self.store.lock_file().number() == Some(number) {
            return Ok(());
        }
        self.store.lock_file().keep(number)
    }
}
