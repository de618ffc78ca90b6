//! Ways: whether the host's packets to a container leave by its bridge, and whether the kernel
//! takes what comes by a second uplink.

use std::net::IpAddr;

use super::facts::{Container, Facts, Host, MAIN, Route};
use super::link::is_whole;
use super::{Check, Finding, Fix};
use crate::config::value::subnet;
use crate::store::record::Network;

pub(super) fn overlap(facts: &Facts) -> Vec<Finding> {
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    whole.flat_map(|network| of_network(facts, network)).collect()
}

fn of_network(facts: &Facts, network: &Network) -> Vec<Finding> {
    let Network { bridge, gateway, .. } = network;
    let astray = facts.containers.iter().filter(|container| {
        let right = |link: &Option<String>| link.as_deref() == Some(bridge.as_str());
        container.bridge == *bridge && !container.dead && !container.way.as_ref().is_ok_and(right)
    });
    let mut findings: Vec<Finding> = Vec::new();
    let mut told = |finding: Finding| {
        if !findings.iter().any(|other| other.remedy == finding.remedy) {
            findings.push(finding);
        }
    };
    let object = format!("bridge {bridge}");
    for container in astray {
        let Some(address) = container.address() else { continue };
        told(match culprit(&facts.host, container, network, address) {
            Some(route) if route.table == MAIN => stolen(route, network, &container.object()),
            Some(route) => Finding::new(Check::RouteOverlap, &object, format!(
                "the route {} of table {}, which comes before the main one, leads away from it: {} is not reached",
                text(route), route.table, container.object()
            ))
            .remedy(format!("ip rule add to {} lookup main priority 1", subnet(*gateway))),
            None => Finding::new(Check::RouteOverlap, &object, format!(
                "the route to {} over it is gone: {} is not reached", subnet(*gateway), container.object()
            ))
            .remedy(format!(
                "ip route add {} dev {bridge} proto kernel scope link src {}", subnet(*gateway), gateway.ip()
            ))
            .fix(Fix::Readdress(bridge.clone(), *gateway)),
        });
    }
    // One that bites nobody yet: an address there is still to be leased, and containers take
    // what is there for neighbours.
    let inside = subnet(*gateway);
    let within = |route: &&Route| {
        let foreign = route.link.as_deref() != Some(bridge.as_str());
        let part =
            inside.contains(route.destination.network()) && route.destination.prefix() > inside.prefix();
        route.table == MAIN && foreign && part
    };
    for route in facts.host.routes.iter().filter(within) {
        told(stolen(route, network, "whatever container gets an address there"));
    }
    findings
}

fn stolen(route: &Route, network: &Network, whom: &str) -> Finding {
    let why = format!(
        "the route {} of the host leads into its subnet {}, but not over it: {whom} is not reached, and \
         containers do not reach what is there",
        text(route),
        subnet(network.gateway)
    );
    let finding = Finding::new(Check::RouteOverlap, format!("bridge {}", network.bridge), why);
    finding
        .remedy(format!("ip route del {}", text(route)))
        .advice("if the route is needed, give the bridge another subnet: --ip")
}

/// The route that the host's packets to `address` take: the most specific one by the link that
/// they leave by, or of the kind that forbids them.
fn culprit<'a>(
    host: &'a Host,
    container: &Container,
    network: &Network,
    address: IpAddr,
) -> Option<&'a Route> {
    let takes = |route: &&Route| {
        let by = match &container.way {
            Ok(link) => route.kind.is_none() && route.link == *link,
            Err(_) => route.kind.is_some(),
        };
        by && route.destination.contains(address)
    };
    // In the main table a broader one is taken only where the bridge's own is gone.
    let own = subnet(network.gateway).prefix();
    let fits = |route: &&Route| route.table != MAIN || route.destination.prefix() >= own;
    host.routes
        .iter()
        .filter(takes)
        .filter(fits)
        .max_by_key(|route| (route.table == MAIN, route.destination.prefix()))
}

/// As `ip route` takes it.
fn text(route: &Route) -> String {
    let kind = route.kind.map_or_else(String::new, |kind| format!("{kind} "));
    let via = route.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
    let dev = route.link.as_ref().map_or_else(String::new, |link| format!(" dev {link}"));
    let metric = if route.metric > 0 { format!(" metric {}", route.metric) } else { String::new() };
    let table = if route.table == MAIN { String::new() } else { format!(" table {}", route.table) };
    format!("{kind}{}{via}{dev}{metric}{table}", route.destination)
}

/// Strict filtering asks whether the answer would leave by the link that a packet came by. For a
/// published port it asks with the container's address, to which rules of policy routing do not
/// apply: what comes by a second uplink is dropped.
pub(super) fn reverse_path(facts: &Facts) -> Vec<Finding> {
    let host = &facts.host;
    let Some(uplink) = host.uplink() else { return Vec::new() };
    let strict = host.links.iter().filter(|link| link.up && link.rp_filter == 1 && link.name != uplink.name);
    let leads_out = |name: &str| {
        let mut out =
            host.routes.iter().filter(|route| route.destination.prefix() == 0 && route.kind.is_none());
        out.any(|route| route.link.as_deref() == Some(name))
    };
    let ports = |addresses: &[ipnetwork::IpNetwork]| {
        let reached = |ip: Option<IpAddr>| ip.is_none_or(|ip| addresses.iter().any(|own| own.ip() == ip));
        let living = facts.containers.iter().filter(|container| !container.dead);
        let published = living.flat_map(|container| &container.record.published);
        published.filter(|published| reached(published.host_ip)).map(ToString::to_string).collect::<Vec<_>>()
    };
    let bitten = strict.filter(|link| leads_out(&link.name)).filter_map(|link| {
        let ports = ports(&link.addresses);
        let first = ports.first()?;
        let name = &link.name;
        let why = format!(
            "rp_filter is strict, and answers leave by {}: what comes by {name} from beyond its own subnet for \
             published ports ({first}{}) is dropped",
            uplink.name,
            if ports.len() > 1 { " and others" } else { "" }
        );
        let finding = Finding::new(Check::ReversePath, format!("link {name}"), why);
        Some(finding.remedy(format!("sysctl -w net/ipv4/conf/{name}/rp_filter=2")))
    });
    bitten.collect()
}
