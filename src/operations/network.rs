//! The network alone: created, recorded, and removed.

use std::fs;
use std::path::Path;

use super::apply::apply;
use super::run::Run;
use super::stale::Obstacle;
use super::unrecorded::Unrecorded;
use crate::config::Settings;
use crate::error::{Doing, Error, Kind, Result};
use crate::model::container::Key;
use crate::model::link::BRIDGE_MAC;
use crate::model::network::{Network, NetworkName, NetworkSpec};
use crate::model::observed::Link;
use crate::model::record::Record;
use crate::plan::{self, NetworkPlan, Plan};
use crate::store::{Claim, Owner, Store};

/// How often to begin again, after having cleaned up or rebuilt the rules.
const ATTEMPTS: usize = 16;

const UNRECORDED: &str =
    "`netns gc --adopt` makes a record of what the kernel knows of it; --force takes it away";

/// Creates a network, or sets right what has drifted of it.
///
/// # Errors
/// Anything that keeps it from being whole; everything that was done is undone then.
pub fn create(settings: &Settings, mut spec: NetworkSpec) -> Result<()> {
    let mut run = Run::open(settings)?;
    run.warn_of_damage();
    run.adopt_lost(&[&spec])?;
    run.try_to_collect_garbage();
    for _ in 0..ATTEMPTS {
        run.share_rules(&[])?;
        let lock = run.store.lock()?;
        run.forget_old_networks()?;
        let (host, known, observed) = run.observe_network(&mut spec, true)?;
        if run.redefine(&spec, known.as_ref())? {
            continue;
        }
        if known.is_some() && run.rebuilt.is_none() && run.is_ruleset_changed() && run.nobody_pending()? {
            drop(lock);
            run.restore_rules()?;
            continue;
        }
        let mut claimed = run.claimed_by_network(&spec, known.clone())?;
        if known.as_ref().is_some_and(Network::has_host_link) && observed.has_forgotten() {
            run.read_everybody(&mut claimed)?;
        }
        let network = plan::network(&spec, &host, &observed, known.as_ref(), &claimed)?;
        if run.apply_network(network, known)? {
            let unrecorded = run.unrecorded_on(&spec.name)?;
            unrecorded
                .iter()
                .for_each(|one| run.log.warn(&one.tell(format!("create network {}", spec.name))));
            return Ok(());
        }
        drop(lock);
        run.rebuild_rules()?;
    }
    Err(Error::new(format!("create network {}", spec.name), "its rules are removed again and again")
        .of(Kind::Busy))
}

/// Removes a network. One whose record is lost is found by its bridge and its rules.
///
/// # Errors
/// There is none; or containers are attached and `force` is not given (with it they are detached
/// first); or something could not be undone and stays recorded.
pub fn rm(settings: &Settings, spec: &NetworkSpec, force: bool) -> Result<()> {
    let seen = Run::on(Store::existing(&settings.state_dir)?.unwrap_or_else(Store::empty), settings)?;
    if seen.store.network(&spec.name)?.is_none() && !seen.has_traces(spec)? {
        let error = Error::new(format!("remove network {}", spec.name), "there is none of this name");
        return Err(error.of(Kind::NotFound));
    }
    let mut run = Run::open(settings)?;
    run.warn_of_damage();
    run.adopt_lost(&[spec])?;
    run.try_to_collect_garbage();
    for _ in 0..ATTEMPTS {
        run.share_rules(&[])?;
        let lock = run.store.lock()?;
        let (here, unread) = (run.on_network(&spec.name)?, run.unread_on(&spec.name)?);
        let unrecorded = run.unrecorded_on(&spec.name)?;
        if !force {
            refuse_where_used(&spec.name, &here, &unread, &unrecorded)?;
        }
        if here.is_empty() {
            unread.iter().try_for_each(|key| run.salvage(key))?;
            run.delete_host_ends(&unrecorded)?;
            run.remove_network(&spec.name)?;
            return if unrecorded.is_empty() { Ok(()) } else { run.remove_unowned_rules(None) };
        }
        run.leave(lock, &here)?;
        for key in here {
            run.store.wait_for(&key)?;
        }
    }
    let error = Error::new(format!("remove network {}", spec.name), "containers come again and again");
    Err(error.of(Kind::Busy))
}

/// Refuses to remove a network that containers are on.
fn refuse_where_used(
    name: &NetworkName,
    here: &[Key],
    unread: &[Key],
    unrecorded: &[Unrecorded],
) -> Result<()> {
    let operation = format!("remove network {name}");
    let cause = if let Some(first) = here.first() {
        format!("{} containers are attached, {} among them", here.len(), first.id())
    } else if let Some(first) = unread.first() {
        format!("container {} is attached, whose record is damaged or lost", first.id())
    } else {
        let error = unrecorded.first().map(|one| one.tell(operation).hint(UNRECORDED));
        return error.map_or(Ok(()), Err);
    };
    Err(Error::new(operation, cause).of(Kind::Conflict).hint("detach them first, or pass --force"))
}

impl Run<'_> {
    /// What an earlier boot has left behind is gone but for its files.
    pub(super) fn first_of_this_boot(&self) -> std::result::Result<(), Obstacle> {
        if !self.is_another_boot() {
            return Ok(());
        }
        self.forget_old_networks()?;
        let records = self.store.records()?;
        let of_another = records.containers.iter().filter(|record| record.sandbox.boot_id != self.boot_id);
        let stale: Vec<_> =
            of_another.map(|record| record.key()).filter(|key| !self.given_up.contains(key)).collect();
        if !stale.is_empty() {
            return Err(Obstacle::Stale(stale));
        }
        self.note_boot();
        Ok(())
    }

    /// Those who hold an address of a network, and have no record.
    fn unread_on(&self, name: &NetworkName) -> Result<Vec<Key>> {
        let mut unread = Vec::new();
        for address in self.store.leases(name)? {
            let holder = self.store.holder(&Claim::Lease(name.clone(), address))?;
            unread.extend(holder.and_then(Owner::container).filter(|key| !unread.contains(key)));
        }
        Ok(unread)
    }

    /// Takes a network away whose definition has changed, if nobody is on it; whether it did. The
    /// lock of everything is held.
    ///
    /// # Errors
    /// Containers are on it: what differs.
    pub(super) fn redefine(&mut self, spec: &NetworkSpec, known: Option<&Network>) -> Result<bool> {
        let Some(known) = known.filter(|_| spec.defined) else { return Ok(false) };
        let differences = spec.differences(known);
        if differences.is_empty() {
            return Ok(false);
        }
        if let here @ [first, ..] = &self.on_network(&spec.name)?[..] {
            let (count, id) = (here.len(), first.id());
            let cause = format!(
                "{} has changed while {count} containers are on it, {id} among them: {}",
                spec.said_by(),
                differences.join("; ")
            );
            let error = Error::new(format!("use network {}", spec.name), cause).of(Kind::Conflict);
            return Err(error.hint("detach them, or take the change back"));
        }
        self.remove_network(&spec.name)?;
        Ok(true)
    }

    /// Refuses a bridge that is recorded under another network's name.
    fn check_bridge(&self, network: &Network) -> Result<()> {
        let same = |other: &&Network| other.bridge == network.bridge && other.name != network.name;
        let records = self.store.records()?;
        let Some(other) = records.networks.iter().find(same) else { return Ok(()) };
        let cause = format!("bridge {} is that of network {}", network.bridge, other.name);
        let error = Error::new(format!("use network {}", network.name), cause).of(Kind::Conflict);
        Err(error.hint(format!("`netns rm {}` removes that one", other.name)))
    }

    fn forget_old_networks(&self) -> Result<()> {
        if !self.is_another_boot() {
            return Ok(());
        }
        let records = self.store.records()?;
        for network in records.networks.iter().filter(|network| network.boot_id != self.boot_id) {
            self.release_network(network)?;
            self.store.forget_network(&network.name)?;
        }
        Ok(())
    }

    fn on_network(&self, name: &NetworkName) -> Result<Vec<Key>> {
        let of_network = |record: &&Record| record.networks().any(|network| network == name);
        let records = self.store.records()?;
        Ok(records.containers.iter().filter(of_network).map(|record| record.key()).collect())
    }

    /// Records networks before their steps are applied; `before` is what was recorded of them.
    pub(super) fn begin_networks(&self, plan: &Plan, before: &[Option<Network>]) -> Result<()> {
        for (NetworkPlan { network, steps }, known) in plan.networks.iter().zip(before) {
            self.begin_network(network, known.as_ref(), !steps.is_empty())?;
        }
        Ok(())
    }

    pub(super) fn begin_network(
        &self,
        network: &Network,
        known: Option<&Network>,
        applies: bool,
    ) -> Result<()> {
        if known.is_none() {
            self.check_state_dir()?;
            self.check_bridge(network)?;
        }
        if known.is_none() && applies {
            self.store.set_network_pending(&network.name)?;
        }
        if known == Some(network) {
            return Ok(());
        }
        self.store.put_network(network)?;
        self.claim_network(network)
    }

    /// Refuses to make a network beside those of another state directory: the rules of all are in
    /// the same chains, and each directory would take the other's for left behind.
    fn check_state_dir(&self) -> Result<()> {
        for link in self.machine.kernel.netlink().links().doing(|| "look at links")?.0 {
            if let Some(other) = self.other_state_dir(&link) {
                let operation = format!("use state directory {}", self.state_dir().display());
                let cause = format!("bridge {} is recorded in {}", link.name, other.display());
                let hint = format!("pass --state-dir {}; one host has one", other.display());
                return Err(Error::new(operation, cause).of(Kind::Conflict).hint(hint));
            }
        }
        Ok(())
    }

    /// The other state directory in which a bridge of ours is recorded.
    pub(super) fn other_state_dir<'a>(&self, link: &'a Link) -> Option<&'a Path> {
        let other = Path::new(link.alias.as_deref()?);
        let is_bridge = link.kind.as_deref() == Some("bridge") && link.address.starts_with(&[2, BRIDGE_MAC]);
        let own = fs::canonicalize(self.state_dir()).unwrap_or_else(|_| self.state_dir().to_path_buf());
        let is_other = fs::canonicalize(other).ok()? != own;
        let recorded = || Store::existing(other).ok()??.records().ok().map(|records| records.networks);
        let named = |networks: Vec<Network>| networks.iter().any(|n| n.bridge.as_str() == link.name);
        (is_bridge && is_other && recorded().is_some_and(named)).then_some(other)
    }

    /// Makes every claim of a network; those that are there are fine.
    pub(super) fn claim_network(&self, network: &Network) -> Result<()> {
        let owner = Owner::Network(network.name.clone());
        Claim::all_of_network(network).iter().try_for_each(|claim| self.store.claim(claim, &owner))
    }

    /// Records networks as they were before their steps failed.
    pub(super) fn restore_networks(&self, plan: &Plan, before: &[Option<Network>]) -> Result<()> {
        for (NetworkPlan { network, .. }, known) in plan.networks.iter().zip(before) {
            self.restore_network(network, known.as_ref())?;
        }
        Ok(())
    }

    fn restore_network(&self, network: &Network, known: Option<&Network>) -> Result<()> {
        match known {
            Some(known) if known == network => Ok(()),
            Some(known) => self.store.put_network(known),
            None => {
                self.release_network(network)?;
                self.store.forget_network(&network.name)
            }
        }
    }

    fn release_network(&self, network: &Network) -> Result<()> {
        let owner = Owner::Network(network.name.clone());
        let claims = Claim::all_of_network(network);
        claims.iter().try_for_each(|claim| self.store.release(claim, &owner))
    }

    /// Applies the steps of a network alone; false if its rules could not be added that could be
    /// tried, and nothing is left of it.
    fn apply_network(&mut self, plan: NetworkPlan, known: Option<Network>) -> Result<bool> {
        let NetworkPlan { network, steps } = plan;
        self.begin_network(&network, known.as_ref(), !steps.is_empty())?;
        if let Err(failed) = apply(&self.not_rebuilt(steps.iter()), &mut self.machine) {
            if !failed.clean {
                return Err(failed.error);
            }
            self.restore_network(&network, known.as_ref())?;
            self.note_transactions();
            return if failed.rules && self.rebuilt.is_none() { Ok(false) } else { Err(failed.error) };
        }
        self.store.finish_network(&network.name)?;
        self.note_transactions();
        Ok(true)
    }

    /// Undoes a network and forgets it. The lock of everything is held.
    pub(super) fn remove_network(&mut self, name: &NetworkName) -> Result<()> {
        let Some(network) = self.network(name)? else {
            return self.store.forget_network(name);
        };
        self.store.set_network_pending(name)?;
        let owner = Owner::Network(name.clone());
        let mut steps = Vec::new();
        for step in &network.steps {
            let last = match step.shared_name() {
                Some(shared) => self.store.leave_shared(&shared, &owner)?,
                None => true,
            };
            steps.extend(last.then_some(step));
        }
        self.undo_unless_needed(steps, &format!("remove network {name}"))?;
        self.store.forget_network(name)?;
        self.note_transactions();
        Ok(())
    }

    /// Undoes the networks that a run was killed in the middle of making or removing: such a run
    /// had the lock of everything. Those on which a container is stay until it is cleaned up, since
    /// its rules stand in theirs. Which they were.
    pub(super) fn finish_interrupted_networks(&mut self) -> Result<Vec<NetworkName>> {
        let mut interrupted = Vec::new();
        for owner in self.store.all_pending()? {
            let Owner::Network(name) = owner else { continue };
            if !self.on_network(&name)?.is_empty() {
                continue;
            }
            if let Err(error) = self.remove_network(&name) {
                self.log.warn(&error);
            }
            interrupted.push(name);
        }
        Ok(interrupted)
    }
}
