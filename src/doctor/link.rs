//! Bridges, cables, and the interfaces inside: whether they are there, up and plugged in.

use super::facts::{Container, Inside, Link};
use super::{Check, Facts, Finding, Fix};
use crate::config::value::Iface;
use crate::plan::Step;
use crate::store::record::{Network, Record};

/// The dead first: whatever else is wrong with them does not matter.
pub(super) fn dead(facts: &Facts) -> Vec<Finding> {
    let dead = facts.containers.iter().filter(|container| container.dead);
    let tell = |container: &Container| {
        let why = match (container.record.done, container.record.published.is_empty()) {
            (false, _) => "it was attached half way only",
            (true, true) => "it is dead, and was never detached: its address stays taken",
            (true, false) => "it is dead, and was never detached: its ports lead nowhere",
        };
        Finding::new(Check::DeadContainer, container.object(), why)
            .remedy(format!("{} gc", facts.netns))
            .fix(Fix::Reap)
    };
    dead.map(tell).collect()
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let bridges = facts.networks.iter().filter_map(|network| bridge(facts, network));
    let living = facts.containers.iter().filter(|container| !container.dead);
    let cables = living.filter(|container| is_whole(facts, &container.bridge)).filter_map(|container| {
        let inside = container.inside.as_ref()?;
        cable(facts, container, inside).or_else(|| interface(container, inside))
    });
    bridges.chain(cables).collect()
}

/// Whether nothing is wrong with the bridge, so that what hangs on it can be judged.
pub(super) fn is_whole(facts: &Facts, bridge: &Iface) -> bool {
    let network = facts.networks.iter().find(|network| network.bridge == *bridge);
    network.is_none_or(|network| self::bridge(facts, network).is_none())
}

/// Whether nothing is wrong between the container and its bridge.
pub(super) fn is_connected(facts: &Facts, container: &Container) -> bool {
    let broken = |inside| cable(facts, container, inside).or_else(|| interface(container, inside));
    let inside = container.inside.as_ref();
    !container.dead && is_whole(facts, &container.bridge) && inside.and_then(broken).is_none()
}

fn bridge(facts: &Facts, network: &Network) -> Option<Finding> {
    let Network { bridge, gateway, .. } = network;
    let tell = |why: &str| {
        let why = format!("{why}: its containers reach nobody, and nobody their ports");
        Finding::new(Check::BridgeBroken, format!("bridge {bridge}"), why)
    };
    let create = format!("{} create --bridge {bridge} --ip {gateway}", facts.netns);
    let Some(link) = facts.host.link(bridge) else {
        return Some(tell("it is gone").remedy(create).fix(Fix::Network(bridge.clone())));
    };
    if link.kind.as_deref() != Some("bridge") {
        let finding = tell("the link of this name is no bridge");
        return Some(finding.remedy(format!(
            "ip link set {bridge} down && ip link set {bridge} name old-{bridge} && {create}"
        )));
    }
    let address = Step::AddAddress { pid: None, link: bridge.clone(), address: *gateway };
    let up = Step::SetUp { pid: None, link: bridge.clone() };
    match (link.up, link.addresses.contains(gateway)) {
        (true, true) => None,
        (false, true) => Some(tell("it is down").steps(None, vec![up])),
        (true, false) => Some(tell(&format!("it has lost its address {gateway}")).steps(None, vec![address])),
        (false, false) => Some(
            tell(&format!("it is down, and has lost its address {gateway}")).steps(None, vec![address, up]),
        ),
    }
}

fn cable(facts: &Facts, container: &Container, inside: &Inside) -> Option<Finding> {
    let (name, bridge) = (&container.cable, &container.bridge);
    let Record { interface, process, .. } = &container.record;
    let tell = |why: String| {
        Finding::new(
            Check::CableBroken,
            container.object(),
            format!("{why}: it reaches nobody, and nobody its ports"),
        )
    };
    let end = facts.host.link(name);
    let (Some(end), Some(_)) = (end, &inside.link) else {
        let steps = cable_steps(&container.record);
        let commands: Vec<String> = steps.iter().map(ToString::to_string).collect();
        let rest = if end.is_some() { format!("ip link del {name} && ") } else { String::new() };
        let finding = tell(match end {
            None => format!("its cable {name} is gone"),
            Some(_) => format!("its interface {interface} is gone"),
        });
        let fix = Fix::Cable { pid: process.pid, steps };
        return Some(finding.remedy(format!("{rest}{}", commands.join(" && "))).fix(fix));
    };
    if end.master.as_deref() != Some(bridge.as_str()) {
        let plug = Step::SetMaster { link: name.clone(), bridge: bridge.clone() };
        let mut steps = vec![plug];
        // A port forgets it with the bridge.
        steps.extend(
            container.record.steps.iter().filter(|step| matches!(step, Step::Hairpin { .. })).cloned(),
        );
        if !end.up {
            steps.push(Step::SetUp { pid: None, link: name.clone() });
        }
        return Some(tell(format!("its cable {name} is not plugged into {bridge}")).steps(None, steps));
    }
    if !end.up {
        let up = Step::SetUp { pid: None, link: name.clone() };
        return Some(tell(format!("its cable {name} is down")).steps(None, vec![up]));
    }
    // Nobody does that by accident.
    let enable = format!("bridge link set dev {name} state 3");
    end.disabled.then(|| tell(format!("somebody has disabled its port {name} of {bridge}")).remedy(enable))
}

/// Everything that was done for the cable, to be done again.
fn cable_steps(record: &Record) -> Vec<Step> {
    let cable = |step: &&Step| match step {
        Step::Sysctl { before, .. } => before.is_none(),
        Step::SetUp { pid, .. } | Step::AddAddress { pid, .. } => pid.is_some(),
        Step::AddVeth(_) | Step::SetAlias { .. } | Step::Hairpin { .. } | Step::AddRoute { .. } => true,
        _ => false,
    };
    let mut steps: Vec<Step> = record.steps.iter().filter(cable).cloned().collect();
    steps.sort_by_key(|step| !matches!(step, Step::AddVeth(_)));
    steps
}

fn interface(container: &Container, inside: &Inside) -> Option<Finding> {
    let Record { interface, addresses, process, .. } = &container.record;
    let link: &Link = inside.link.as_ref()?;
    let pid = process.pid;
    let lost: Vec<_> = addresses.iter().filter(|address| !link.addresses.contains(address)).collect();
    let mut steps = Vec::new();
    let mut wrong = Vec::new();
    for address in lost {
        wrong.push(format!("{interface} has lost its address {address}"));
        steps.push(Step::AddAddress { pid: Some(pid), link: interface.clone(), address: *address });
    }
    if !link.up {
        wrong.push(format!("{interface} is down"));
        steps.push(Step::SetUp { pid: Some(pid), link: interface.clone() });
    }
    // Both take the default route along.
    if !inside.default_route {
        if wrong.is_empty() {
            wrong.push("it has no default route".to_owned());
        }
        steps.push(Step::AddRoute { pid, gateway: container.gateway, link: interface.clone() });
    }
    let hurt = match wrong.first()?.as_str() {
        "it has no default route" => "it reaches nobody beyond its subnet, and nobody beyond it its ports",
        _ => "it reaches nobody, and nobody its ports",
    };
    let why = format!("{}: {hurt}", wrong.join(", and "));
    Some(Finding::new(Check::InterfaceBroken, container.object(), why).steps(Some(pid), steps))
}
