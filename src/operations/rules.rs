//! The rules that should be there, and what happens when somebody has changed them.

use super::run::Run;
use crate::error::{Doing, Result};
use crate::model::container::Key;
use crate::model::link::HOST_END;
use crate::model::record::Record;
use crate::model::rule::{Change, Rule};
use crate::model::step::Step;
use crate::store::{Lock, Records};

/// Every rule that should be there: what is shared once, before what stands in it. A container
/// that is only just coming, or that leaves, has none.
pub fn wanted_rules(records: &Records) -> Vec<Rule> {
    let complete = records.containers.iter().filter(|record| records.is_complete(record));
    rules_of(records, &complete.collect::<Vec<_>>())
}

/// As [`wanted_rules`], with those of containers that are coming or leaving.
pub(super) fn all_rules(records: &Records) -> Vec<Rule> {
    rules_of(records, &records.containers.iter().collect::<Vec<_>>())
}

fn rules_of(records: &Records, containers: &[&Record]) -> Vec<Rule> {
    let mut published = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    let networks = records.networks.iter().flat_map(|network| &network.steps);
    for rule in networks.filter_map(Step::rule).chain(containers.iter().flat_map(|record| record.rules())) {
        if matches!(rule, Rule::Publish { .. }) {
            published.push(rule.clone());
        } else if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    // Also where the network's record is lost.
    for rule in &published {
        let base = Rule::Base { family: rule.family(), backend: rule.backend() };
        if !rules.contains(&base) {
            rules.insert(0, base);
        }
    }
    rules.extend(published);
    rules
}

/// Whether a rule's owner is among these ids; a comment, an alias and a file's name each hold the
/// beginning of a long one.
pub(super) fn is_of(ids: &[String], owner: &str) -> bool {
    const HELD: usize = 100;
    ids.iter().any(|id| id == owner || owner.len() >= HELD && id.starts_with(&owner[..HELD]))
}

impl Run<'_> {
    /// Those of the steps to apply that a rebuild has not put there already.
    pub(super) fn not_rebuilt<'a>(&self, steps: impl Iterator<Item = &'a Step>) -> Vec<&'a Step> {
        let there = |rule| self.rebuilt.as_ref().is_some_and(|rules| rules.contains(rule));
        steps.filter(|step| !step.rule().is_some_and(there)).collect()
    }

    /// Restores what is missing of the rules; how many they were. Nobody else changes rules of
    /// ours meanwhile.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub(super) fn restore_rules(&mut self) -> Result<usize> {
        let alone = self.own_rules()?;
        let rules = wanted_rules(&self.store.records()?);
        let restored = self.machine.firewall.restore(&rules)?;
        if restored > 0 {
            self.machine.forget_flows(Change::Add, &rules);
        }
        self.end_alone(alone)?;
        Ok(restored)
    }

    /// Makes all rules anew, in one transaction, unless they are just as they should be.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub(super) fn rebuild_rules(&mut self) -> Result<()> {
        let alone = self.own_rules()?;
        let records = self.store.records()?;
        let rules = wanted_rules(&records);
        let unread = self.unread(&records)?;
        if self.machine.firewall.rebuild(&rules, &|owner| is_of(&unread, owner))? {
            self.machine.forget_flows(Change::Add, &rules);
        }
        // Those whom no record tells of have places of their own.
        self.rebuilt = Some(rules.into_iter().chain(self.machine.firewall.found()?).collect());
        self.end_alone(alone)
    }

    /// The ids of containers whose rules are not known from records: other runs are at them, their
    /// records are damaged or lost, or only a link of the host tells of them.
    ///
    /// # Errors
    /// The directory cannot be read, or the kernel does not answer.
    pub(super) fn unread(&self, records: &Records) -> Result<Vec<String>> {
        let known: Vec<Key> = records.containers.iter().map(Record::key).collect();
        let claiming = self.store.all_links()?.into_iter().filter_map(|(_, owner)| owner.container());
        let unread = claiming.chain(records.damaged_keys()).filter(|key| !known.contains(key));
        let unread = unread.chain(records.incomplete.iter().cloned()).map(|key| key.id().to_owned());
        let links = self.machine.kernel.netlink().links().doing(|| "look at links")?;
        let host_ends = links.0.into_iter().filter(|link| link.name.starts_with(HOST_END));
        let is_known = |id: &String| records.containers.iter().any(|record| record.id() == id);
        let aliases = host_ends.filter_map(|link| link.alias).filter(|id| !is_known(id));
        let mut ids: Vec<String> = unread.chain(aliases).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// Nobody who holds the lock of the rules alone waits for another lock.
    fn end_alone(&mut self, alone: Lock) -> Result<()> {
        self.forget_transactions();
        let generation = self.machine.netfilter.generation();
        drop(alone);
        let _lock = self.store.lock()?;
        self.put_generation(generation);
        Ok(())
    }
}
