//! Containers that leave: what they share with nobody else is undone, and they are forgotten.

use super::apply::{Target, undo_others};
use super::run::Run;
use crate::error::{Error, Result};
use crate::model::container::Key;
use crate::model::record::Record;
use crate::model::rule::{Change, Rule};
use crate::model::step::{Scope, Step};
use crate::store::{Claim, Held, Lock, Owner, Pending};

/// A container that leaves.
struct Leaving {
    record: Record,
    /// Its record's own lock, for as long as it is being undone.
    _lock: Lock,
    /// Whether a run has tried before, and not come to an end.
    again: bool,
    /// What is to be undone.
    steps: Vec<Step>,
    /// What could not be.
    failures: Vec<Error>,
}

impl Run<'_> {
    /// Undoes those of `keys` that no other run is at, all at once, and forgets them; which of
    /// them others are at. `lock` is the lock of everything, which is let go of while they are
    /// undone.
    ///
    /// What cannot be undone stays recorded, for the next run.
    ///
    /// # Errors
    /// What could not be undone or written.
    pub(super) fn leave(&mut self, lock: Lock, keys: &[Key]) -> Result<Vec<Key>> {
        let (mut leaving, mut busy, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        let mut interrupted = false;
        for key in keys {
            interrupted |= self.store.pending(key)? == Some(Pending::Attaching);
            match self.begin_leaving(key, keys, &mut busy) {
                Ok(one) => leaving.extend(one),
                Err(error) => {
                    self.given_up.push(key.clone());
                    failures.push(error);
                }
            }
        }
        drop(lock);
        if interrupted {
            // A program of the firewall may have outlived the run that started it.
            drop(self.own_rules()?);
        }
        self.share_rules(&[])?;
        let removed = self.undo(&mut leaving);
        let lock = self.store.lock()?;
        for Leaving { record, failures: own, .. } in leaving {
            let key = record.key();
            failures.extend(own.iter().cloned());
            if own.is_empty() && !self.store.awaits_removal(&key)? {
                failures.extend(self.forget(&record).err());
            } else {
                self.given_up.push(key);
            }
        }
        self.note_transactions();
        drop(lock);
        Error::merge(failures.into_iter().chain(removed.err())).map_or(Ok(busy), Err)
    }

    /// Says that a container leaves, and what is to be undone; `None` if another run is at it,
    /// or no record of it is left: then what it has is found without. `keys` leave with it.
    fn begin_leaving(&mut self, key: &Key, keys: &[Key], busy: &mut Vec<Key>) -> Result<Option<Leaving>> {
        let Some(record) = self.record(key)? else { return self.salvage(key).map(|()| None) };
        let Held::Mine(lock) = self.store.hold(key)? else {
            busy.push(key.clone());
            return Ok(None);
        };
        let again = self.store.pending(key)? == Some(Pending::Leaving);
        // A full disk keeps nobody from leaving.
        let said = self.store.set_pending(key, Pending::Leaving);
        said.err().iter().for_each(|error| self.log.warn(error));
        let mates = self.staying_mates(&record, keys)?;
        let mut steps = Vec::new();
        for step in &record.steps {
            let undo = match step.shared_name() {
                Some(name) => self.leave_shared(&name, key)?,
                None => !mates.iter().any(|mate| shares(mate, step)),
            };
            // Nothing in the kernel outlives a boot.
            if undo && (record.sandbox.boot_id == self.boot_id || step.outlives_a_boot()) {
                steps.push(step.clone());
            }
        }
        if let Some(mate) = mates.first() {
            self.hand_on_claims(&record, mate)?;
        }
        if steps.iter().any(|step| step.rule().is_some()) {
            self.store.ask_for_removal(key)?;
        }
        Ok(Some(Leaving { record, _lock: lock, again, steps, failures: Vec::new() }))
    }

    /// Those who share the container's network namespace and do not leave.
    fn staying_mates(&self, record: &Record, leaving: &[Key]) -> Result<Vec<Record>> {
        let mut mates = Vec::new();
        for key in self.store.in_netns(record.sandbox.netns)? {
            if leaving.contains(&key) || self.store.pending(&key)? == Some(Pending::Leaving) {
                continue;
            }
            let mate = self.record(&key)?;
            // The number may have been another namespace's.
            mates.extend(mate.filter(|mate| mate.sandbox.boot_id == record.sandbox.boot_id));
        }
        Ok(mates)
    }

    /// Gives up a share in a step; whether it is to be undone, since it was the last.
    fn leave_shared(&self, name: &str, key: &Key) -> Result<bool> {
        let owner = Owner::Container(key.clone());
        if self.store.changing(name)?.is_some_and(|other| other != owner) {
            return Ok(false);
        }
        self.store.set_changing(name, &owner)?;
        let last = self.store.leave_shared(name, &owner)?;
        if !last {
            self.store.changed(name)?;
        }
        Ok(last)
    }

    /// Leases are of the namespace: whoever stays there keeps them.
    fn hand_on_claims(&self, record: &Record, mate: &Record) -> Result<()> {
        let of_mate = Claim::all_of(mate);
        for claim in Claim::all_of(record) {
            if matches!(claim, Claim::Lease(..)) && of_mate.contains(&claim) {
                self.store.hand_on(&claim, &Owner::Container(mate.key()))?;
            }
        }
        Ok(())
    }

    /// Undoes it all, and goes on after an error. The rules go while everything else is undone,
    /// unless another run is removing rules: that one, or the next that does, takes ours along.
    fn undo(&mut self, leaving: &mut [Leaving]) -> Result<()> {
        let first = if self.awaits_removal(leaving) { self.store.try_removals()? } else { None };
        let removing = first.map(|lock| Ok((lock, self.start_removal()?))).transpose();
        for one in &mut *leaving {
            let steps: Vec<&Step> = one.steps.iter().collect();
            self.machine.kernel.waits = !one.again;
            one.failures.extend(undo_others(&steps, &mut self.machine));
            self.machine.kernel.waits = true;
        }
        match removing? {
            Some((lock, group)) => self.finish_removal(lock, &group),
            None => self.remove_rules(leaving),
        }
    }

    fn awaits_removal(&self, leaving: &[Leaving]) -> bool {
        leaving.iter().any(|one| self.store.awaits_removal(&one.record.key()).unwrap_or(true))
    }

    /// Removes rules, if nobody else has removed them by now.
    fn remove_rules(&mut self, leaving: &[Leaving]) -> Result<()> {
        if !self.awaits_removal(leaving) {
            return Ok(());
        }
        let lock = self.store.removals()?;
        if !self.awaits_removal(leaving) {
            return Ok(());
        }
        let group = self.start_removal()?;
        self.finish_removal(lock, &group)
    }

    /// Starts to remove the rules of all that are leaving: the kernel makes one deletion wait
    /// for the other, and a hundred in one transaction wait no longer than one.
    fn start_removal(&mut self) -> Result<Vec<Key>> {
        let group = self.store.all_for_removal()?;
        let (mut shared, mut own): (Vec<Rule>, Vec<Rule>) = (Vec::new(), Vec::new());
        for key in &group {
            let Some(Ok(record)) = self.store.record(key)? else { continue };
            for step in &record.steps {
                let Some(rule) = step.rule() else { continue };
                let going = match step.shared_name() {
                    Some(name) => self.store.changing(&name)? == Some(Owner::Container(key.clone())),
                    None => true,
                };
                if going {
                    let rules = if step.traits().scope == Scope::Container { &mut own } else { &mut shared };
                    rules.push(rule.clone());
                }
            }
        }
        // They are removed backwards: a chain when nothing is in it any more.
        let rules: Vec<&Rule> = shared.iter().chain(&own).collect();
        self.machine.start_rules(Change::Remove, &rules)?;
        Ok(group)
    }

    fn finish_removal(&mut self, _lock: Lock, group: &[Key]) -> Result<()> {
        self.machine.finish_rules()?;
        group.iter().try_for_each(|key| self.store.removed_rules_of(key))
    }

    /// Forgets a container that is undone.
    pub(super) fn forget(&self, record: &Record) -> Result<()> {
        let owner = Owner::Container(record.key());
        for name in record.steps.iter().filter_map(Step::shared_name) {
            if self.store.changing(&name)?.as_ref() == Some(&owner) {
                self.store.changed(&name)?;
            }
        }
        self.store.forget(record)
    }
}

/// Whether a step of one container is also of another in the same network namespace.
pub(super) fn shares(mate: &Record, step: &Step) -> bool {
    step.traits().shared && mate.steps.contains(step)
}
