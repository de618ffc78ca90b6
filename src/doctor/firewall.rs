//! Rules of ours: whether they are there, and only once.

use super::{Check, Facts, Finding, Fix};
use crate::model::network::Network;
use crate::model::rule::{Backend, Family};

pub(super) fn rules(facts: &Facts) -> Vec<Finding> {
    let firewall = &facts.firewall;
    let needed = !facts.networks.is_empty() || facts.parents.is_empty();
    if let Some(cause) = firewall.unreadable.as_ref().filter(|_| needed) {
        let why = format!("{cause}: no port can be published, and no flushed rule restored");
        let finding = Finding::new(Check::IptablesMissing, "host", why);
        return vec![finding.remedy("apt-get install -y iptables")];
    }
    let Some(first) = firewall.missing.first() else { return Vec::new() };
    // In the words of iptables and of nft.
    let gone = |places: &&[&str]| {
        firewall.missing.iter().any(|rule| places.iter().any(|place| rule.contains(&format!("{place} "))))
    };
    let effects = [
        (&["-t raw", "netns guard"][..], "neighbours on the wire reach what is not published"),
        (
            &[
                "-t nat",
                "netns published",
                "netns prerouting",
                "netns output",
                "netns postrouting",
                "element",
            ],
            "containers are not masqueraded, or ports not reached",
        ),
        (&["-t filter"], "somebody's policy may drop what is forwarded"),
    ];
    let effects: Vec<&str> =
        effects.into_iter().filter(|(places, _)| gone(places)).map(|(_, effect)| effect).collect();
    let effects = effects.join("; ");
    let why = match firewall.missing.len() {
        1 => format!("a rule of ours is gone: {first}: {effects}"),
        n => format!("{n} rules and chains of ours are gone, {first} the first: {effects}"),
    };
    let finding = Finding::new(Check::RulesMissing, "host", why);
    vec![finding.remedy(format!("{} reload", facts.netns)).fix(Fix::Reload)]
}

pub(super) fn two_variants(facts: &Facts) -> Vec<Finding> {
    let tell = |programs: &[&'static str]| {
        let why = format!(
            "rules of ours are in the tables of {} too, which is not the variant in use: they go on \
             sending connections to ports and addresses that others have by now",
            programs.join(" and ")
        );
        // Every line of ours names a chain of ours.
        let clean = |program| format!("{program}-save -c | grep -v NETNS- | {program}-restore -c");
        let clean = programs.iter().map(clean).collect::<Vec<_>>().join(" && ");
        Finding::new(Check::TwoVariants, "host", why).remedy(clean).fix(Fix::CleanOther)
    };
    let programs = Some(&facts.firewall.ours_in_other[..]).filter(|programs| !programs.is_empty());
    programs.map(tell).into_iter().collect()
}

/// Networks that would reach each other: a firewall asks only those whose rules it has.
pub(super) fn two_firewalls(facts: &Facts) -> Option<Finding> {
    let of = |family: Family| {
        let open = move |network: &&Network| {
            let has_it = network.subnets.iter().any(|subnet| Family::of(subnet.ip()) == family);
            has_it && network.reach.passage(family).open
        };
        Backend::ALL.map(|backend| {
            let here = facts.networks.iter().filter(open).filter(|network| network.firewall == backend);
            here.map(|network| network.name.as_str()).collect::<Vec<_>>().join(", ")
        })
    };
    let apart = |names: &[String; 2]| names.iter().all(|names| !names.is_empty());
    let [iptables, nftables] = Family::ALL.map(of).into_iter().find(apart)?;
    let why = format!(
        "by `isolate` these may reach each other, and do not, since {iptables} has its rules in iptables and \
         {nftables} in nftables"
    );
    let finding = Finding::new(Check::TwoFirewalls, "networks", why);
    let finding = finding.remedy(format!("{} reload --firewall nftables", facts.netns));
    Some(finding.advice("and let their definitions name the same `firewall`"))
}
