//! Garbage is collected on demand: who is dead or was interrupted, what nobody claims any more,
//! and what the kernel has of ours that no record tells of.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::rules::{all_rules, is_of};
use super::run::Run;
use super::stale::lives;
use crate::config::Settings;
use crate::error::{Doing, Result};
use crate::kernel::alive::Liveness;
use crate::model::container::Key;
use crate::model::link::{BRIDGE_MAC, HOST_END, HOST_MAC};
use crate::model::observed::Link;
use crate::model::step::Step;
use crate::model::value::{self, Mac};
use crate::store::{Held, Lock, Owner, Records};

/// Removes every container that is dead or was attached half way only, every claim of one whose
/// record is lost, and every link and rule of ours that no record tells of, and says which; with
/// `dry_run` only says which.
///
/// # Errors
/// The records or the rules cannot be read, or the kernel does not answer; or something could
/// not be removed, and stays recorded.
pub fn gc(settings: &Settings, dry_run: bool) -> Result<Vec<String>> {
    let Some(mut run) = Run::existing(settings)? else { return Ok(Vec::new()) };
    run.warn_of_damage();
    if dry_run { run.garbage() } else { run.collect_garbage() }
}

impl Run {
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
        let interrupted = self.finish_interrupted_networks()?;
        // Of those who were killed before their first claim or after their last, nothing is left.
        self.attend_to(&pending)?;
        let mut removed: Vec<String> = interrupted.iter().map(|name| format!("network {name}")).collect();
        self.set_aside_damaged()?;
        let stale = self.stale_of(&self.store.records()?)?;
        removed.extend(names(&stale));
        let cleaned = if stale.is_empty() { drop_lock(lock) } else { self.clean_up(lock, &stale) };
        self.share_rules(None)?;
        let _lock = self.store.lock()?;
        let of_nobody = self.of_nobody(&self.store.records()?)?;
        removed.extend(of_nobody.names());
        for key in &of_nobody.lost {
            self.salvage(key)?;
        }
        for link in &of_nobody.links {
            if let (Ok(name), Ok(mac)) = (link.name.parse(), link.address.as_slice().try_into().map(Mac)) {
                let deleted = self.machine.kernel.netlink().delete(&name, mac);
                deleted.doing(|| format!("ip link del {name}"))?;
            }
        }
        of_nobody.claims.iter().try_for_each(|link| self.store.remove_link(link))?;
        let records = self.store.records()?;
        for record in &records.containers {
            self.store.restore_claims(record)?;
        }
        records.networks.iter().try_for_each(|network| self.claim_network(network))?;
        self.store.forget_damaged_networks()?;
        if !of_nobody.rules.is_empty() {
            self.remove_unowned_rules(None)?;
        }
        self.note_transactions();
        cleaned.map(|()| removed)
    }

    /// What no record tells of.
    fn of_nobody(&self, records: &Records) -> Result<OfNobody> {
        let rules = if records.networks.is_empty() && records.damaged.is_empty() {
            Vec::new()
        } else {
            let unread = self.unread(records)?;
            self.machine.firewall.unowned(&all_rules(records), &|owner| is_of(&unread, owner))?
        };
        Ok(OfNobody {
            lost: self.lost(records)?,
            links: self.unrecorded_links(records)?,
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
        let known: BTreeSet<Key> = records.containers.iter().map(|record| record.key()).collect();
        let links = self.store.all_links()?;
        let liveness = Liveness::of(self.boot_id.clone());
        let mut lost = BTreeSet::new();
        let mut alive = BTreeSet::new();
        for (link, owner) in &links {
            let Owner::Container(key) = owner else { continue };
            if known.contains(key) || records.incomplete.contains(key) {
                continue;
            }
            let name = link.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let pid = name.split('@').next().and_then(|pid| pid.parse().ok());
            if link.starts_with("pids") && pid.is_some_and(|pid| liveness.may_run(pid)) {
                alive.insert(key.clone());
            }
            lost.insert(key.clone());
        }
        Ok(lost.difference(&alive).cloned().collect())
    }

    /// Host ends of ours that are ports of bridges of ours, and that no record tells of and whose
    /// container is gone. One whose container lives keeps its link: it goes with the container.
    fn unrecorded_links(&self, records: &Records) -> Result<Vec<Link>> {
        let links = self.machine.kernel.netlink().links().doing(|| "look at links")?;
        let recorded = |link: &Link| {
            let mut all = records.containers.iter().flat_map(|record| record.host_interfaces());
            all.any(|name| name.as_str() == link.name)
        };
        let claimed = self.store.all_links()?;
        let claimed = |link: &Link| {
            let id = link.alias.as_deref().unwrap_or_default();
            claimed.iter().any(|(_, owner)| matches!(owner, Owner::Container(key) if key.id() == id))
        };
        let ours = links.0.iter().filter(|link| {
            let [first, second, ..] = link.address[..] else { return false };
            let named = link.name.starts_with(HOST_END) && link.kind.as_deref() == Some("veth");
            named && (first, second) == (0x02, HOST_MAC) && link.alias.is_some()
        });
        let liveness = Liveness::of(self.boot_id.clone());
        let mut unrecorded = Vec::new();
        for link in ours.filter(|link| !recorded(link) && !claimed(link)) {
            // The other end is in a namespace that lives, or the link would be gone: only what
            // its name says is dead is removed.
            let pid = link.name.rsplit('-').next().and_then(|pid| pid.parse().ok());
            if !pid.is_some_and(|pid| liveness.may_run(pid)) {
                unrecorded.push(link.clone());
            }
        }
        for bridge in links.0.iter().filter(|link| link.kind.as_deref() == Some("bridge")) {
            let recorded = records.networks.iter().any(|network| network.bridge.as_str() == bridge.name);
            let has_ports = links.0.iter().any(|link| link.master == Some(bridge.index));
            let elsewhere = || self.other_state_dir(bridge).is_some();
            if !recorded && !has_ports && self.is_our_bridge(bridge)? && !elsewhere() {
                unrecorded.push(bridge.clone());
            }
        }
        Ok(unrecorded)
    }

    /// Whether a bridge has the MAC address that we give to one with its address.
    fn is_our_bridge(&self, bridge: &Link) -> Result<bool> {
        let addresses = self.machine.kernel.netlink().addresses(bridge.index);
        let addresses = addresses.doing(|| format!("look at bridge {}", bridge.name))?;
        Ok(addresses.iter().any(|address| bridge.address == value::mac(BRIDGE_MAC, address.ip()).0))
    }
}

/// What no record tells of.
struct OfNobody {
    /// Containers that only claims tell of.
    lost: Vec<Key>,
    links: Vec<Link>,
    claims: Vec<PathBuf>,
    rules: Vec<String>,
}

impl OfNobody {
    fn names(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|key| format!("container {} (without its record)", key.id()));
        let links = self.links.iter().map(|link| format!("link {}", link.name));
        let claims = self.claims.iter().map(|link| format!("claim {}", link.display()));
        lost.chain(links).chain(claims).chain(self.rules.iter().cloned()).collect()
    }
}

fn drop_lock(lock: Lock) -> Result<()> {
    drop(lock);
    Ok(())
}

fn names(keys: &[Key]) -> Vec<String> {
    keys.iter().map(|key| format!("container {}", key.id())).collect()
}
