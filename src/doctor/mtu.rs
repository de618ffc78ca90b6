//! Whether packets fit the uplink.

use super::facts::{Container, Facts};
use super::link::{create, is_whole};
use super::{Check, Finding, Fix};
use crate::model::network::Network;
use crate::model::observed::Link;
use crate::model::rule::Family;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(uplink) = facts.host.uplink(Family::Ipv4) else { return Vec::new() };
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    let too_large = whole.filter_map(|network| {
        let here = |container: &&Container| container.bridge == network.bridge && container.stale.is_none();
        let containers: Vec<&Container> = facts.containers.iter().filter(here).collect();
        let largest = largest(facts, network, &containers);
        (largest > uplink.mtu).then(|| tell(facts, network, &containers, largest, uplink))
    });
    too_large.collect()
}

/// The largest MTU of the bridge and both ends of its veth pairs. What is recorded counts too:
/// the next attach would set it.
fn largest(facts: &Facts, network: &Network, containers: &[&Container]) -> u32 {
    let bridge = facts.host.link(&network.bridge);
    let host_ends = containers.iter().filter_map(|container| facts.host.link(&container.host_end));
    let ends = containers.iter().filter_map(|container| container.inside.as_ref()?.link.as_ref());
    let mtus = host_ends.chain(ends).chain(bridge).map(|link| link.mtu);
    mtus.chain([network.mtu]).max().unwrap_or_default()
}

fn tell(facts: &Facts, network: &Network, containers: &[&Container], largest: u32, uplink: &Link) -> Finding {
    let (Link { name, mtu, .. }, bridge) = (uplink, &network.bridge);
    let why = format!(
        "packets of its containers may have {largest} bytes, and {name}, where the default route leads, takes \
         {mtu}: large ones are lost wherever nobody may say so"
    );
    let mut commands = vec![format!("{} --mtu {mtu}", create(facts, network))];
    for container in containers.iter().filter(|container| container.inside.is_some()) {
        let interface = &container.attachment.interface;
        commands.push(format!("ip link set {} mtu {mtu}", container.host_end));
        commands.push(format!("{} ip link set {interface} mtu {mtu}", container.enter()));
    }
    Finding::new(Check::MtuTooLarge, format!("bridge {bridge}"), why)
        .remedy(commands.join(" && "))
        .fix(Fix::Mtu(bridge.clone(), *mtu))
}
