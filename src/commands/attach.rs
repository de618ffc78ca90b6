//! A container gets its network.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Settings;
use super::reap::{Look, reap};
use super::reload::{apply_or_renew, put_back};
use super::session::Session;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::hook::Container;
use crate::kernel::process::{self, Process};
use crate::kernel::{Kernel, observe, resolver};
use crate::plan::{self, Plan};
use crate::store::Store;
use crate::store::index::Entry;
use crate::store::record::{Network, Record, Survey};

/// Attaches a container to its network, creating the network if need be. Attaching the same
/// container again changes nothing.
///
/// # Errors
/// Anything that keeps it from being attached; everything that was done is undone then.
pub fn attach(settings: &Settings, container: &Container) -> Result<()> {
    let config = settings.config(&container.annotations)?;
    let pid = container.pid()?;
    let (netns, process) = process::open(pid, &container.id)?;
    let mut session = Session::open(settings)?;
    if !config.publish.is_empty() {
        session.kernel.expect_rules();
    }
    reap(&mut session, Look::Newcomer(&process))?;
    if session.is_suspicious() {
        put_back(&mut session)?;
    }
    let Session { store, survey, kernel, .. } = &mut session;
    if let Some(entry) = survey.container(&container.id, &container.bundle) {
        return same(entry, &process);
    }
    let owner = match survey.inhabitant(process.netns) {
        Some(entry) => store.record(entry)?,
        None => None,
    };
    let plan = plan(kernel, &config, survey, container, process, owner.as_ref())?;
    kernel.enter(netns, pid)?;
    begin(store, survey, &plan)?;
    take(&mut session, &plan)?;
    finish(&mut session, &plan)?;
    let cable = &plan.record.host_interface;
    if let Err(error) = session.kernel.netlink().await_carrier(cable) {
        session.log.warn(&Error::new(format!("wait for the carrier of {cable}"), error));
    }
    session.close()
}

/// Looks at the kernel and lists what attaching takes; `owner` is attached in the same
/// namespace already.
pub(super) fn plan(
    kernel: &Kernel,
    config: &Config,
    survey: &Survey,
    container: &Container,
    process: Process,
    owner: Option<&Record>,
) -> Result<Plan> {
    let mut host = observe::network(kernel.netlink(), &config.bridge, config.gateway)?;
    resolver::network(&mut host, config);
    resolver::container(&mut host, config, container, &process, kernel.log());
    let name = plan::usual_host_interface(process.pid)?;
    let busy = survey.containers.iter().flat_map(|entry| &entry.published);
    observe::container(&mut host, kernel.netlink(), &name, &config.publish, busy)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match owner {
        Some(owner) => plan::join(config, &host, survey, container, process, now, owner),
        None => plan::attach(config, &host, survey, container, process, now),
    }
}

/// Records every intended step. A network that exists already is whole whatever becomes of
/// this run: what may be missing of it is planned again by the next.
fn begin(store: &mut Store, survey: &Survey, plan: &Plan) -> Result<()> {
    let known = survey.network(&plan.network.bridge);
    let network = Network { done: known.is_some(), ..plan.network.clone() };
    if known != Some(&network) {
        store.put_network(&network)?;
    }
    store.begin(&plan.record)
}

/// Takes the steps; if one fails, forgets what was recorded, unless something is left behind.
fn take(session: &mut Session, plan: &Plan) -> Result<()> {
    let Err(failed) = apply_or_renew(session, &plan.take) else {
        return Ok(());
    };
    if !failed.clean {
        return Err(failed.error);
    }
    let Session { store, survey, .. } = session;
    let forgotten = store.forget(&plan.record.id, &plan.record.bundle);
    let restored = match survey.network(&plan.network.bridge) {
        Some(known) => store.put_network(known),
        None => store.forget_network(&plan.network.bridge),
    };
    Err(failed.error.also(forgotten.err().into_iter().chain(restored.err())))
}

fn finish(Session { store, survey, .. }: &mut Session, plan: &Plan) -> Result<()> {
    if survey.network(&plan.network.bridge).is_none() {
        store.put_network(&plan.network)?;
    }
    store.finish(&plan.record)
}

/// Whether a known container is the one at hand, which has what it needs already.
///
/// # Errors
/// It is another one, and alive.
pub(super) fn same(entry: &Entry, process: &Process) -> Result<()> {
    if entry.process == *process {
        return Ok(());
    }
    Err(Error::new(
        format!("attach container {}", entry.id),
        format!("it is attached already, by process {}, which still runs", entry.process.pid),
    )
    .hint(format!("`netns detach {}` takes the network from that one", entry.id)))
}
