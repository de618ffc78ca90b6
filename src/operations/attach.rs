//! A container gets its network.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::apply::apply;
use super::claims::cursor_note;
use super::detach::busy;
use super::observe::Known;
use super::run::Run;
use super::stale::{Admitted, Obstacle};
use crate::config::Settings;
use crate::error::{Doing, Error, Kind, Result};
use crate::kernel::process;
use crate::model::container::Key;
use crate::model::network::{Network, NetworkSpec};
use crate::model::observed::{Host, Link};
use crate::model::record::{Attachment, Record};
use crate::model::request::Request;
use crate::model::rule::{Backend, Family, Rule};
use crate::model::sandbox::Sandbox;
use crate::model::step::Step;
use crate::plan::{self, Case, Plan};
use crate::store::{Lock, Owner};

/// How often to begin again: after having waited, or cleaned up, or rebuilt the rules.
const ATTEMPTS: usize = 64;

/// What is to be done for a container.
pub(super) enum Admission {
    /// Nothing: it is attached.
    Attached(Box<Record>),
    /// This, once these are done with the steps that it shares with them.
    Planned(Box<Plan>, Vec<Key>),
}

/// Attaches a container to its networks, creating them if need be. Attaching the same container
/// again changes nothing.
///
/// ```text
/// observe the container
/// lock: find who is stale -> observe -> plan (leases and ports chosen) -> claim, record   unlock
/// apply the container's own steps, under its record's own lock
/// lock: mark done                                                                         unlock
/// ```
///
/// Whoever is stale or busy is cleaned up or waited for without the lock, and then it begins
/// again. The steps of a network that is not there yet are applied under the lock.
///
/// # Errors
/// Anything that keeps it from being attached; everything that was done is undone then.
pub fn attach(settings: &Settings, mut request: Request) -> Result<Vec<Attachment>> {
    let (netns, sandbox) = process::open(&request.netns, &request.container.id)?;
    let mut run = Run::open(settings)?;
    let expected = run.expected(&request)?;
    run.share_rules(&expected)?;
    run.machine.kernel.enter(netns, run.store.namespaces())?;
    run.warn_of_damage();
    if let Some(path) = sandbox.path() {
        run.log.debug(&format!("NETNS={}", path.display()));
    }
    let mut host = run.observe_container(&mut request, &sandbox)?;
    for _ in 0..ATTEMPTS {
        run.share_rules(&expected)?;
        let seen = run.glance()?;
        let networks = run.observe_networks(&mut host, &mut request, &sandbox)?;
        if run.adopt_lost(&lost(&request, &host, &networks))? {
            continue;
        }
        let lock = run.store.lock()?;
        match run.admit(&mut request, &sandbox, &mut host, &networks, &seen) {
            Ok(Admission::Attached(record)) => return Ok(record.attachments),
            Ok(Admission::Planned(plan, changing)) if plan.makes_a_network() && !changing.is_empty() => {
                drop(lock);
                run.wait_for(&changing)?;
            }
            Ok(Admission::Planned(plan, changing)) => {
                match run.carry_out(lock, *plan, &changing, &networks)? {
                    Some(attachments) => return Ok(attachments),
                    // Somebody has removed what our rules stand on.
                    None => run.rebuild_rules()?,
                }
            }
            Err(Obstacle::Stale(keys)) => {
                run.clean_up(lock, &keys).err().iter().for_each(|error| run.log.warn(error));
            }
            Err(Obstacle::Busy(key)) => {
                drop(lock);
                run.wait_for(&[key])?;
            }
            Err(Obstacle::Rules) => {
                drop(lock);
                run.restore_rules()?;
            }
            Err(Obstacle::Again) => {}
            Err(Obstacle::Failed(error)) => return Err(error),
        }
    }
    Err(busy(&request.container.key()))
}

impl Run<'_> {
    /// Who will be told of a container's ports, if it publishes any, and of which families.
    fn expected(&self, request: &Request) -> Result<Vec<(Backend, Family)>> {
        let first = request.networks.first().filter(|_| request.published().next().is_some());
        let Some(wanted) = first.map(|first| &first.network) else { return Ok(Vec::new()) };
        // Where nobody is on nftables, no record need be read.
        let mut other = false;
        for family in wanted.families().filter(|_| wanted.firewall.is_none()) {
            let base = Step::Firewall(Rule::Base { family, backend: Backend::Nftables });
            other |= base.shared_name().map_or(Ok(false), |name| self.store.is_shared(&name))?;
        }
        let known =
            if other { self.store.network(&wanted.name)?.and_then(std::result::Result::ok) } else { None };
        let backend = wanted.backend(known.as_ref());
        Ok(wanted.families().map(|family| (backend, family)).collect())
    }

    /// Whether a container can be attached now, and how.
    fn admit(
        &mut self,
        request: &mut Request,
        sandbox: &Sandbox,
        host: &mut Host,
        networks: &[Known],
        seen: &[Owner],
    ) -> Admitted<Admission> {
        self.first_of_this_boot()?;
        let stale = self.attend_to(seen)?;
        if !stale.is_empty() {
            return Err(Obstacle::Stale(stale));
        }
        if let Some(record) = self.namesake(request, sandbox)? {
            return Ok(Admission::Attached(Box::new(record)));
        }
        self.check_rules(networks)?;
        if !self.are_unchanged(request, networks) {
            return Err(Obstacle::Again);
        }
        for (wanted, known) in request.networks.iter().zip(networks) {
            if self.redefine(&wanted.network, known.network.as_ref())? {
                return Err(Obstacle::Again);
            }
        }
        let planned = match self.plan(request, sandbox, host, networks) {
            Ok((plan, changing)) if !plan.makes_a_network() => (plan, changing),
            Err(obstacle @ (Obstacle::Stale(_) | Obstacle::Busy(_))) => return Err(obstacle),
            // It was observed without the lock, and another run may have made it by now.
            _ => {
                let networks = self.observe_networks(host, request, sandbox)?;
                self.plan(request, sandbox, host, &networks)?
            }
        };
        Ok(Admission::Planned(Box::new(planned.0), planned.1))
    }

    /// Chooses, and plans. Changes nothing.
    pub(super) fn plan(
        &self,
        request: &Request,
        sandbox: &Sandbox,
        host: &Host,
        networks: &[Known],
    ) -> Admitted<(Plan, Vec<Key>)> {
        let mates = self.mates(sandbox.netns, &request.container.key())?;
        let (claimed, changing) = self.claimed(request, host, networks, mates)?;
        let case = Case { request, host, claimed: &claimed, sandbox, now: now().as_secs() };
        Ok((plan::attach(case)?, changing))
    }

    /// Cleans up; what cannot be undone stays recorded for the next run, and stops nobody.
    pub(super) fn clean_up(&mut self, lock: Lock, keys: &[Key]) -> Result<()> {
        keys.iter().for_each(|key| self.log.debug(&format!("# clean up container {}", key.id())));
        let left = self.leave(lock, keys).map(drop);
        left.inspect_err(|_| self.given_up.extend(keys.iter().cloned()))
    }

    /// The record of this very container, if it is attached already.
    ///
    /// # Errors
    /// Another has its id, and lives.
    pub(super) fn namesake(&self, request: &Request, sandbox: &Sandbox) -> Admitted<Option<Record>> {
        let key = request.container.key();
        if self.record_of(&request.container)?.is_none() {
            let lost = self.store.is_set_aside(&key) && !self.given_up.contains(&key);
            return if lost { Err(Obstacle::Stale(vec![key])) } else { Ok(None) };
        }
        let known = self.verify(&Owner::Container(key))?;
        if known.sandbox == *sandbox {
            return Ok(Some(known));
        }
        let id = known.id();
        let state = if known.sandbox.path().is_some() { "is still there" } else { "still runs" };
        let by = match known.sandbox.path() {
            Some(path) => path.display().to_string(),
            None => known.sandbox.to_string(),
        };
        let error = Error::new(
            format!("attach {}", request.container),
            format!("it is attached already, by {by}, which {state}"),
        );
        let hint = format!("`netns detach {id}` takes the network from that one");
        Err(error.of(Kind::Conflict).hint(hint).into())
    }

    /// Whether somebody else has changed the ruleset. While other runs of ours are at it, nobody
    /// can tell, and the first one afterwards looks.
    fn check_rules(&self, networks: &[Known]) -> Admitted<()> {
        let in_place = networks.first().is_some_and(|known| known.network.is_some());
        if in_place && self.rebuilt.is_none() && self.is_ruleset_changed() && self.nobody_pending()? {
            return Err(Obstacle::Rules);
        }
        Ok(())
    }

    /// Claims and records what is planned, and applies it; `None` if rules could not be added
    /// that could be tried, and nothing is left of it.
    fn carry_out(
        &mut self,
        lock: Lock,
        plan: Plan,
        changing: &[Key],
        networks: &[Known],
    ) -> Result<Option<Vec<Attachment>>> {
        self.check_inside(&plan)?;
        let before: Vec<Option<Network>> = networks.iter().map(|known| known.network.clone()).collect();
        self.begin_networks(&plan, &before)?;
        let begun =
            self.begin(&plan).map_err(|error| error.also(self.restore_networks(&plan, &before).err()));
        let own = begun?;
        // A network that is not there yet is made before anybody else can want it.
        let held = if plan.makes_a_network() { Some(lock) } else { drop_lock(lock) };
        // Whoever makes what our rules stand on is ready for them when it lets go of its record.
        changing.iter().try_for_each(|key| self.store.wait_for(key))?;
        let applied = apply(&self.not_rebuilt(plan.all_steps()), &mut self.machine);
        let lock = held.map_or_else(|| self.store.lock(), Ok)?;
        if let Err(failed) = applied {
            if !failed.clean {
                return Err(failed.error);
            }
            self.forget(&plan.record)?;
            self.restore_networks(&plan, &before)?;
            self.note_transactions();
            let retry = failed.rules && self.rebuilt.is_none();
            self.log.debug(&format!("# {}", failed.error));
            return if retry { Ok(None) } else { Err(failed.error) };
        }
        let ended = self.end(&plan);
        drop(own);
        if let Err(error) = ended {
            return Err(error.also(self.leave(lock, &[plan.record.key()]).err()));
        }
        drop(lock);
        self.await_carrier(&plan);
        Ok(Some(plan.record.attachments))
    }

    /// Waits until other runs are done with these, with nothing in hand that they could need.
    pub(super) fn wait_for(&mut self, keys: &[Key]) -> Result<()> {
        self.release_rules();
        keys.iter().try_for_each(|key| self.store.wait_for(key))
    }

    /// Refuses a device whose name inside is taken; nobody is asked unless one is to be moved.
    fn check_inside(&self, plan: &Plan) -> Result<()> {
        if !plan.steps.iter().any(|step| matches!(step, Step::MoveDevice(_))) {
            return Ok(());
        }
        let links = self.machine.kernel.inside_netlink()?.links();
        let links = links.doing(|| "look at the container's links")?;
        plan::check_inside(&plan.steps, &plan.record.container, links.0.iter().map(|link| link.name.as_str()))
    }

    fn begin(&self, plan: &Plan) -> Result<Lock> {
        let owner = Owner::Container(plan.record.key());
        let own = self.store.begin(&plan.record)?;
        for name in plan.new_shared() {
            self.store.set_changing(&name, &owner)?;
        }
        Ok(own)
    }

    /// Marks everything as done.
    fn end(&mut self, plan: &Plan) -> Result<()> {
        for name in plan.new_shared() {
            self.store.changed(&name)?;
        }
        for network in &plan.networks {
            self.store.finish_network(&network.network.name)?;
        }
        for (name, address) in &plan.leased {
            self.store.put_note(&cursor_note(name, Family::of(*address)), &address.to_string());
        }
        self.note_transactions();
        self.store.finish(&plan.record.key())
    }

    /// Waits until the kernel has acted on the carrier of the veth pairs: until then the first
    /// packets would be lost.
    fn await_carrier(&self, plan: &Plan) {
        for name in plan.record.host_interfaces() {
            if let Err(error) = self.machine.kernel.netlink().await_carrier(name) {
                self.log.warn(&Error::new(format!("wait for the carrier of {name}"), error));
            }
        }
    }
}

/// The networks that have no record, though a bridge has their address.
fn lost<'a>(request: &'a Request, host: &Host, networks: &[Known]) -> Vec<&'a NetworkSpec> {
    let seen = request.networks.iter().zip(networks.iter().zip(&host.networks));
    let lost = seen.filter(|(wanted, (known, observed))| {
        let has =
            |bridge: &Link| wanted.network.subnets.iter().all(|subnet| bridge.addresses.contains(subnet));
        known.network.is_none() && observed.bridge.as_ref().is_some_and(has)
    });
    lost.map(|(wanted, _)| &wanted.network).collect()
}

/// Since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn drop_lock(lock: Lock) -> Option<Lock> {
    drop(lock);
    None
}
