//! What the dead and the interrupted left behind: no runtime can be trusted to call `poststop`.

use std::time::Duration;

use super::session::Session;
use crate::apply::undo;
use crate::error::{Doing, Error, Result};
use crate::kernel::netlink::Netlink;
use crate::kernel::nic;
use crate::kernel::process::{Census, Process};
use crate::log::Log;
use crate::plan::{self, Step};
use crate::store::Store;
use crate::store::index::Entry;
use crate::store::record::{Network, Survey};

/// How many containers are looked at closely by each attach, in turn: a pid that was given to
/// another process hides a dead container from the cheap look.
const CLOSE_LOOKS: usize = 2;

/// How long to wait for the cable of a namespace that seems to be gone; in milliseconds.
const CABLE_PATIENCE: u32 = 200;

/// How closely to look for the dead.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look<'a> {
    /// At every container, as closely as can be.
    Close,
    /// As an attach does, which must cost the same however many are up: closely at those that
    /// the newcomer could be mistaken for, and at a few others in turn.
    Newcomer(&'a Process),
}

/// Undoes and forgets every container that is dead or was attached half way only, and every
/// network that was created half way only. Who they were.
///
/// What cannot be undone stays recorded for the next run, and stops nobody.
pub(super) fn reap(session: &mut Session, look: Look<'_>) -> Result<Vec<String>> {
    let dead = session.find_dead(look)?;
    let mut reaped: Vec<String> = dead.iter().map(|entry| format!("container {}", entry.id)).collect();
    if !dead.is_empty() {
        reaped.iter().for_each(|who| session.log.debug(&format!("# reap {who}")));
        if let Err(error) = remove(session, dead) {
            session.log.warn(&error);
        }
    }
    let networks = session.survey.networks.iter();
    let unfinished: Vec<Network> = networks.filter(|network| !network.done).cloned().collect();
    for network in unfinished {
        reaped.push(format!("network {}", network.bridge));
        if let Err(error) = remove_network(session, network) {
            session.log.warn(&error);
        }
    }
    Ok(reaped)
}

impl Session {
    /// Those that are dead or unfinished.
    pub(super) fn find_dead(&mut self, look: Look<'_>) -> Result<Vec<Entry>> {
        if let Look::Newcomer(newcomer) = look
            && self.survey.rest.is_some()
            && self.all_seem_alive(newcomer)
        {
            return Ok(Vec::new());
        }
        self.everyone()?;
        find_dead(&self.survey, self.kernel.netlink(), look)
    }

    /// Whether everyone seems alive and whole, by one system call each for most.
    fn all_seem_alive(&mut self, newcomer: &Process) -> bool {
        let census = Census::of(newcomer.boot_id.clone());
        let Some(rows) = self.store.sweep(census.boot_id()) else { return false };
        let turn = std::process::id() as usize;
        for (at, row) in rows.iter().enumerate() {
            let alike = row.pid == newcomer.pid || row.netns == newcomer.netns;
            let close = alike || (turn.wrapping_add(at) % rows.len()) < CLOSE_LOOKS;
            let seems_alive = match row.pid {
                0 => self.store.entry(row).is_some_and(|entry| census.leads_to(&entry.process)),
                pid if close => census.runs(pid, row.start_time),
                pid => census.may_run(pid),
            };
            if !row.done || !seems_alive {
                return false;
            }
        }
        true
    }
}

/// Those in `survey`, which knows of everyone, that are dead or unfinished.
pub(super) fn find_dead(survey: &Survey, netlink: &Netlink, look: Look<'_>) -> Result<Vec<Entry>> {
    let census = Census::new()?.despite(survey.held().filter_map(Step::name_file));
    let patient = |entry: &Entry| match look {
        Look::Close => true,
        Look::Newcomer(newcomer) => alike(&entry.process, newcomer),
    };
    let mut dead = Vec::new();
    for entry in &survey.containers {
        if !entry.done || !lives(entry, &census, netlink, patient(entry))? {
            dead.push(entry.clone());
        }
    }
    Ok(dead)
}

/// Whether one could be mistaken for the other.
fn alike(known: &Process, newcomer: &Process) -> bool {
    let same_pid = known.pid().is_some() && known.pid == newcomer.pid;
    let same_path = known.path.is_some() && known.path == newcomer.path;
    same_pid || same_path || known.netns == newcomer.netns
}

/// Whether a container is alive; `patient` waits for what the kernel is about to take away.
pub(super) fn lives(entry: &Entry, census: &Census, netlink: &Netlink, patient: bool) -> Result<bool> {
    if entry.process.path.is_some() {
        return named_lives(entry, census, netlink, patient);
    }
    Ok(census.is(&entry.process) || outlives_its_process(entry, census, netlink)?)
}

/// As [`lives`], where the namespace was given by its path. If that no longer leads there, the
/// cable tells, which the kernel takes away with the namespace, a little later: the path may be
/// a mount that this run does not see. Unless a name of ours keeps the namespace.
fn named_lives(entry: &Entry, census: &Census, netlink: &Netlink, patient: bool) -> Result<bool> {
    if census.leads_to(&entry.process) {
        return has_cable(entry, netlink);
    }
    if census.is_named(&entry.process) {
        return outlives_its_process(entry, census, netlink);
    }
    let patience = if patient { CABLE_PATIENCE } else { 0 };
    for _ in 0..patience {
        if !has_cable(entry, netlink)? || census.is_inhabited(&entry.process) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    has_cable(entry, netlink)
}

/// Whether the container's namespace is kept alive by another process or a mount. Its number
/// may belong to another namespace by now, but not while the cable is there: the kernel takes
/// the cable away before it gives the number to anyone.
pub(super) fn outlives_its_process(entry: &Entry, census: &Census, netlink: &Netlink) -> Result<bool> {
    Ok(census.is_inhabited(&entry.process) && has_cable(entry, netlink)?)
}

fn has_cable(entry: &Entry, netlink: &Netlink) -> Result<bool> {
    for step in &entry.shared {
        if let Step::AddVeth(veth) = step {
            let name = veth.name.as_str();
            let found = netlink.link(name).doing(|| format!("look at link {name}"))?;
            return Ok(found.is_some_and(|found| found.address == veth.mac.0));
        }
        if let Step::MoveNic(nic) = step
            && nic::is_inside(netlink, nic)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Undoes, all at once, what `entries` share with nobody else, and forgets them.
///
/// They are recorded as unfinished before anything is undone, and so they stay if we are
/// killed or something cannot be undone: the next run goes on.
///
/// # Errors
/// What could not be undone or written.
pub(super) fn remove(session: &mut Session, entries: Vec<Entry>) -> Result<()> {
    session.take_leave(&entries)?;
    let Session { store, survey, kernel, log, .. } = session;
    let steps: Vec<Vec<Step>> = entries.iter().map(|entry| steps_of(store, log, entry)).collect();
    // A full disk keeps nobody from leaving.
    let unfinished = entries.iter().filter(|entry| entry.done);
    let mut failures: Vec<Error> = unfinished.filter_map(|entry| store.reopen(entry).err()).collect();
    let undone = undo(&shared_with_nobody(survey, steps.into_iter()), kernel);
    if undone.is_ok() {
        failures.extend(entries.iter().filter_map(|entry| store.forget(entry).err()));
    } else {
        survey.containers.extend(entries.into_iter().map(|entry| Entry { done: false, ..entry }));
    }
    Error::merge(undone.err().into_iter().chain(failures)).map_or(Ok(()), Err)
}

/// All steps of those who go, each once, that nobody in `survey` holds.
pub(super) fn shared_with_nobody(survey: &Survey, all: impl Iterator<Item = Vec<Step>>) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for unshared in all.map(|steps| survey.unshared(&steps)) {
        let fresh = unshared.into_iter().filter(|step| !step.may_be_shared() || !steps.contains(step));
        steps.extend(fresh.collect::<Vec<_>>());
    }
    steps
}

/// The steps of a container's record; if that is damaged or gone, those that the index knows.
fn steps_of(store: &Store, log: &Log, entry: &Entry) -> Vec<Step> {
    match store.record(entry) {
        Ok(Some(record)) => record.steps,
        // Killed before its record was written, and so before its first step; or forgotten.
        Ok(None) => Vec::new(),
        Err(error) => {
            log.warn(&error);
            let hosts =
                entry.bridge.as_ref().map(|bridge| plan::directory(store.dir(), bridge).join("hosts"));
            // Whatever the lines say: nobody else has these slots.
            let line =
                |slot: &u32| Some(Step::AddHost { path: hosts.clone()?, slot: *slot, line: String::new() });
            let lines = entry.slots.iter().filter_map(line);
            let rules = entry.published_rules().map(Step::Firewall);
            rules.chain(entry.shared.iter().cloned()).chain(lines).collect()
        }
    }
}

/// As [`remove`], for a network.
///
/// # Errors
/// What could not be undone or written.
pub(super) fn remove_network(session: &mut Session, mut network: Network) -> Result<()> {
    session.everyone()?;
    let Session { store, survey, kernel, .. } = session;
    survey.networks.retain(|other| other.bridge != network.bridge);
    network.done = false;
    let recorded = store.put_network(&network);
    let undone = undo(&survey.unshared(&network.steps), kernel);
    if undone.is_ok() {
        store.forget_network(&network.bridge)?;
        let empty = survey.networks.is_empty() && survey.containers.is_empty();
        return if empty { store.forget_all() } else { Ok(()) };
    }
    survey.networks.push(network);
    undone.and(recorded)
}
