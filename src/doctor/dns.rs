//! Whether a container asks a resolver that is there.

use std::net::IpAddr;

use super::facts::{Container, Facts, Inside};
use super::{Check, Finding};
use crate::model::dns::Server;
use crate::model::port::Protocol;
use crate::model::resolver::Resolver;

const DOMAIN: u16 = 53;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let living = facts.containers.iter().filter(|container| container.stale.is_none());
    living
        .filter_map(|container| {
            let inside = container.inside.as_ref()?;
            none(facts, container, inside).or_else(|| loopback(facts, container, inside))
        })
        .collect()
}

/// Where the host's resolvers are of no use to a container, its image's file stays.
fn none(facts: &Facts, container: &Container, inside: &Inside) -> Option<Finding> {
    let Resolver { servers, unreached: Some(Server(host)), .. } = &facts.host.resolver else { return None };
    let has_one = inside.resolvers.as_ref().is_some_and(|resolvers| !resolvers.is_empty());
    if has_one || !container.first || !servers.is_empty() {
        return None;
    }
    let why = format!(
        "its resolv.conf names no resolver, and the host's, {host}, no container reaches: it resolves no name"
    );
    let advice = "give it one, as with `--dns 10.0.0.2`; or all of them, by `dns` in the configuration";
    Some(Finding::new(Check::NoResolver, container.object(), why).advice(advice))
}

fn loopback(facts: &Facts, container: &Container, inside: &Inside) -> Option<Finding> {
    let resolvers = inside.resolvers.as_ref()?;
    let first = *resolvers.first()?;
    let listeners = container.listeners.as_ref()?;
    let answers = |resolver: &IpAddr| {
        let here = |address: &IpAddr| address.is_unspecified() || address == resolver;
        !resolver.is_loopback()
            || listeners.iter().any(|(protocol, address, port)| {
                *protocol == Protocol::Udp && *port == DOMAIN && here(address)
            })
    };
    if resolvers.iter().any(answers) {
        return None;
    }
    let why = format!(
        "its resolv.conf points at {first}, which in a container is the container itself, and nobody listens \
         there on port 53: it resolves no name"
    );
    let advice = "for good: give it another resolver, as with `--dns 10.0.0.2`; loopback is the host's own only on the host";
    let finding = Finding::new(Check::LoopbackResolver, container.object(), why).advice(advice);
    Some(match (facts.host.resolver.servers.first().map(|server| server.0), first) {
        (Some(IpAddr::V4(upstream)), IpAddr::V4(first)) => finding.remedy(format!(
            "{} socat UDP4-LISTEN:{DOMAIN},bind={first},fork,reuseaddr UDP4:{upstream}:{DOMAIN} >/dev/null 2>&1 &",
            container.enter()
        )),
        _ => finding,
    })
}
