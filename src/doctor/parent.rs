//! Networks on links of the host: whether those are there, and the interfaces on them.

use super::facts::OnParent;
use super::link::stale_one;
use super::{Check, Facts, Finding};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    facts.parents.iter().flat_map(|network| of_network(facts, network)).collect()
}

fn of_network(facts: &Facts, on: &OnParent) -> Vec<Finding> {
    let OnParent { network, parent, containers } = on;
    let (name, lower) = (&network.name, parent.lower());
    let object = format!("network {name}");
    let alone = containers.iter().filter(|one| one.alone);
    let mut found: Vec<Finding> =
        alone.filter_map(|one| Some(stale_one(facts, &one.object, one.stale?, false))).collect();
    let missing = || containers.iter().filter(|one| one.stale.is_none() && !one.there);
    let Some(link) = facts.host.link(lower) else {
        let lost: Vec<&str> = missing().map(|one| one.object.as_str()).collect();
        let lost = match lost.join(", ") {
            none if none.is_empty() => none,
            names => format!(", and the interfaces of {names} with it"),
        };
        let advice = format!(
            "once it is back, `{} create {name}` makes what the host has on it, and a container gets its \
             interface anew when it is detached and attached",
            facts.netns
        );
        let why = format!("its parent {lower} is gone{lost}");
        found.push(Finding::new(Check::ParentBroken, object, why).advice(advice));
        return found;
    };
    if !link.up {
        let why = format!("its parent {lower} is down: its containers reach nobody");
        found.push(Finding::new(Check::ParentBroken, &object, why).remedy(format!("ip link set {lower} up")));
    }
    let own = facts.host.link(&network.bridge);
    if parent.host_access && own.is_none_or(|own| !own.up) {
        let state = if own.is_some() { "down" } else { "gone" };
        let why = format!(
            "the host's interface {} is {state}: host and containers do not reach each other",
            network.bridge
        );
        let remedy = format!("{} create {name}", facts.netns);
        found.push(Finding::new(Check::ParentBroken, &object, why).remedy(remedy));
    }
    found.extend(missing().map(|one| {
        let why = format!("its interface {} on {lower} is gone: it reaches nobody there", one.interface);
        let advice = "it gets another one when it is detached and attached";
        Finding::new(Check::InterfaceBroken, &one.object, why).advice(advice)
    }));
    found
}
