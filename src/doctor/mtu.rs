//! Whether packets fit the uplink.

use super::facts::{Container, Facts, Link};
use super::link::is_whole;
use super::{Check, Finding, Fix};
use crate::store::record::Network;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(uplink) = facts.host.uplink() else { return Vec::new() };
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    let too_large = whole.filter_map(|network| {
        let here = |container: &&Container| container.bridge == network.bridge && !container.dead;
        let containers: Vec<&Container> = facts.containers.iter().filter(here).collect();
        let largest = largest(facts, network, &containers);
        (largest > uplink.mtu).then(|| tell(facts, network, &containers, largest, uplink))
    });
    too_large.collect()
}

/// The largest MTU of bridge, cables and their other ends. What is recorded counts too: the next
/// attach would set it.
fn largest(facts: &Facts, network: &Network, containers: &[&Container]) -> u32 {
    let bridge = facts.host.link(&network.bridge).map(|link| link.mtu);
    let cables = containers.iter().filter_map(|container| facts.host.link(&container.cable));
    let ends = containers.iter().filter_map(|container| container.inside.as_ref()?.link.as_ref());
    let links = cables.chain(ends).map(|link| link.mtu);
    links.chain(bridge).chain([network.mtu]).max().unwrap_or_default()
}

fn tell(facts: &Facts, network: &Network, containers: &[&Container], largest: u32, uplink: &Link) -> Finding {
    let Link { name: uplink, mtu, .. } = uplink;
    let Network { bridge, gateway, .. } = network;
    let why = format!(
        "packets of its containers may have {largest} bytes, and {uplink}, where the default route leads, takes \
         {mtu}: large ones are lost wherever nobody may say so"
    );
    let mut commands = vec![format!("{} create --bridge {bridge} --ip {gateway} --mtu {mtu}", facts.netns)];
    for container in containers.iter().filter(|container| container.inside.is_some()) {
        let record = &container.record;
        commands.push(format!("ip link set {} mtu {mtu}", container.cable));
        commands.push(format!("{} ip link set {} mtu {mtu}", container.enter(), record.interface));
    }
    Finding::new(Check::MtuTooLarge, format!("bridge {bridge}"), why)
        .remedy(commands.join(" && "))
        .fix(Fix::Mtu(bridge.clone(), *mtu))
}
