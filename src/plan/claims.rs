//! What a container asks for and others may have: an address and ports.

use ipnetwork::IpNetwork;

use super::case::Case;
use crate::config::publish::Published;
use crate::config::value;
use crate::error::{Error, Result};
use crate::lease;
use crate::store::record::Network;

pub(super) fn lease(case: Case<'_>, network: &Network) -> Result<IpNetwork> {
    let Case { config, host, survey, container, .. } = case;
    let id = &container.id;
    // Whatever else the administrator has given the bridge would answer in the container's place.
    let bridge_has =
        |address| host.bridge.iter().flat_map(|bridge| &bridge.addresses).any(|taken| taken.ip() == address);
    let leased = survey.leased(&config.bridge);
    let holder = |address| match survey.lessee(&config.bridge, address) {
        Some(record) => Some(format!("container {}", record.id)),
        None if bridge_has(address) => Some(format!("bridge {}", config.bridge)),
        None => leased(address).then(|| "another container".to_owned()),
    };
    let address = match config.static_ip {
        Some(wanted) => {
            lease::check(config.gateway, wanted)?;
            if let Some(holder) = holder(wanted) {
                return Err(Error::new(
                    format!("use static address {wanted} for container {id}"),
                    format!("{holder} has it"),
                ));
            }
            wanted
        }
        None => {
            lease::next(config.gateway, network.cursor, |address| leased(address) || bridge_has(address))?
                .ok_or_else(|| {
                    Error::new(
                        format!("lease an address in {} for container {id}", value::subnet(config.gateway)),
                        format!("all {} are taken", lease::capacity(config.gateway)),
                    )
                    .hint("`netns ls` shows by whom; `netns detach ID` frees one")
                })?
        }
    };
    IpNetwork::new(address, config.gateway.prefix())
        .map_err(|cause| Error::new(format!("lease {address} for container {id}"), cause))
}

pub(super) fn resolve_ports(case: Case<'_>) -> Result<Vec<Published>> {
    let Case { config, host, survey, container, .. } = case;
    let mut free = host.free_ports.iter();
    let mut all: Vec<Published> = Vec::new();
    for publish in &config.publish {
        let operation = |side: &str| format!("publish {side} for container {}", container.id);
        let chosen = publish
            .host
            .or_else(|| free.next().copied())
            .ok_or_else(|| Error::new(operation(&publish.to_string()), "no port of the host is free"))?;
        let wanted = publish.at(chosen);
        let operation = || operation(&wanted.host_side());
        if all.iter().any(|other| other.conflicts(&wanted)) {
            return Err(Error::new(operation(), "it is asked for twice"));
        }
        for record in &survey.containers {
            if let Some(other) = record.published.iter().find(|other| other.conflicts(&wanted)) {
                let ip = record.addresses.first().map_or_else(String::new, |lease| lease.ip().to_string());
                return Err(Error::new(
                    operation(),
                    format!("already published by container {} ({ip}:{})", record.id, other.container),
                ));
            }
        }
        if let Some(port) = survey.obstacle(&wanted) {
            return Err(Error::new(operation(), format!("another container publishes port {port}")));
        }
        if let Some(listener) = host.listeners.iter().find(|listener| listener.at.conflicts(&wanted)) {
            return Err(Error::new(operation(), format!("{} of the host listens there", listener.who))
                .hint("stop it, or publish another port"));
        }
        all.push(wanted);
    }
    Ok(all)
}
