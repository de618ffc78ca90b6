//! Whether the host forwards at all, and from and to the links that matter.

use super::{Check, Facts, Finding};
use crate::model::network::Network;
use crate::model::observed::Link;
use crate::model::rule::Family;
use crate::model::sandbox::Netns;
use crate::model::step::Step;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    Family::ALL.into_iter().flat_map(|family| of_family(facts, family)).collect()
}

fn of_family(facts: &Facts, family: Family) -> Vec<Finding> {
    let host = &facts.host;
    let has_it = |network: &&Network| network.subnets.iter().any(|subnet| Family::of(subnet.ip()) == family);
    let networks: Vec<&Network> = facts.networks.iter().filter(has_it).collect();
    if networks.is_empty() {
        return Vec::new();
    }
    // What is true of IPv4 goes without saying.
    let (packets, by) =
        if family == Family::Ipv4 { ("nothing", "") } else { ("nothing of IPv6", " by IPv6") };
    let key_of = |link: &str| match family {
        Family::Ipv4 => format!("net/ipv4/conf/{link}/forwarding"),
        Family::Ipv6 => format!("net/ipv6/conf/{link}/force_forwarding"),
    };
    let switch = host.forwarding[family as usize];
    if !switch.on {
        let bridges: Vec<&str> = networks.iter().map(|network| network.bridge.as_str()).collect();
        let why = format!(
            "{} is 0: containers on {} reach nobody{by} but the host and each other, and \
             nobody but the host reaches their ports",
            switch.key.replace('/', "."),
            bridges.join(", ")
        );
        let on = sysctl(switch.key.to_owned());
        return vec![Finding::new(Check::ForwardingOff, "host", why).steps(vec![on])];
    }
    let is_off = |link: &Link| !host.parameters(link).forwarding[family as usize];
    let off = networks.iter().filter(|network| host.link(&network.bridge).is_some_and(is_off));
    let bridges = off.map(|Network { bridge, .. }| {
        let why = format!("{packets} that comes from {bridge} is forwarded: its containers reach nobody but the host and each other");
        let on = sysctl(key_of(bridge.as_str()));
        Finding::new(Check::ForwardingOff, format!("bridge {bridge}"), why).steps(vec![on])
    });
    let uplink = host.uplink(family).filter(|link| is_off(link)).map(|link| {
        let name = &link.name;
        let why = format!(
            "{packets} that comes by {name}, where the default route leads, is forwarded: no answer from there \
             reaches a container, and nobody there a published port"
        );
        // Somebody has set this for one link of his own: his to undo.
        Finding::new(Check::ForwardingOff, format!("link {name}"), why)
            .remedy(format!("sysctl -w {}=1", key_of(name)))
    });
    bridges.chain(uplink).collect()
}

fn sysctl(key: String) -> Step {
    Step::Sysctl { netns: Netns::Host, key, value: "1".to_owned(), before: None }
}
