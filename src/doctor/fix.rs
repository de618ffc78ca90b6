//! Fixing what is ours.

use super::facts::{Container, Facts};
use super::{Finding, Fix};
use crate::config::Settings;
use crate::error::{Doing, Result};
use crate::firewall::rulesets;
use crate::kernel::netlink::{Netlink, or_gone};
use crate::kernel::{Kernel, conntrack, process};
use crate::model::container::ContainerId;
use crate::model::network::NetworkSpec;
use crate::model::record::Record;
use crate::model::rule::Change;
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value::Iface;
use crate::netfilter::Netfilter;
use crate::operations;
use crate::store::Records;

/// Fixes what can be fixed, and warns of what cannot.
pub(super) fn fix_all(settings: &Settings, facts: &Facts, findings: &[Finding]) {
    for finding in findings {
        if let Some(fix) = &finding.fix
            && let Err(error) = self::fix(settings, facts, fix)
        {
            let operation = format!("fix {} of {}", finding.check.name(), finding.object);
            settings.log.warn(&error.during(operation));
        }
    }
}

fn fix(settings: &Settings, facts: &Facts, fix: &Fix) -> Result<()> {
    match fix {
        Fix::CollectGarbage => operations::gc(settings, false).map(drop),
        Fix::Steps { container: None, steps } => operations::repair(settings, None, steps),
        Fix::Steps { container: Some(id), steps } => in_container(settings, facts, id, steps),
        Fix::Veth { container, steps } => {
            delete_veth(steps)?;
            in_container(settings, facts, container, steps)
        }
        Fix::Network(bridge) => network(settings, facts, bridge, None),
        Fix::Readdress(bridge, address) => {
            or_gone(Netlink::open()?.delete_address(bridge, *address))
                .doing(|| format!("ip addr del {address} dev {bridge}"))?;
            let again = Step::own_address(Netns::Host, bridge.clone(), *address);
            operations::repair(settings, None, &[again])
        }
        Fix::Mtu(bridge, mtu) => mtu_of(settings, facts, bridge, *mtu),
        Fix::Reload => operations::reload(settings).map(drop),
        Fix::CleanOther => rulesets::clean_other(),
        Fix::ForgetFlows => {
            let rules = operations::wanted_rules(&Records::read(&settings.state_dir)?);
            conntrack::forget(&Netlink::open()?, &Netfilter::default(), &settings.log, Change::Add, &rules);
            Ok(())
        }
    }
}

fn in_container(settings: &Settings, facts: &Facts, id: &ContainerId, steps: &[Step]) -> Result<()> {
    match record(facts, id) {
        Some(record) => operations::repair(settings, Some(record), steps),
        None => Ok(()),
    }
}

fn record<'a>(facts: &'a Facts, id: &ContainerId) -> Option<&'a Record> {
    let mut records = facts.containers.iter().map(|container| &container.record);
    records.find(|record| record.container == *id)
}

/// Deletes what is left of the veth pair that `steps` make again.
fn delete_veth(steps: &[Step]) -> Result<()> {
    let Some(Step::AddVeth(veth)) = steps.first() else { return Ok(()) };
    Netlink::open()?.delete(&veth.name, veth.mac).doing(|| format!("ip link del {}", veth.name))
}

/// What `netns create` does for the network that is recorded.
fn network(settings: &Settings, facts: &Facts, bridge: &Iface, mtu: Option<u32>) -> Result<()> {
    let Some(known) = facts.networks.iter().find(|network| network.bridge == *bridge) else {
        return Ok(());
    };
    let spec = NetworkSpec { mtu, firewall: None, ..known.spec() };
    operations::create(settings, spec)
}

fn mtu_of(settings: &Settings, facts: &Facts, bridge: &Iface, mtu: u32) -> Result<()> {
    network(settings, facts, bridge, Some(mtu))?;
    let mut kernel = Kernel::open(settings.log.clone())?;
    let here = |container: &&Container| container.bridge == *bridge && container.inside.is_some();
    for container in facts.containers.iter().filter(here) {
        let Container { record, host_end, attachment, .. } = container;
        kernel.enter(process::reopen(&record.sandbox, record.id())?, 0)?;
        or_gone(kernel.netlink().set_mtu(host_end, mtu))
            .doing(|| format!("ip link set {host_end} mtu {mtu}"))?;
        let interface = &attachment.interface;
        or_gone(kernel.inside_netlink()?.set_mtu(interface, mtu))
            .doing(|| format!("{} ip link set {interface} mtu {mtu}", container.enter()))?;
    }
    Ok(())
}
