//! On which of a container's networks its ports are published, and what that takes: the host's
//! ports lead to an address that is translated, one that is routed is let through to.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::steps::{Steps, route_localnet, route_localnet_key};
use super::{Claimed, ports};
use crate::error::{Error, Kind, Result};
use crate::model::network::{Mode, NetworkSpec};
use crate::model::observed::{Host, Listener};
use crate::model::port::{PortMapping, Protocol};
use crate::model::publish::Publish;
use crate::model::record::Record;
use crate::model::request::Request;
use crate::model::rule::{Backend, Family, Rule};
use crate::model::step::Step;

/// A port mapping, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Which of the networks that are asked for.
    pub at: usize,
    /// The port mapping.
    pub mapping: PortMapping,
}

/// The ports that a container asks for, each with the network that it is published on: the first
/// that publishes anything, unless it says which.
///
/// # Errors
/// There is none, or the one it says publishes nothing.
fn places(request: &Request) -> Result<Vec<(usize, &Publish)>> {
    let publishes = |at: usize| request.networks.get(at).is_some_and(|wanted| publishes(&wanted.network));
    let first = (0..request.networks.len()).find(|at| publishes(*at));
    let place = |(publish, asked): (_, Option<usize>)| {
        let at = asked.or(first).filter(|at| publishes(*at));
        at.map(|at| (at, publish)).ok_or_else(|| nowhere(request, publish, asked))
    };
    request.published().map(place).collect()
}

fn publishes(network: &NetworkSpec) -> bool {
    network.parent.is_none()
        && network.subnets.iter().any(|subnet| network.reach.mode(Family::of(subnet.ip())) != Mode::Isolated)
}

fn nowhere(request: &Request, publish: &Publish, asked: Option<usize>) -> Error {
    let all = request.networks.iter().enumerate().filter(|(at, _)| asked.is_none_or(|asked| asked == *at));
    let operation = format!("publish {publish} for {}", request.container);
    let on_parent =
        all.clone().find_map(|(_, wanted)| Some((&wanted.network, wanted.network.parent.as_ref()?)));
    if let Some((network, parent)) = on_parent {
        let cause =
            format!("network {} is on {} itself, where nothing is translated", network.name, parent.lower());
        let hint = "its containers are reached by their own addresses; leave the port out, or attach the \
                    container to a network with a bridge too";
        return Error::new(operation, cause).of(Kind::Input).hint(hint);
    }
    let names: Vec<&str> = all.map(|(_, wanted)| wanted.network.name.as_str()).collect();
    let cause = match names.as_slice() {
        [] => "it is on no network".to_owned(),
        [one] => format!("network {one} is isolated"),
        all => format!("networks {} are isolated", all.join(" and ")),
    };
    Error::new(operation, cause).of(Kind::Input)
}

/// The port mappings of a container: see [`ports::choose`], and what is let through to its own
/// addresses. All else is chosen already.
///
/// # Errors
/// A port is published nowhere; those of [`ports::choose`]; one who shares an address has the port.
pub fn choose<E: From<Error>>(
    request: &Request,
    claimed: &Claimed,
    listeners: &[Listener],
    published: impl FnMut(Protocol, u8) -> std::result::Result<Vec<PortMapping>, E>,
    publisher: impl FnMut(&PortMapping) -> std::result::Result<String, E>,
) -> std::result::Result<Vec<Published>, E> {
    let (mut of_host, mut wanted) = (Vec::new(), Vec::new());
    let places = places(request)?;
    for &(at, publish) in &places {
        let meant = |mode| meant(request, claimed, at, publish, mode);
        let led = meant(Mode::Nat);
        if !led.is_empty() {
            of_host.push(at);
            wanted.push((publish.clone(), led.iter().any(IpAddr::is_ipv6)));
        } else if meant(Mode::Routed).is_empty() {
            let operation = format!("publish {publish} for {}", request.container);
            return Err(Error::new(operation, "it has no address of that family").of(Kind::Input).into());
        }
    }
    let chosen = ports::choose(&request.container, &wanted, listeners, published, publisher)?;
    let of_host = of_host.into_iter().zip(chosen).map(|(at, mapping)| Published { at, mapping });
    Ok(of_host.chain(opened(request, claimed, &places)?).collect())
}

/// What is let through to the container's own addresses. They are claimed already: nobody else but
/// those who share them can want it.
fn opened(request: &Request, claimed: &Claimed, places: &[(usize, &Publish)]) -> Result<Vec<Published>> {
    let mut opened: Vec<Published> = Vec::new();
    for &(at, publish) in places {
        for address in meant(request, claimed, at, publish, Mode::Routed) {
            let mapping = PortMapping { host_ip: Some(address), ..publish.at(publish.container, false) };
            let has = |mate: &&Record| {
                mate.ports.iter().any(|other| other.opens(address) && other.conflicts(&mapping))
            };
            if let Some(mate) = claimed.mates.iter().find(has) {
                let operation = format!("publish {} for {}", mapping.host_side(), request.container);
                let cause = format!("already published by {}", mate.container);
                return Err(Error::new(operation, cause).of(Kind::Conflict));
            }
            let is_new = !opened.iter().any(|other| other.mapping.conflicts(&mapping));
            opened.extend(is_new.then_some(Published { at, mapping }));
        }
    }
    Ok(opened)
}

/// The addresses on one of the networks that a port is published for, of the families in this mode.
fn meant(request: &Request, claimed: &Claimed, at: usize, publish: &Publish, mode: Mode) -> Vec<IpAddr> {
    let Some(wanted) = request.networks.get(at) else { return Vec::new() };
    let is_meant = |to: &IpAddr| {
        let is_all = |ip: IpAddr| ip.is_unspecified() && ip.is_ipv6();
        let fits = publish.host_ip.is_none_or(|ip| is_all(ip) || ip.is_ipv4() == to.is_ipv4());
        fits && wanted.network.reach.mode(Family::of(*to)) == mode
    };
    addresses(request, claimed, at).into_iter().filter(is_meant).collect()
}

/// The addresses that a container has on one of the networks that it asks for: where it joins
/// another, that one's.
fn addresses(request: &Request, claimed: &Claimed, at: usize) -> Vec<IpAddr> {
    let Some(mate) = claimed.mates.first() else {
        return claimed.addresses.get(at).cloned().unwrap_or_default();
    };
    let name = request.networks.get(at).map(|wanted| &wanted.network.name);
    let there = mate.attachments.iter().find(|attachment| attachment.network.as_ref() == name);
    let there = there.or(mate.first()).into_iter();
    there.flat_map(|attachment| &attachment.addresses).map(|address| address.ip()).collect()
}

/// Who takes the rules of a port that is published there: where a container joins another, who
/// has those of the network.
pub fn backend(request: &Request, claimed: &Claimed, at: usize) -> Backend {
    let known = claimed.networks.get(at).and_then(Option::as_ref);
    match known.filter(|_| !claimed.mates.is_empty()) {
        Some(known) => known.firewall,
        None => request.networks.get(at).map(|wanted| wanted.network.backend(known)).unwrap_or_default(),
    }
}

/// The rules of a container's ports, and those that they stand in.
fn rules(request: &Request, claimed: &Claimed) -> Vec<Rule> {
    let mut rules = Vec::new();
    for Published { at, mapping } in &claimed.ports {
        let Some(wanted) = request.networks.get(*at) else { continue };
        let leads = |to: &IpAddr| {
            let family = Family::of(*to);
            let led = mapping.is_for(family) && wanted.network.reach.mode(family) == Mode::Nat;
            (led || mapping.opens(*to)) && !mapping.sources(family).is_empty()
        };
        for to in addresses(request, claimed, *at).into_iter().filter(leads) {
            let (owner, backend) = (request.container.id.clone(), backend(request, claimed, *at));
            let publish = Rule::Publish { owner, mapping: mapping.clone(), to, backend };
            rules.extend(publish.on(backend, false));
        }
    }
    rules
}

/// The networks whose bridges are to let the host's loopback addresses out.
fn on_loopback(request: &Request, claimed: &Claimed) -> BTreeSet<usize> {
    let has_ipv4 = |at: usize| addresses(request, claimed, at).iter().any(IpAddr::is_ipv4);
    let local = claimed.ports.iter().filter(|port| port.mapping.on_loopback());
    local.map(|port| port.at).filter(|at| has_ipv4(*at)).collect()
}

/// The names of the steps that a container with these ports shares with others.
pub fn shared_names(request: &Request, claimed: &Claimed) -> BTreeSet<String> {
    let rules = rules(request, claimed).into_iter().map(Step::Firewall);
    let bridges = on_loopback(request, claimed).into_iter().filter_map(|at| request.networks.get(at));
    let sysctls = bridges.map(|wanted| route_localnet(&wanted.network.bridge));
    rules.chain(sysctls).filter_map(|step| step.shared_name()).collect()
}

impl Steps<'_> {
    pub(super) fn publish(&mut self, request: &Request, host: &Host) {
        let claimed = self.claimed;
        for step in rules(request, claimed).into_iter().map(Step::Firewall) {
            if step.shared_name().is_some() { self.once(step) } else { self.make_new(step) }
        }
        // Without it the kernel does not route 127.0.0.1 out of the bridge; with it the bridge
        // would accept such packets too, which is why raw drops them.
        for at in on_loopback(request, claimed) {
            let Some(bridge) = request.networks.get(at).map(|wanted| &wanted.network.bridge) else {
                continue;
            };
            let found = host.networks.get(at).and_then(|network| network.route_localnet.as_deref());
            self.switch_on(&route_localnet_key(bridge), found.unwrap_or("0"));
        }
    }
}
