//! Who is stale: dead, or interrupted half way. No runtime can be trusted to call `poststop`.

use std::time::Duration;

use super::attach::now;
use super::run::Run;
use crate::error::{Doing, Error, Kind, Result};
use crate::kernel::alive::Liveness;
use crate::kernel::netlink::Netlink;
use crate::kernel::{children, moving};
use crate::model::container::Key;
use crate::model::record::Record;
use crate::model::step::Step;
use crate::store::{Held, Owner, Pending};

/// How many of those that are pending each run looks at, in turn: most are other runs' that are
/// at it now.
const PENDING: usize = 8;
/// How many containers each run looks at, in turn: by one system call each.
const GLANCES: usize = 64;
/// How many of these it verifies: a pid that was given to another process hides a dead container
/// from a glance, and nothing in the kernel tells of a lost claim of a port.
const VERIFIED: usize = 3;
/// After so many published ports no more are verified: each is a claim to look at.
const PORTS: usize = 16;
/// How many are verified of those that were given by a path, for which there is no glance: their
/// records are read, and their links asked for.
const PATHS: usize = 8;
/// How long to wait for the veth pair of a namespace that seems to be gone; in milliseconds.
const VETH_PATIENCE: u32 = 200;

/// Why a container cannot be planned yet, or at all.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// These are to be undone first.
    Stale(Vec<Key>),
    /// Another run is at this container.
    Busy(Key),
    /// The rules are to be looked at first.
    Rules,
    /// Another run has changed what was observed.
    Again,
    /// It cannot be done.
    Failed(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

pub(super) type Admitted<T> = std::result::Result<T, Obstacle>;

impl Run<'_> {
    /// Who seems to need attention, of the interrupted and of those whose turn it is. Asked
    /// without the lock, so that nobody waits for it.
    pub(super) fn glance(&mut self) -> Result<Vec<Owner>> {
        let mut seen = Vec::new();
        // By pids some might never have their turn: they follow one another by even steps.
        let first = now().subsec_nanos() as usize;
        let mut pending = self.store.all_pending()?;
        if pending.len() > PENDING {
            let turn = first % pending.len();
            pending.rotate_left(turn);
            pending.truncate(PENDING);
        }
        for owner in pending {
            let busy = match &owner {
                Owner::Container(key) => {
                    self.given_up.contains(key)
                        || self.store.is_set_aside(key)
                        || matches!(self.store.hold(key)?, Held::Busy)
                }
                Owner::Network(_) | Owner::Unknown => false,
            };
            if !busy {
                seen.push(owner);
            }
        }
        let liveness = Liveness::of(self.boot_id.clone());
        let (batch, turn) = self.store.in_turn(GLANCES)?;
        self.turn = turn;
        let mut ports = 0;
        for (at, (pid, key)) in batch.iter().enumerate() {
            // One that was given by a path has no pid to ask for: only its record and its links tell.
            let most = if pid.is_some() { VERIFIED } else { PATHS };
            let verify = (first.wrapping_add(at) % batch.len()) < most && ports < PORTS;
            let seems_alive = pid.is_none_or(|pid| liveness.may_run(pid));
            let owner = Owner::Container(key.clone());
            if (verify || !seems_alive) && !seen.contains(&owner) && !self.is_fine(key, &mut ports)? {
                seen.push(owner);
            }
        }
        Ok(seen)
    }

    /// Whether a container lives and has its claims; or is somebody else's business. Adds to `ports`
    /// those that were looked at.
    fn is_fine(&self, key: &Key, ports: &mut usize) -> Result<bool> {
        match self.store.record(key)? {
            _ if self.given_up.contains(key) => Ok(true),
            Some(Ok(record)) => {
                *ports += record.ports.len();
                Ok(self.lives(&record, false)? && self.store.has_all_claims(&record)?)
            }
            // What another version has written is its business.
            Some(Err(damage)) => Ok(damage.kind() == Kind::Conflict),
            // Another run has just forgotten it; or its record is lost, and `gc` finds it.
            None => Ok(true),
        }
    }

    /// Those of the ones that need attention that are stale; what else is wrong with them is set
    /// right. The lock of everything is held.
    pub(super) fn attend_to(&mut self, seen: &[Owner]) -> Result<Vec<Key>> {
        self.store.end_turn(&std::mem::take(&mut self.turn));
        let mut stale = Vec::new();
        for owner in seen {
            match owner {
                Owner::Network(_) | Owner::Unknown => drop(self.finish_interrupted_networks()?),
                Owner::Container(key) => {
                    if self.is_stale(key)? {
                        stale.push(key.clone());
                    }
                }
            }
        }
        Ok(stale)
    }

    /// Whether a container is dead or interrupted; if it is not, its claims are set right.
    fn is_stale(&self, key: &Key) -> Result<bool> {
        if self.store.pending(key)?.is_some() {
            return match self.store.hold(key)? {
                Held::Mine(_) => Ok(true),
                Held::Busy => Ok(false),
                // Killed before its record was written, and so before its first claim.
                Held::Absent => self.store.forget_key(key).map(|()| false),
            };
        }
        let Some(record) = self.record(key)? else { return Ok(false) };
        if !self.lives(&record, false)? {
            return Ok(true);
        }
        let operation = || format!("verify {}", record.container);
        match self.store.restore_claims(&record) {
            Ok(false) => {}
            Ok(true) => {
                self.log.warn(&Error::new(operation(), "claims of it were missing, and are restored"));
            }
            // It keeps nobody else from anything.
            Err(error) => self.log.warn(&error.during(operation())),
        }
        Ok(false)
    }

    /// The record of a container that is in the way, if it lives.
    pub(super) fn verify(&self, owner: &Owner) -> Admitted<Record> {
        let Owner::Container(key) = owner else {
            return Err(Error::new("verify a claim", format!("{owner} has it")).of(Kind::Conflict).into());
        };
        if let Some(how) = self.store.pending(key)? {
            return Err(match self.store.hold(key)? {
                Held::Busy => Obstacle::Busy(key.clone()),
                _ if self.given_up.contains(key) => held_by_interrupted(owner, how).into(),
                _ => Obstacle::Stale(vec![key.clone()]),
            });
        }
        let Some(record) = self.record(key)? else {
            let hint = "`netns gc` removes what is left of it, if it is gone";
            let cause = format!("{owner} has it, whose record is damaged or missing");
            return Err(Error::new("verify a claim", cause).of(Kind::Conflict).hint(hint).into());
        };
        if self.lives(&record, true)? { Ok(record) } else { Err(Obstacle::Stale(vec![key.clone()])) }
    }

    /// Whether a container is alive; `patient` waits for what the kernel is about to take away.
    pub(super) fn lives(&self, record: &Record, patient: bool) -> Result<bool> {
        let (liveness, netlink) = (Liveness::of(self.boot_id.clone()), self.machine.kernel.netlink());
        if liveness.is_running(&record.sandbox)? {
            return is_its_own(record, netlink);
        }
        let mut names: Vec<_> = record.steps.iter().filter_map(Step::name_file).collect();
        for key in self.store.in_netns(record.sandbox.netns)? {
            if let Some(Ok(mate)) = self.store.record(&key)? {
                names.extend(mate.steps.iter().filter_map(Step::name_file));
            }
        }
        lives(record, &liveness.ignoring(names.into_iter()), netlink, patient)
    }
}

fn held_by_interrupted(owner: &Owner, how: Pending) -> Error {
    let state = if how == Pending::Leaving { "could not be undone" } else { "was interrupted" };
    Error::new("verify a claim", format!("{owner} has it, which {state}")).of(Kind::Conflict)
}

/// Whether a container is alive; `patient` waits for what the kernel is about to take away.
pub(super) fn lives(record: &Record, liveness: &Liveness, netlink: &Netlink, patient: bool) -> Result<bool> {
    if liveness.is_running(&record.sandbox)? {
        return is_its_own(record, netlink);
    }
    if record.sandbox.path().is_none() || liveness.is_named(&record.sandbox)? {
        return outlives_its_process(record, liveness, netlink);
    }
    // The path may be a mount that this run does not see. The kernel takes the veth pair away
    // with the namespace, a little later.
    for _ in 0..if patient { VETH_PATIENCE } else { 0 } {
        if !has_link(record, netlink)? || liveness.is_inhabited(&record.sandbox)? {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    has_link(record, netlink)
}

/// Whether the namespace by which a container was found is still its own: a path may lead to one that
/// was given the number of another.
fn is_its_own(record: &Record, netlink: &Netlink) -> Result<bool> {
    Ok(record.sandbox.path().is_none() || has_link(record, netlink)? || has_lost_parent(record, netlink)?)
}

/// Whether the container's namespace is kept alive by another process or a mount. Its number
/// may belong to another namespace by now, but not while the veth pair is there: the kernel
/// takes that away before it gives the number to anyone.
fn outlives_its_process(record: &Record, liveness: &Liveness, netlink: &Netlink) -> Result<bool> {
    Ok(liveness.is_inhabited(&record.sandbox)? && has_link(record, netlink)?)
}

fn has_link(record: &Record, netlink: &Netlink) -> Result<bool> {
    for step in &record.steps {
        if let Step::AddVeth(veth) = step {
            let name = veth.name.as_str();
            let found = netlink.link(name).doing(|| format!("look at link {name}"))?;
            return Ok(found.is_some_and(|found| found.address == veth.mac.0));
        }
    }
    for child in record.children() {
        if children::is_there(child)? {
            return Ok(true);
        }
    }
    for device in record.devices() {
        if moving::is_inside(device)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether its interfaces are gone with the link of the host that they were made on, which says nothing
/// of the container.
fn has_lost_parent(record: &Record, netlink: &Netlink) -> Result<bool> {
    let Some(child) = record.children().next() else { return Ok(false) };
    let operation = || format!("look at link {}", child.parent);
    Ok(netlink.link(child.parent.as_str()).doing(operation)?.is_none())
}
