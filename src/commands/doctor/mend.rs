//! Mending what is ours, under the lock like everything that changes something.

use crate::apply::Target;
use crate::commands::reap::{Look, reap};
use crate::commands::reload::put_back;
use crate::commands::session::Session;
use crate::commands::{Settings, create};
use crate::config::value::{Gateway, Iface, Mtu};
use crate::config::{Config, Options};
use crate::doctor::Fix;
use crate::doctor::facts::{Container, Facts};
use crate::error::{Doing, Error, Result};
use crate::firewall::iptables::rulesets;
use crate::firewall::{Change, Rule};
use crate::kernel::{netlink, process};
use crate::plan::Step;
use crate::store::record::Network;

/// Mends one fault.
///
/// # Errors
/// It cannot be mended.
pub(super) fn mend(settings: &Settings, facts: &Facts, fix: &Fix) -> Result<()> {
    let mut session = Session::open(settings)?;
    match fix {
        Fix::Reap => reap(&mut session, Look::Close).map(drop)?,
        Fix::Steps { pid, steps } => {
            enter(&mut session, facts, *pid)?;
            take(&mut session, facts, steps)?;
        }
        Fix::Cable { pid, steps } => {
            enter(&mut session, facts, Some(*pid))?;
            if let Some(Step::AddVeth(veth)) = steps.first() {
                session
                    .kernel
                    .netlink()
                    .delete(&veth.name, veth.mac)
                    .doing(|| format!("ip link del {}", veth.name))?;
            }
            take(&mut session, facts, steps)?;
        }
        Fix::Network(bridge) => network(&mut session, facts, bridge, None)?,
        Fix::Readdress(bridge, address) => {
            let netlink = session.kernel.netlink();
            let again =
                netlink.delete_address(bridge, *address).and_then(|()| netlink.add_address(bridge, *address));
            again.doing(|| format!("ip addr change {address} dev {bridge}"))?;
        }
        Fix::Mtu(bridge, mtu) => smaller(&mut session, facts, bridge, *mtu)?,
        Fix::Reload => put_back(&mut session).map(drop)?,
        Fix::CleanOther => rulesets::clean_other(rulesets::read(rulesets::MAX_TEXT)?.ours)?,
        Fix::ForgetFlows => {
            session.everyone()?;
            let rules: Vec<Rule> =
                session.survey.containers.iter().flat_map(|entry| entry.published_rules()).collect();
            session.kernel.forget_flows(Change::Add, &rules);
        }
    }
    session.close()
}

/// Opens the way into the namespace of the container that process `pid` is the first of.
fn enter(session: &mut Session, facts: &Facts, pid: Option<i32>) -> Result<()> {
    let Some(pid) = pid else { return Ok(()) };
    let mine = |container: &&Container| container.record.process.pid == pid;
    let Some(container) = facts.containers.iter().find(mine) else { return Ok(()) };
    let (netns, found) = process::open(pid, &container.record.id)?;
    if found != container.record.process {
        return Err(Error::new(
            format!("enter container {}", container.record.id),
            "another process has its pid",
        ));
    }
    session.kernel.enter(netns, pid)
}

/// Takes steps, and waits until the cables among them carry packets.
fn take(session: &mut Session, facts: &Facts, steps: &[Step]) -> Result<()> {
    for step in steps {
        session.kernel.apply(step)?;
    }
    let plugged = |container: &&Container| {
        steps.iter().any(|step| match step {
            Step::SetUp { pid: None, link } | Step::SetMaster { link, .. } => *link == container.cable,
            Step::AddVeth(veth) => veth.name == container.cable,
            Step::SetUp { pid, .. } => *pid == Some(container.record.process.pid),
            _ => false,
        })
    };
    for container in facts.containers.iter().filter(plugged) {
        let cable = &container.cable;
        session.kernel.netlink().await_carrier(cable).doing(|| format!("wait for the carrier of {cable}"))?;
    }
    Ok(())
}

/// What `netns create` does for the network that is recorded.
fn network(session: &mut Session, facts: &Facts, bridge: &Iface, mtu: Option<u32>) -> Result<()> {
    let Some(known) = known(facts, bridge) else { return Ok(()) };
    let options = Options {
        bridge: Some(bridge.clone()),
        ip: Some(Gateway(known.gateway)),
        mtu: mtu.map(Mtu),
        ..Options::default()
    };
    create::make(session, &Config::resolve(&[options])?)
}

fn known<'a>(facts: &'a Facts, bridge: &Iface) -> Option<&'a Network> {
    facts.networks.iter().find(|network| network.bridge == *bridge)
}

fn smaller(session: &mut Session, facts: &Facts, bridge: &Iface, mtu: u32) -> Result<()> {
    network(session, facts, bridge, Some(mtu))?;
    let here = |container: &&Container| container.bridge == *bridge && container.inside.is_some();
    for container in facts.containers.iter().filter(here) {
        let record = &container.record;
        enter(session, facts, Some(record.process.pid))?;
        let (outer, inner) = (&container.cable, &record.interface);
        let kernel = &session.kernel;
        netlink::or_gone(kernel.netlink().set_mtu(outer, mtu))
            .doing(|| format!("ip link set {outer} mtu {mtu}"))?;
        netlink::or_gone(kernel.inside_netlink()?.set_mtu(inner, mtu))
            .doing(|| format!("{} ip link set {inner} mtu {mtu}", container.enter()))?;
    }
    Ok(())
}
