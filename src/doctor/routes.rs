//! Routes: whether the host's packets to a container leave by its bridge, and whether the kernel
//! takes what comes by a second uplink.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::facts::{Container, Facts, Host};
use super::link::is_whole;
use super::{Check, Finding, Fix};
use crate::model::network::Network;
use crate::model::observed::{Link, MAIN_TABLE, Route};
use crate::model::rule::Family;
use crate::model::value::{Iface, subnet};

pub(super) fn overlap(facts: &Facts) -> Vec<Finding> {
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    whole.flat_map(|network| of_network(facts, network)).collect()
}

fn of_network(facts: &Facts, network: &Network) -> Vec<Finding> {
    let bridge = &network.bridge;
    let unreached = facts.containers.iter().filter(|container| {
        let right = |link: &Option<String>| link.as_deref() == Some(bridge.as_str());
        container.bridge == *bridge
            && container.stale.is_none()
            && !container.sent_by.as_ref().is_ok_and(right)
    });
    let reached_wrongly = unreached.filter_map(|container| wrong_route(facts, network, container));
    // What disturbs nobody yet: an address there is still to be leased, and containers take what
    // is there for neighbours.
    let into = network.subnets.iter().flat_map(|address| {
        let subnet = subnet(*address);
        let within = move |route: &&Route| {
            let foreign = route.link_name.as_deref() != Some(bridge.as_str());
            let part =
                subnet.contains(route.destination.network()) && route.destination.prefix() > subnet.prefix();
            route.table == MAIN_TABLE && foreign && part && !network.peers.expect(route, subnet)
        };
        let routes = facts.host.routes.iter().filter(within);
        routes.map(move |route| taken(route, bridge, subnet, "whatever container gets an address there"))
    });
    let mut findings: Vec<Finding> = Vec::new();
    for finding in reached_wrongly.chain(into) {
        if !findings.iter().any(|other| other.remedy == finding.remedy) {
            findings.push(finding);
        }
    }
    findings
}

/// Why the host's packets to a container do not leave by its bridge.
fn wrong_route(facts: &Facts, network: &Network, container: &Container) -> Option<Finding> {
    let bridge = &network.bridge;
    let address = container.address()?;
    let own = *network.subnets.iter().find(|subnet| subnet.contains(address))?;
    let (subnet, object) = (subnet(own), format!("bridge {bridge}"));
    Some(match used_route(&facts.host, container, subnet, address) {
        Some(route) if route.table == MAIN_TABLE => taken(route, bridge, subnet, &container.object()),
        Some(route) => {
            let why = format!(
                "the route {} of table {}, which comes before the main one, leads away from it: {} is not reached",
                text(route),
                route.table,
                container.object()
            );
            let remedy = format!("ip rule add to {subnet} lookup main priority 1");
            Finding::new(Check::RouteOverlap, object, why).remedy(remedy)
        }
        None => {
            let why = format!("the route to {subnet} over it is gone: {} is not reached", container.object());
            let remedy =
                format!("ip route add {subnet} dev {bridge} proto kernel scope link src {}", own.ip());
            let finding = Finding::new(Check::RouteOverlap, object, why);
            finding.remedy(remedy).fix(Fix::Readdress(bridge.clone(), own))
        }
    })
}

/// A route of the main table takes `subnet`, or a part of it.
fn taken(route: &Route, bridge: &Iface, subnet: IpNetwork, whom: &str) -> Finding {
    let why = format!(
        "the route {} of the host leads into its subnet {subnet}, but not over it: {whom} is not reached, and \
         containers do not reach what is there",
        text(route)
    );
    let finding = Finding::new(Check::RouteOverlap, format!("bridge {bridge}"), why);
    finding
        .remedy(format!("ip route del {}", text(route)))
        .advice("if the route is needed, give the bridge another subnet: --ip")
}

/// The route that the host's packets to `address` take: the most specific one by the link that
/// they leave by, or of the kind that forbids them.
fn used_route<'a>(
    host: &'a Host,
    container: &Container,
    own: IpNetwork,
    address: IpAddr,
) -> Option<&'a Route> {
    let takes = |route: &&Route| {
        let by = match &container.sent_by {
            Ok(link) => route.kind.is_none() && route.link_name == *link,
            Err(_) => route.kind.is_some(),
        };
        by && route.destination.contains(address)
    };
    // In the main table a broader one is taken only where the bridge's own is gone.
    let fits = |route: &&Route| route.table != MAIN_TABLE || route.destination.prefix() >= own.prefix();
    let routes = host.routes.iter().filter(takes).filter(fits);
    routes.max_by_key(|route| (route.table == MAIN_TABLE, route.destination.prefix()))
}

/// As `ip route` takes it.
fn text(route: &Route) -> String {
    let kind = route.kind.map_or_else(String::new, |kind| format!("{kind} "));
    let via = route.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
    let dev = route.link_name.as_ref().map_or_else(String::new, |link| format!(" dev {link}"));
    let metric = if route.metric > 0 { format!(" metric {}", route.metric) } else { String::new() };
    let table = if route.table == MAIN_TABLE { String::new() } else { format!(" table {}", route.table) };
    format!("{kind}{}{via}{dev}{metric}{table}", route.destination)
}

/// Strict filtering asks whether the answer would leave by the link that a packet came by. For a
/// published port it asks with the container's address, to which rules of policy routing do not
/// apply: what comes by a second uplink is dropped.
pub(super) fn reverse_path(facts: &Facts) -> Vec<Finding> {
    let host = &facts.host;
    let Some(uplink) = host.uplink(Family::Ipv4) else { return Vec::new() };
    let strict = |link: &&Link| link.up && host.parameters(link).rp_filter == 1;
    // What comes by any next hop of the best default route is answered by it.
    let other = |link: &&Link| !host.uplinks(Family::Ipv4).any(|uplink| uplink.index == link.index);
    let leads_out = |link: &&Link| {
        host.routes.iter().any(|route| {
            let is_default = route.destination.is_ipv4() && route.destination.prefix() == 0;
            is_default && route.kind.is_none() && route.link == Some(link.index)
        })
    };
    let links = host.links.0.iter().filter(strict).filter(other).filter(leads_out);
    let dropped = links.filter_map(|link| {
        let ports = ports_on(facts, &link.addresses);
        let (name, first) = (&link.name, ports.first()?);
        let why = format!(
            "rp_filter is strict, and answers leave by {}: what comes by {name} from beyond its own subnet for \
             published ports ({first}{}) is dropped",
            uplink.name,
            if ports.len() > 1 { " and others" } else { "" }
        );
        let finding = Finding::new(Check::ReversePath, format!("link {name}"), why);
        Some(finding.remedy(format!("sysctl -w net/ipv4/conf/{name}/rp_filter=2")))
    });
    dropped.collect()
}

/// The port mappings that are reached by one of these addresses.
fn ports_on(facts: &Facts, addresses: &[IpNetwork]) -> Vec<String> {
    let reached = |ip: Option<IpAddr>| ip.is_none_or(|ip| addresses.iter().any(|own| own.ip() == ip));
    let living = facts.containers.iter().filter(|container| container.stale.is_none());
    let mappings = living.flat_map(Container::ports).filter(|mapping| reached(mapping.address()));
    mappings.map(ToString::to_string).collect()
}
