//! Whether a container asks a resolver that is there.

use std::net::IpAddr;

use super::facts::{Container, Facts, Inside};
use super::{Check, Finding};
use crate::model::port::Protocol;

const DOMAIN: u16 = 53;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let living = facts.containers.iter().filter(|container| container.stale.is_none());
    living.filter_map(|container| loopback(facts, container, container.inside.as_ref()?)).collect()
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
    Some(match (facts.host.resolvers.first(), first) {
        (Some(IpAddr::V4(upstream)), IpAddr::V4(first)) => finding.remedy(format!(
            "{} socat UDP4-LISTEN:{DOMAIN},bind={first},fork,reuseaddr UDP4:{upstream}:{DOMAIN} >/dev/null 2>&1 &",
            container.enter()
        )),
        _ => finding,
    })
}
