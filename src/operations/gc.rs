//! Garbage is collected on demand: who is dead or was interrupted, what nobody claims any more,
//! and what the kernel has of ours that no record tells of.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::rules::{all_rules, is_of};
use super::run::Run;
use super::stale::lives;
use super::unrecorded::Unrecorded;
use crate::config::Settings;
use crate::error::Result;
use crate::kernel::alive::Liveness;
use crate::model::container::Key;
use crate::model::observed::Link;
use crate::model::rule::Family;
use crate::model::step::Step;
use crate::store::{Held, Owner, Records, Store};

/// Removes every container that is dead or was attached half way only, every claim of one whose
/// record is lost, and every link and rule of ours that no record tells of, and says which; with
/// `dry_run` only says which.
///
/// # Errors
/// The records or the rules cannot be read, or the kernel does not answer; or something could
/// not be removed, and stays recorded.
pub fn gc(settings: &Settings, dry_run: bool) -> Result<Vec<String>> {
    let mut run = match Run::existing(settings)? {
        Some(run) => run,
        None if dry_run => Run::on(Store::empty(), settings)?,
        None => Run::open(settings)?,
    };
    run.warn_of_damage();
    let found = if dry_run { run.garbage()? } else { run.collect_garbage()? };
    for one in run.living_unrecorded(&run.store.records()?)? {
        run.log.warn(&one.tell("collect garbage"));
    }
    Ok(found)
}

/// Makes records of the networks, and of the containers that live, that no record tells of, and
/// says which they were.
///
/// # Errors
/// As for [`gc`].
pub fn adopt(settings: &Settings) -> Result<Vec<String>> {
    let mut run = Run::open(settings)?;
    run.warn_of_damage();
    let adopted = run.adopt()?;
    if !adopted.is_empty() {
        run.restore_rules()?;
    }
    Ok(adopted)
}

impl Run<'_> {
    /// What there is to be removed; nothing is.
    fn garbage(&self) -> Result<Vec<String>> {
        let records = self.store.records()?;
        let mut found = names(&self.stale_of(&records)?);
        found.extend(self.of_nobody(&records)?.names());
        Ok(found)
    }

    /// Removes it for whoever has something else to do, which it does not stop.
    pub(super) fn try_to_collect_garbage(&mut self) {
        if let Err(error) = self.collect_garbage() {
            self.log.warn(&error);
        }
    }

    /// Removes it, and says what it was.
    fn collect_garbage(&mut self) -> Result<Vec<String>> {
        let lock = self.store.lock()?;
        let pending = self.store.all_pending()?;
        let mut interrupted = self.finish_interrupted_networks()?;
        // Of those who were killed before their first claim or after their last, nothing is left.
        self.attend_to(&pending)?;
        self.set_aside_damaged()?;
        let stale = self.stale_of(&self.store.records()?)?;
        let mut removed = names(&stale);
        let cleaned = if stale.is_empty() {
            drop(lock);
            Ok(())
        } else {
            self.clean_up(lock, &stale)
        };
        self.share_rules(&[])?;
        let _lock = self.store.lock()?;
        interrupted.extend(self.finish_interrupted_networks()?);
        removed.extend(interrupted.iter().map(|name| format!("network {name}")));
        let of_nobody = self.of_nobody(&self.store.records()?)?;
        removed.extend(of_nobody.names());
        for key in &of_nobody.lost {
            self.salvage(key)?;
        }
        self.delete_host_ends(&of_nobody.dead)?;
        for bridge in &of_nobody.bridges {
            let name = self.adopt_network(bridge)?.name;
            self.remove_network(&name)?;
        }
        of_nobody.claims.iter().try_for_each(|link| self.store.remove_link(link))?;
        let records = self.store.records()?;
        for record in &records.containers {
            self.store.restore_claims(record)?;
        }
        records.networks.iter().try_for_each(|network| self.claim_network(network))?;
        self.store.forget_damaged_networks()?;
        if !of_nobody.rules.is_empty() {
            for (family, program) in [(Family::Ipv4, "iptables"), (Family::Ipv6, "ip6tables")] {
                // The one rule that says what the host did before.
                let only_ours = format!("rule {program} -t filter -N NETNS-ONLY");
                if records.networks.is_empty() && of_nobody.rules.contains(&only_ours) {
                    let steps = self.forwarding_of(family)?;
                    self.undo_unless_needed(steps.iter().collect(), "collect garbage")?;
                }
            }
            self.remove_unowned_rules(None)?;
        }
        self.note_transactions();
        cleaned.map(|()| removed)
    }

    /// What no record tells of.
    fn of_nobody(&self, records: &Records) -> Result<OfNobody> {
        let nothing = records.networks.is_empty() && records.damaged.is_empty();
        let unread = self.unread(records)?;
        let rules = match self.machine.firewall.unowned(&all_rules(records), &|owner| is_of(&unread, owner)) {
            // Those whose records are lost need what all share.
            _ if nothing && (self.is_shared_host()? || !self.living_unrecorded(records)?.is_empty()) => {
                Vec::new()
            }
            // Without its programs a firewall has no rules that we could ask for.
            Err(_) if nothing => Vec::new(),
            unowned => unowned?,
        };
        let dead = self.dead_unrecorded(records)?;
        Ok(OfNobody {
            lost: self.lost(records)?,
            bridges: self.unneeded_bridges(records, &dead)?,
            dead,
            claims: self.unlisted_claims(records)?,
            rules: rules.iter().map(|rule| format!("rule {rule}")).collect(),
        })
    }

    /// Links to records that do not list them.
    fn unlisted_claims(&self, records: &Records) -> Result<Vec<PathBuf>> {
        let known: BTreeSet<Key> = records.containers.iter().map(|record| record.key()).collect();
        let mut unlisted = Vec::new();
        for (link, owner) in self.store.all_links()? {
            // Those of containers without a record are not lost yet.
            let lost = matches!(&owner, Owner::Container(key) if !known.contains(key));
            if !lost && !link.starts_with("changing") && !self.store.lists(&owner, &link)? {
                unlisted.push(link);
            }
        }
        Ok(unlisted)
    }

    /// Everybody who is dead or was interrupted.
    fn stale_of(&self, records: &Records) -> Result<Vec<Key>> {
        let names = records.containers.iter().flat_map(|record| &record.steps).filter_map(Step::name_file);
        let liveness = Liveness::of(self.boot_id.clone()).ignoring(names);
        let netlink = self.machine.kernel.netlink();
        let mut stale = Vec::new();
        for record in &records.containers {
            let key = record.key();
            let interrupted = records.incomplete.contains(&key);
            let busy = interrupted && matches!(self.store.hold(&key)?, Held::Busy);
            if busy || self.given_up.contains(&key) {
                continue;
            }
            if interrupted || !lives(record, &liveness, netlink, true)? {
                stale.push(key);
            }
        }
        Ok(stale)
    }

    /// Those whom only claims tell of, and whose process is gone.
    fn lost(&self, records: &Records) -> Result<Vec<Key>> {
        let liveness = Liveness::of(self.boot_id.clone());
        let mut lost = self.keys_without_record(records)?;
        for (link, owner) in self.store.all_links()? {
            let Owner::Container(key) = &owner else { continue };
            let name = link.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let pid = name.split('@').next().and_then(|pid| pid.parse().ok());
            if link.starts_with("pids") && pid.is_some_and(|pid| liveness.may_run(pid)) {
                lost.remove(key);
            }
        }
        Ok(lost.into_iter().collect())
    }
}

/// What no record tells of.
struct OfNobody {
    /// Containers that only claims tell of.
    lost: Vec<Key>,
    /// Containers that only their host ends tell of.
    dead: Vec<Unrecorded>,
    bridges: Vec<Link>,
    claims: Vec<PathBuf>,
    rules: Vec<String>,
}

impl OfNobody {
    fn names(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|key| format!("container {} (without its record)", key.id()));
        let links = self.dead.iter().flat_map(|one| &one.links).chain(&self.bridges);
        let links = links.map(|link| format!("link {}", link.name));
        let claims = self.claims.iter().map(|link| format!("claim {}", link.display()));
        lost.chain(links).chain(claims).chain(self.rules.iter().cloned()).collect()
    }
}

fn names(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| format!("container {}", key.id())).collect()
}
