//! A container gets its network.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Settings;
use super::reap::{Look, reap};
use super::reload::{apply_or_renew, put_back};
use super::session::Session;
use crate::config::Config;
use crate::config::value::Iface;
use crate::error::{Doing, Error, Result};
use crate::hook::Container;
use crate::kernel::process::{self, Process};
use crate::kernel::{Kernel, interfaces, named, observe, resolver};
use crate::plan::{self, Case, Host, Plan, Step};
use crate::store::index::Entry;
use crate::store::record::{Network, Record, Survey};
use crate::store::{Store, Wish};

/// Attaches a container to its network, creating the network if need be. Attaching the same
/// container again changes nothing.
///
/// # Errors
/// Anything that keeps it from being attached; everything that was done is undone then.
pub fn attach(settings: &Settings, container: &Container) -> Result<()> {
    let config = settings.config(&container.annotations)?;
    let (netns, process) = match &container.netns {
        Some(path) => named::open(path, &container.id)?,
        None => process::open(container.pid()?, &container.id)?,
    };
    let mut session = Session::open(settings)?;
    // Both go on while the rest is looked at and planned.
    if !config.publish.is_empty() {
        session.kernel.expect_rules();
    }
    session.kernel.start_entering(netns, process.pid)?;
    reap(&mut session, Look::Newcomer(&process))?;
    if session.is_suspicious() {
        put_back(&mut session)?;
    }
    let in_the_way = session.meet(&wish(&session.survey, &config, container, &process))?;
    let namesake = session.survey.container(&container.id, &container.bundle);
    if in_the_way || namesake.is_some_and(|entry| entry.process != process) {
        // At a glance it lives; now it matters.
        session.everyone()?;
        reap(&mut session, Look::Newcomer(&process))?;
    }
    if let Some(entry) = session.survey.container(&container.id, &container.bundle) {
        same(entry, &process)?;
        return session.close();
    }
    let host = look(&session.kernel, &config)?;
    let bridge_is_lost = host.bridge.is_none() && session.survey.network(&config.bridge).is_some();
    if bridge_is_lost || !config.nics.is_empty() {
        // Whoever hung on it is to be hung on the next one; anyone may have the interface.
        session.everyone()?;
    }
    let Session { store, survey, kernel, log, .. } = &mut session;
    let owner = match survey.inhabitant(process.netns) {
        Some(entry) => store.record(entry)?,
        None => None,
    };
    if let Some(path) = &process.path {
        log.debug(&format!("NETNS={}", path.display()));
    }
    let plan = plan(kernel, host, &config, survey, container, &process, owner.as_ref())?;
    kernel.finish_entering()?;
    look_inside(kernel, &plan, container)?;
    begin(store, survey, &plan)?;
    take(&mut session, &plan)?;
    finish(&mut session, &plan)?;
    if let Some(cable) = &plan.record.host_interface
        && let Err(error) = session.kernel.netlink().await_carrier(cable)
    {
        session.log.warn(&Error::new(format!("wait for the carrier of {cable}"), error));
    }
    session.close()
}

/// What others may have that this container wants.
fn wish<'a>(survey: &Survey, config: &'a Config, container: &'a Container, process: &Process) -> Wish<'a> {
    Wish {
        id: &container.id,
        bundle: &container.bundle,
        netns: process.netns,
        bridge: &config.bridge,
        gateway: config.gateway,
        cursor: survey.network(&config.bridge).and_then(|network| network.cursor),
        static_ip: config.static_ip,
        publish: &config.publish,
    }
}

/// Looks at the network, if the container is to be on one.
pub(super) fn look(kernel: &Kernel, config: &Config) -> Result<Host> {
    if config.no_bridge {
        return Ok(Host::default());
    }
    let mut host = observe::network(kernel, &config.bridge, config.gateway)?;
    resolver::network(&mut host, config);
    Ok(host)
}

/// Looks at the rest of the kernel and lists what attaching takes; `owner` is attached in the
/// same namespace already.
pub(super) fn plan(
    kernel: &Kernel,
    mut host: Host,
    config: &Config,
    survey: &Survey,
    container: &Container,
    process: &Process,
    owner: Option<&Record>,
) -> Result<Plan> {
    if !config.no_bridge {
        let name = plan::usual_host_interface(process.pid)?;
        let busy = |wanted: &_| survey.obstacle(wanted);
        observe::container(&mut host, kernel.netlink(), &name, &config.publish, busy)?;
        let bridge = owner.map_or(Some(&config.bridge), |owner| owner.bridge.as_ref());
        resolver::container(&mut host, config, bridge, container, process, kernel.log());
    }
    let wanted: Vec<&Iface> = config.nics.iter().map(|nic| &nic.name).collect();
    host.interfaces = interfaces::look(kernel.netlink(), &wanted)?;
    if config.name_netns {
        let name = &container.id;
        host.name =
            named::look(name, process.netns).doing(|| format!("look at {}", named::path(name).display()))?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let case = Case { config, host: &host, survey, container, process, now };
    match owner {
        Some(owner) => plan::join(case, owner),
        None => plan::attach(case),
    }
}

/// Refuses an interface whose name inside is taken; nobody is asked unless one is to be moved.
fn look_inside(kernel: &Kernel, plan: &Plan, container: &Container) -> Result<()> {
    let moves: Vec<&Step> = plan.take.iter().filter(|step| matches!(step, Step::MoveNic(_))).collect();
    if moves.is_empty() {
        return Ok(());
    }
    let names = kernel.inside_netlink()?.names().doing(|| "look at the container's links")?;
    plan::nics::check_inside(&moves, container, names.values().map(String::as_str))
}

/// Records every intended step. A network that exists already is whole whatever becomes of
/// this run: what may be missing of it is planned again by the next.
fn begin(store: &mut Store, survey: &Survey, plan: &Plan) -> Result<()> {
    if let Some(network) = &plan.network {
        let known = survey.network(&network.bridge);
        let cursor = known.and_then(|known| known.cursor);
        let network = Network { done: known.is_some(), cursor, ..network.clone() };
        if known != Some(&network) {
            store.put_network(&network)?;
        }
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
    let forgotten = store.forget(&Entry::from(&plan.record));
    let restored = match plan.network.as_ref().map(|network| &network.bridge) {
        None => Ok(()),
        Some(bridge) => match survey.network(bridge) {
            Some(known) => store.put_network(known),
            None => store.forget_network(bridge),
        },
    };
    Err(failed.error.also(forgotten.err().into_iter().chain(restored.err())))
}

fn finish(Session { store, survey, .. }: &mut Session, plan: &Plan) -> Result<()> {
    if let Some(network) = &plan.network
        && survey.network(&network.bridge).is_none()
    {
        store.put_network(network)?;
    }
    store.finish(&plan.record, plan.network.as_ref())
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
        match &entry.process.path {
            Some(path) => format!("it is attached already, by {}, which is still there", path.display()),
            None => format!("it is attached already, by process {}, which still runs", entry.process.pid),
        },
    )
    .hint(format!("`netns detach {}` takes the network from that one", entry.id)))
}
