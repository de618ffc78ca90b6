//! A container gets its network.

use std::time::{SystemTime, UNIX_EPOCH};

use super::reap::reap;
use super::{Settings, warn_of_damage};
use crate::apply::apply;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::hook::Container;
use crate::kernel::process::{self, Process};
use crate::kernel::{Kernel, observe};
use crate::plan::{self, Plan};
use crate::store::Store;
use crate::store::record::{Record, Survey};

/// Attaches a container to its network, creating the network if need be. Attaching the same
/// container again changes nothing.
///
/// # Errors
/// Anything that keeps it from being attached; everything that was done is undone then.
pub fn attach(settings: &Settings, container: &Container) -> Result<()> {
    let config = settings.config(&container.annotations)?;
    let pid = container.pid()?;
    let (netns, process) = process::open(pid, &container.id)?;
    let store = Store::lock(&settings.state_dir)?;
    let mut survey = store.survey()?;
    warn_of_damage(&settings.log, &survey);
    let mut kernel = Kernel::open(settings.log.clone())?;
    reap(&store, &mut survey, &mut kernel, &settings.log);
    if let Some(record) = survey.container(&container.id, &container.bundle) {
        return same(record, &process);
    }
    let plan = plan(&kernel, &config, &survey, container, process)?;
    record(&store, &survey, &plan, false)?;
    kernel.enter(netns, pid).and_then(|()| take(&store, &survey, &plan, &mut kernel))?;
    record(&store, &survey, &plan, true)
}

/// Looks at the kernel and lists what attaching takes.
pub(super) fn plan(
    kernel: &Kernel,
    config: &Config,
    survey: &Survey,
    container: &Container,
    process: Process,
) -> Result<Plan> {
    let mut host = observe::network(kernel.netlink(), &config.bridge, config.gateway)?;
    let name = plan::usual_host_interface(process.pid)?;
    let busy = survey.containers.iter().flat_map(|record| record.published.clone()).collect();
    observe::container(&mut host, kernel.netlink(), &name, &config.publish, busy)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let inhabits = |record: &&Record| process.netns != 0 && record.process.netns == process.netns;
    match survey.containers.iter().find(inhabits) {
        Some(owner) => plan::join(config, &host, survey, container, process, now, owner),
        None => plan::attach(config, &host, survey, container, process, now),
    }
}

/// Takes the steps; if one fails, forgets what was recorded, unless something is left behind.
fn take(store: &Store, survey: &Survey, plan: &Plan, kernel: &mut Kernel) -> Result<()> {
    let Err(failed) = apply(&plan.take, kernel) else {
        return Ok(());
    };
    if !failed.clean {
        return Err(failed.error);
    }
    let forgotten = store.forget(&plan.record);
    let restored = match survey.network(&plan.network.bridge) {
        Some(known) => store.put_network(known),
        None => store.forget_network(&plan.network.bridge),
    };
    Err(failed.error.also(forgotten.err().into_iter().chain(restored.err())))
}

/// Writes both records. A network that exists already is whole whatever becomes of this run:
/// what may be missing of it is planned again by the next.
fn record(store: &Store, survey: &Survey, plan: &Plan, done: bool) -> Result<()> {
    let mut network = plan.network.clone();
    network.done = done || survey.network(&network.bridge).is_some();
    if survey.network(&network.bridge) != Some(&network) {
        store.put_network(&network)?;
    }
    store.put(&Record { done, ..plan.record.clone() })
}

/// Whether a known container is the one at hand, which has what it needs already.
///
/// # Errors
/// It is another one, and alive.
pub(super) fn same(record: &Record, process: &Process) -> Result<()> {
    if record.process == *process {
        return Ok(());
    }
    Err(Error::new(
        format!("attach container {}", record.id),
        format!("it is attached already, by process {}, which still runs", record.process.pid),
    )
    .hint(format!("`netns detach {}` takes the network from that one", record.id)))
}
