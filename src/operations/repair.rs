//! Single steps of what is attached are applied again, for whoever has found them missing.

use super::apply::Target;
use super::machine::Machine;
use crate::config::Settings;
use crate::error::{Doing, Result};
use crate::kernel::process;
use crate::model::record::Record;
use crate::model::sandbox::{Netns, NetnsRef};
use crate::model::step::Step;
use crate::store::Store;

/// Sets up the loopback interface of a network namespace, and nothing else.
///
/// # Errors
/// There is no such namespace, or it is this one.
pub fn set_up_loopback(settings: &Settings, netns: &NetnsRef) -> Result<()> {
    let (file, sandbox) = process::open(netns, "lo")?;
    let mut machine = Machine::open(&settings.log)?;
    machine.kernel.enter(file, 0)?;
    machine.apply(&Step::SetUp { netns: sandbox.netns(), link: "lo".parse()? })
}

/// Applies steps again, in the network namespace of `record` where it says so, and waits until
/// the links among them carry packets.
///
/// # Errors
/// A step fails; those before it are applied.
pub fn repair(settings: &Settings, record: Option<&Record>, steps: &[Step]) -> Result<()> {
    let store = Store::open(&settings.state_dir)?;
    let _lock = store.lock()?;
    let mut machine = Machine::open(&settings.log)?;
    if let Some(record) = record {
        machine.kernel.enter(process::reopen(&record.sandbox, record.id())?, 0)?;
    }
    for step in steps {
        machine.apply(step)?;
    }
    for step in steps {
        let link = match step {
            Step::SetUp { netns: Netns::Host, link } | Step::SetMaster { link, .. } => Some(link),
            Step::AddVeth(veth) => Some(&veth.name),
            Step::SetUp { .. } => record.and_then(|record| record.host_interfaces().next()),
            _ => None,
        };
        if let Some(link) = link {
            let waited = machine.kernel.netlink().await_carrier(link);
            waited.doing(|| format!("wait for the carrier of {link}"))?;
        }
    }
    Ok(())
}
