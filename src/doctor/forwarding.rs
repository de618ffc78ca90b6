//! Whether the host forwards at all, and from and to the links that matter.

use super::{Check, Facts, Finding};
use crate::model::observed::Link;
use crate::model::sandbox::Netns;
use crate::model::step::Step;

const KEY: &str = "net/ipv4/ip_forward";

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let host = &facts.host;
    if !host.ip_forward {
        let bridges: Vec<&str> = facts.networks.iter().map(|network| network.bridge.as_str()).collect();
        if bridges.is_empty() {
            return Vec::new();
        }
        let why = format!(
            "net.ipv4.ip_forward is 0: containers on {} reach nobody but the host and each other, and \
             nobody but the host reaches their ports",
            bridges.join(", ")
        );
        return vec![Finding::new(Check::ForwardingOff, "host", why).steps(vec![sysctl(KEY.to_owned())])];
    }
    let is_off = |link: &Link| !host.parameters(link).forwarding;
    let off = facts.networks.iter().filter(|network| host.link(&network.bridge).is_some_and(is_off));
    let bridges = off.map(|network| {
        let bridge = &network.bridge;
        let why = format!("nothing that comes from {bridge} is forwarded: its containers reach nobody but the host and each other");
        let key = format!("net/ipv4/conf/{bridge}/forwarding");
        Finding::new(Check::ForwardingOff, format!("bridge {bridge}"), why).steps(vec![sysctl(key)])
    });
    let uplink = host.uplink().filter(|link| is_off(link) && !facts.networks.is_empty()).map(|link| {
        let name = &link.name;
        let why = format!(
            "nothing that comes by {name}, where the default route leads, is forwarded: no answer from there \
             reaches a container, and nobody there a published port"
        );
        // Somebody has set this for one link of his own: his to undo.
        Finding::new(Check::ForwardingOff, format!("link {name}"), why)
            .remedy(format!("sysctl -w net/ipv4/conf/{name}/forwarding=1"))
    });
    bridges.chain(uplink).collect()
}

fn sysctl(key: String) -> Step {
    Step::Sysctl { netns: Netns::Host, key, value: "1".to_owned(), before: None }
}
