//! Bridges, veth pairs, and the interfaces inside: whether they are there, up and connected.

use super::facts::{Container, Inside, Stale};
use super::{Check, Facts, Finding, Fix};
use crate::model::network::Network;
use crate::model::observed::Link;
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value::Iface;
use crate::operations::Unrecorded;

/// The stale first: whatever else is wrong with them does not matter.
pub(super) fn stale(facts: &Facts) -> Vec<Finding> {
    let tell = |container: &Container| {
        Some(stale_one(facts, &container.object(), container.stale?, !container.ports().is_empty()))
    };
    facts.containers.iter().filter(|container| container.first).filter_map(tell).collect()
}

/// One that is to be garbage-collected.
pub(super) fn stale_one(facts: &Facts, object: &str, stale: Stale, publishes: bool) -> Finding {
    let why = match stale {
        Stale::Interrupted => "it was attached half way only",
        Stale::Dead if !publishes => "it is dead, and was never detached: its address stays taken",
        Stale::Dead => "it is dead, and was never detached: its ports lead nowhere",
    };
    let finding = Finding::new(Check::DeadContainer, object, why);
    finding.remedy(format!("{} gc", facts.netns)).fix(Fix::CollectGarbage)
}

/// Those that no record tells of: nobody would restore their rules or take them away.
pub(super) fn unrecorded(facts: &Facts) -> Vec<Finding> {
    let tell = |one: &Unrecorded| {
        let ends: Vec<&str> = one.links.iter().map(|link| link.name.as_str()).collect();
        let why = format!(
            "no record tells of it, though {} leads to it: the records were lost, or are in another state directory",
            ends.join(" and ")
        );
        Finding::new(Check::Unrecorded, format!("container {}", one.id), why)
            .remedy(format!("{} gc --adopt", facts.netns))
    };
    let stranger = |(bridge, port): &(Iface, String)| {
        let why = format!(
            "its port {port} leads to somebody whom no record tells of, and whose address another may be given"
        );
        let advice =
            format!("`ip link set {port} nomaster` takes it off, and `{} attach` puts it on", facts.netns);
        Finding::new(Check::Unrecorded, format!("bridge {bridge}"), why).advice(advice)
    };
    facts.unrecorded.iter().map(tell).chain(facts.strangers.iter().map(stranger)).collect()
}

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let bridges = facts.networks.iter().filter_map(|network| bridge(facts, network));
    let living = facts.containers.iter().filter(|container| container.stale.is_none());
    let attachments = living.filter(|container| is_whole(facts, &container.bridge)).filter_map(|container| {
        let inside = container.inside.as_ref()?;
        veth(facts, container, inside).or_else(|| interface(container, inside))
    });
    bridges.chain(attachments).collect()
}

/// Whether nothing is wrong with the bridge, so that its ports can be judged.
pub(super) fn is_whole(facts: &Facts, bridge: &Iface) -> bool {
    let network = facts.networks.iter().find(|network| network.bridge == *bridge);
    network.is_none_or(|network| self::bridge(facts, network).is_none())
}

/// Whether nothing is wrong between the container and its bridge.
pub(super) fn is_connected(facts: &Facts, container: &Container) -> bool {
    let broken = |inside| veth(facts, container, inside).or_else(|| interface(container, inside));
    let inside = container.inside.as_ref();
    container.stale.is_none() && is_whole(facts, &container.bridge) && inside.and_then(broken).is_none()
}

/// The command that creates what is missing of a network.
pub(super) fn create(facts: &Facts, Network { bridge, subnets, .. }: &Network) -> String {
    let addresses: String = subnets.iter().map(|subnet| format!(" --ip {subnet}")).collect();
    format!("{} create --bridge {bridge}{addresses}", facts.netns)
}

fn bridge(facts: &Facts, network: &Network) -> Option<Finding> {
    let bridge = &network.bridge;
    let tell = |why: &str| {
        let why = format!("{why}: its containers reach nobody, and nobody their ports");
        Finding::new(Check::BridgeBroken, format!("bridge {bridge}"), why)
    };
    let create = create(facts, network);
    let Some(link) = facts.host.link(bridge) else {
        return Some(tell("it is gone").remedy(create).fix(Fix::Network(bridge.clone())));
    };
    if link.kind.as_deref() != Some("bridge") {
        let finding = tell("the link of this name is no bridge");
        return Some(finding.remedy(format!(
            "ip link set {bridge} down && ip link set {bridge} name old-{bridge} && {create}"
        )));
    }
    let lost = network.subnets.iter().filter(|subnet| !link.addresses.contains(subnet));
    let (mut names, mut steps) = (Vec::new(), Vec::new());
    for address in lost {
        names.push(address.to_string());
        steps.push(Step::own_address(Netns::Host, bridge.clone(), *address));
    }
    let lost = format!("has lost its address {}", names.join(", "));
    let why = match (link.up, names.is_empty()) {
        (true, true) => return None,
        (false, true) => "it is down".to_owned(),
        (true, false) => format!("it {lost}"),
        (false, false) => format!("it is down, and {lost}"),
    };
    if !link.up {
        steps.push(Step::SetUp { netns: Netns::Host, link: bridge.clone() });
    }
    Some(tell(&why).steps(steps))
}

fn veth(facts: &Facts, container: &Container, inside: &Inside) -> Option<Finding> {
    let Container { host_end, bridge, attachment, .. } = container;
    let tell = |why: String| {
        let why = format!("{why}: it reaches nobody, and nobody its ports");
        Finding::new(Check::VethBroken, container.object(), why)
    };
    let end = facts.host.link(host_end);
    let (Some(end), Some(_)) = (end, &inside.link) else {
        let steps = veth_steps(container);
        let finding = tell(match end {
            None => format!("its host end {host_end} is gone"),
            Some(_) => format!("its interface {} is gone", attachment.interface),
        });
        let delete = if end.is_some() { format!("ip link del {host_end} && ") } else { String::new() };
        let finding = finding.remedy(format!("{delete}{}", container.commands(&steps)));
        return Some(finding.fix(Fix::Veth { container: container.record.container.clone(), steps }));
    };
    let up = || Step::SetUp { netns: Netns::Host, link: host_end.clone() };
    let master = facts.host.links.bridge_of(end);
    if master.is_none_or(|master| master.name != bridge.as_str()) {
        let mut steps = vec![Step::SetMaster { link: host_end.clone(), bridge: bridge.clone() }];
        // A port forgets them with the bridge.
        let of_port = |step: &&Step| matches!(step, Step::Hairpin { link } | Step::Isolate { link } | Step::PinPort { link, .. } if link == host_end);
        steps.extend(container.record.steps.iter().filter(of_port).cloned());
        if !end.up {
            steps.push(up());
        }
        return Some(tell(format!("its host end {host_end} is not a port of {bridge}")).steps(steps));
    }
    if !end.up {
        return Some(tell(format!("its host end {host_end} is down")).steps(vec![up()]));
    }
    // Nobody does that by accident.
    let enable = format!("bridge link set dev {host_end} state 3");
    is_disabled(end)
        .then(|| tell(format!("somebody has disabled its port {host_end} of {bridge}")).remedy(enable))
}

/// Whether it is a bridge's port that somebody has disabled. Without a carrier every port is.
fn is_disabled(link: &Link) -> bool {
    link.state == "up" && link.port.as_ref().is_some_and(|port| port.state == "disabled")
}

/// Everything that was done for the veth pair, to be done again.
fn veth_steps(container: &Container) -> Vec<Step> {
    let Container { host_end, attachment, .. } = container;
    let is_end = |netns: Netns, name: &str| match netns {
        Netns::Host => name == host_end.as_str(),
        _ => name == attachment.interface.as_str(),
    };
    let mine = |step: &&Step| match step {
        Step::AddVeth(veth) => veth.name == *host_end,
        Step::SetAlias { link, .. } | Step::Hairpin { link } | Step::Isolate { link } => link == host_end,
        Step::PinPort { link, .. } | Step::SetRate { link, .. } | Step::Redirect { link, .. } => {
            link == host_end
        }
        Step::Sysctl { netns, key, before: None, .. } => {
            key.split('/').nth(3).is_some_and(|name| is_end(*netns, name))
        }
        Step::SetUp { netns, link } => {
            *netns != Netns::Host && (is_end(*netns, link.as_str()) || link.as_str() == "lo")
        }
        Step::AddAddress { netns, link, .. } => *netns != Netns::Host && is_end(*netns, link.as_str()),
        Step::AddRoute { link, .. } => link.as_ref() == Some(&attachment.interface),
        _ => false,
    };
    let mut steps: Vec<Step> = container.record.steps.iter().filter(mine).cloned().collect();
    // What it sends is led to a link that may be gone too.
    steps.sort_by_key(|step| match step {
        Step::AddVeth(_) => 0,
        Step::Redirect { .. } => 2,
        _ => 1,
    });
    steps
}

fn interface(container: &Container, inside: &Inside) -> Option<Finding> {
    let interface = &container.attachment.interface;
    let link = inside.link.as_ref()?;
    let netns = container.record.sandbox.netns();
    let (mut steps, mut wrong) = (Vec::new(), Vec::new());
    let lost = container.attachment.addresses.iter().filter(|address| !link.addresses.contains(address));
    for address in lost {
        wrong.push(format!("{interface} has lost its address {address}"));
        steps.push(Step::own_address(netns, interface.clone(), *address));
    }
    if !link.up {
        wrong.push(format!("{interface} is down"));
        steps.push(Step::SetUp { netns, link: interface.clone() });
    }
    let reaches = if wrong.is_empty() {
        "it reaches nobody beyond its subnet, and nobody beyond it its ports"
    } else {
        "it reaches nobody, and nobody its ports"
    };
    // Both take the default route along, if it was given one.
    let default = container.record.steps.iter().find(|step| match step {
        Step::AddRoute { route, link, table: None, .. } => {
            route.destination.prefix() == 0 && link.as_ref() == Some(interface)
        }
        _ => false,
    });
    if let Some(default) = default.filter(|_| !inside.default_route) {
        if wrong.is_empty() {
            wrong.push("it has no default route".to_owned());
        }
        steps.push(default.clone());
    }
    if wrong.is_empty() {
        return None;
    }
    let why = format!("{}: {reaches}", wrong.join(", and "));
    Some(Finding::new(Check::InterfaceBroken, container.object(), why).steps_in(container, steps))
}
