//! What a subnet of a network takes, as `iptables(8)` commands: their number is the same whoever
//! else is there.

use std::borrow::Cow;

use ipnetwork::IpNetwork;

use super::commands::{Line, PORTS, USER, Verb, comment, line, loopback};
use crate::firewall::owner::of_network;
use crate::model::network::Mode;
use crate::model::peers::Peers;
use crate::model::rule::{Family, Passage};
use crate::model::value::Iface;

/// All that it takes where iptables has its rules.
pub(super) fn network(bridge: &Iface, subnet: IpNetwork, passage: Passage, peers: &Peers) -> Vec<Line> {
    let mine = comment(&of_network(bridge.as_str()));
    let append = |table, chain, spec: String, to: &str| {
        line(table, Verb::Append, chain, format!("{spec} {mine} -j {to}"))
    };
    let mut lines = Vec::new();
    // What comes from elsewhere for an address of it: where addresses are seen only the
    // gateway's, which is the host's own.
    let is_routed = passage.is_routed();
    let host_alone = if passage.is_seen() { " -m addrtype --dst-type LOCAL" } else { "" };
    let foreign = format!("-d {subnet} ! -i {bridge}{host_alone}");
    if passage.open {
        lines.push(append("raw", "NETNS-GUARD", foreign.clone(), "NETNS-OPEN"));
    }
    lines.extend(peers.pairs().map(|(link, range)| {
        append("raw", "NETNS-GUARD", format!("-s {range} -d {subnet} -i {link} -m rpfilter"), "RETURN")
    }));
    lines.push(append("raw", "NETNS-GUARD", foreign, "DROP"));
    let kept = peers.no_masquerade_to.iter().map(|range| format!("-s {subnet} -d {range} ! -o {bridge}"));
    lines.extend(kept.map(|spec| append("nat", "NETNS-MASQUERADE", spec, "RETURN")));
    let masquerades = masquerades(bridge, subnet, passage, peers).into_iter();
    lines.extend(masquerades.map(|spec| append("nat", "NETNS-MASQUERADE", spec, "MASQUERADE")));
    let (sent, got) = (format!("-i {bridge} ! -o {bridge}"), format!("-o {bridge} ! -i {bridge}"));
    let answers = format!("{got} -m conntrack --ctstate RELATED,ESTABLISHED");
    let closed = |spec: &str, to| append("filter", "NETNS-CLOSED", spec.to_owned(), to);
    // Who is on it on another host is as one who is on it here.
    let from_peers = || peers.pairs().map(|(link, range)| format!("-s {range} -i {link} -o {bridge}"));
    let to_peers = || peers.pairs().map(|(link, range)| format!("-d {range} -i {bridge} -o {link}"));
    if passage.is_closed() {
        lines.extend(to_peers().chain(from_peers()).map(|spec| closed(&spec, "RETURN")));
    }
    for passing in [&sent, &got].into_iter().filter(|_| passage.is_closed()) {
        lines.extend([USER, "NETNS-OPEN"].into_iter().filter(|_| passage.open).map(|to| closed(passing, to)));
        lines.push(closed(passing, "DROP"));
    }
    if passage.apart {
        // What is led to a published port passes, and its answers.
        let among = format!("-i {bridge} -o {bridge} -m conntrack ! --ctstate DNAT");
        lines.push(closed(&among, "DROP"));
    }
    let routed = |spec: &str, to| append("filter", "NETNS-ROUTED", spec.to_owned(), to);
    if is_routed {
        lines.extend(from_peers().map(|spec| routed(&spec, "RETURN")));
        lines.extend([routed(&got, USER), routed(&answers, "ACCEPT"), routed(&got, PORTS)]);
        lines.extend(passage.open.then(|| routed(&got, "NETNS-OPEN")));
        lines.push(routed(&got, "DROP"));
    }
    if passage.open {
        lines.push(append("raw", "NETNS-OPEN", format!("-i {bridge}"), "ACCEPT"));
        lines.push(append("filter", "NETNS-OPEN", format!("-i {bridge}"), "NETNS-OPEN-TO"));
        lines.push(append("filter", "NETNS-OPEN-TO", format!("-o {bridge}"), "ACCEPT"));
    }
    // Each packet once, whichever way it goes.
    lines.extend(
        [format!("-i {bridge}"), got].map(|passing| append("filter", "NETNS-FORWARD", passing, USER)),
    );
    lines.extend(accepts(bridge, subnet, passage.is_seen(), peers, "NETNS-FORWARD".into()));
    lines
}

/// What leaves under an address of the host, and what comes in under one.
fn masquerades(bridge: &Iface, subnet: IpNetwork, passage: Passage, peers: &Peers) -> Vec<String> {
    let published = format!("-o {bridge} -m conntrack --ctstate DNAT");
    let mut all = Vec::new();
    if passage.mode == Mode::Nat && !passage.internal {
        all.extend(
            (!peers.others_masquerade && !passage.unmasqueraded)
                .then(|| format!("-s {subnet} ! -o {bridge}")),
        );
        // A container that calls a published port of a neighbour, or its own, by an address of
        // the host: the answer must come back through us.
        all.push(format!("-s {subnet} {published}"));
        // The host that calls a published port by 127.0.0.1: nobody could answer that. With
        // ::1 it cannot, as the kernel routes nothing from there.
        all.extend(subnet.is_ipv4().then(|| format!("-s {} {published}", loopback(Family::Ipv4))));
    }
    // Nobody in there knows the way to others: not to the host that calls a published port, nor
    // to a network that may call.
    if passage.mode == Mode::Nat && passage.internal {
        all.push(format!("-d {subnet} {published}"));
    }
    if passage.is_closed() && passage.open {
        all.push(format!("! -s {subnet} -d {subnet} -o {bridge}"));
    }
    all
}

/// What a network of another backend needs in iptables: its own way past the policy.
pub(super) fn accept(bridge: &Iface, subnet: IpNetwork, passage: Passage, peers: &Peers) -> Vec<Line> {
    let chain: Cow<'static, str> = format!("NETNS-ACCEPT-{bridge}").into();
    let jump = format!("{} -j {chain}", comment(&of_network(bridge.as_str())));
    let mut lines = vec![("filter", Verb::NewChain, chain.clone(), String::new())];
    lines.extend(accepts(bridge, subnet, passage.is_seen(), peers, chain));
    lines.push(line("filter", Verb::Insert, "FORWARD", jump));
    lines
}

/// What a network sends, what answers it or was led to it, and what other hosts' containers send; where
/// addresses are seen, all that the guard has let pass.
fn accepts(
    bridge: &Iface,
    subnet: IpNetwork,
    is_seen: bool,
    peers: &Peers,
    chain: Cow<'static, str>,
) -> Vec<Line> {
    let mine = comment(&of_network(bridge.as_str()));
    let answers = if is_seen { "" } else { "-m conntrack --ctstate RELATED,ESTABLISHED,DNAT " };
    let from_peers = peers.pairs().filter(|_| !is_seen);
    let from_peers = from_peers
        .map(|(link, range)| format!("-s {range} -d {subnet} -i {link} -o {bridge} {mine} -j ACCEPT"));
    [
        format!("-s {subnet} -i {bridge} {mine} -j ACCEPT"),
        format!("-d {subnet} -o {bridge} {answers}{mine} -j ACCEPT"),
    ]
    .into_iter()
    .chain(from_peers)
    .map(|spec| ("filter", Verb::Append, chain.clone(), spec))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::lines;
    use crate::model::rule::{Backend, Rule};

    /// The rules of a network without what all of them have.
    fn rules(mode: Mode, internal: bool, open: bool) -> Vec<String> {
        rules_with(Passage { mode, internal, open, ..Passage::default() }, Peers::default())
    }

    fn rules_with(passage: Passage, peers: Peers) -> Vec<String> {
        let (bridge, subnet) = ("b".parse().unwrap(), "10.8.0.0/24".parse().unwrap());
        let rule = Rule::Network { bridge, subnet, passage, peers, backend: Backend::Iptables };
        let all = lines(&rule).into_iter();
        let short = |line: String| {
            let line = line.replace(" -m comment --comment \"netns network b\"", "");
            line.replace("iptables -t ", "").replace("-A NETNS-", "").replace("-m conntrack --ctstate ", "")
        };
        let mut short: Vec<String> = all.map(short).collect();
        short.retain(|line| !line.starts_with("filter FORWARD"));
        short
    }

    const GUARD: &str = "raw GUARD -d 10.8.0.0/24 ! -i b -j DROP";
    const WORLD: &str = "nat MASQUERADE -s 10.8.0.0/24 ! -o b -j MASQUERADE";
    const CLOSED: [&str; 2] = ["filter CLOSED -i b ! -o b -j DROP", "filter CLOSED -o b ! -i b -j DROP"];

    #[test]
    fn each_mode_has_its_rules() {
        let hairpin = |from| format!("nat MASQUERADE {from} -o b DNAT -j MASQUERADE");
        let own = hairpin("-s 10.8.0.0/24");
        assert_eq!(rules(Mode::Nat, false, false), [GUARD, WORLD, &own, &hairpin("-s 127.0.0.0/8")]);
        assert_eq!(rules(Mode::Isolated, false, false), [&[GUARD][..], &CLOSED].concat());
        let internal = nat_internal();
        assert_eq!(rules(Mode::Nat, true, false), [&[GUARD, &internal][..], &CLOSED].concat());
        assert_eq!(rules(Mode::Routed, true, false), rules(Mode::Isolated, false, false));
        assert_eq!(
            rules(Mode::Routed, false, false),
            [
                "raw GUARD -d 10.8.0.0/24 ! -i b -m addrtype --dst-type LOCAL -j DROP",
                "filter ROUTED -o b ! -i b -j NETNS-USER",
                "filter ROUTED -o b ! -i b RELATED,ESTABLISHED -j ACCEPT",
                "filter ROUTED -o b ! -i b -j NETNS-PORTS",
                "filter ROUTED -o b ! -i b -j DROP",
            ]
        );
    }

    #[test]
    fn without_a_masquerade_published_ports_are_led_and_nobody_is_kept_from_the_rest() {
        let plain = Passage { unmasqueraded: true, ..Passage::default() };
        let hairpin = |from| format!("nat MASQUERADE {from} -o b DNAT -j MASQUERADE");
        let guard = "raw GUARD -d 10.8.0.0/24 ! -i b -m addrtype --dst-type LOCAL -j DROP";
        let all = [guard, &hairpin("-s 10.8.0.0/24"), &hairpin("-s 127.0.0.0/8")].map(str::to_owned);
        assert_eq!(rules_with(plain, Peers::default()), all);
        let internal = Passage { internal: true, ..plain };
        assert_eq!(rules_with(internal, Peers::default()), rules(Mode::Nat, true, false));
    }

    fn nat_internal() -> String {
        "nat MASQUERADE -d 10.8.0.0/24 -o b DNAT -j MASQUERADE".to_owned()
    }

    #[test]
    fn other_hosts_are_let_in_by_their_links_and_addresses_and_see_the_containers_own() {
        let mut peers = Peers { trusted_interfaces: vec!["wg0".parse().unwrap()], ..Peers::default() };
        peers.add(["10.8.0.0/16".parse().unwrap()]);
        let with = |mode, internal| {
            let all = rules_with(Passage { mode, internal, ..Passage::default() }, peers.clone());
            let alone = rules(mode, internal, false);
            all.into_iter().filter(|rule| !alone.contains(rule)).collect::<Vec<_>>()
        };
        let guard = "raw GUARD -s 10.8.0.0/16 -d 10.8.0.0/24 -i wg0 -m rpfilter -j RETURN";
        let own = "nat MASQUERADE -s 10.8.0.0/24 -d 10.8.0.0/16 ! -o b -j RETURN";
        assert_eq!(with(Mode::Nat, false), [guard, own]);
        let closed = "filter CLOSED -s 10.8.0.0/16 -i wg0 -o b -j RETURN";
        let sent = "filter CLOSED -d 10.8.0.0/16 -i b -o wg0 -j RETURN";
        assert_eq!(with(Mode::Isolated, false), [guard, own, sent, closed]);
        assert_eq!(with(Mode::Nat, true), [guard, own, sent, closed]);
        assert_eq!(with(Mode::Routed, false), [guard, own, &closed.replace("CLOSED", "ROUTED")]);
        let nat = Passage::default();
        let others = rules_with(nat, Peers { others_masquerade: true, ..peers.clone() });
        assert!(!others.contains(&WORLD.to_owned()), "{others:#?}");
        let all = rules_with(nat, peers.clone());
        let at = |rule: &str| all.iter().position(|other| other == rule);
        assert!(at(guard) < at(GUARD) && at(own) < at(WORLD), "{all:#?}");
    }

    #[test]
    fn an_open_network_is_asked_for_before_anything_is_dropped() {
        for (mode, internal) in
            [(Mode::Nat, false), (Mode::Nat, true), (Mode::Routed, false), (Mode::Isolated, false)]
        {
            let (apart, open) = (rules(mode, internal, false), rules(mode, internal, true));
            let added = open.iter().filter(|rule| !apart.contains(rule)).cloned().collect::<Vec<_>>();
            let drops = apart.iter().filter(|rule| rule.ends_with("-j DROP"));
            for drop in drops {
                let before = open.iter().position(|rule| *rule == drop.replace("-j DROP", "-j NETNS-OPEN"));
                let at = open.iter().position(|rule| rule == drop);
                assert!(before.is_some() && before < at, "{drop}: {open:#?}");
            }
            let shared = [
                "raw OPEN -i b -j ACCEPT",
                "filter OPEN -i b -j NETNS-OPEN-TO",
                "filter OPEN-TO -o b -j ACCEPT",
            ];
            assert!(added.ends_with(&shared.map(str::to_owned)), "{added:#?}");
            assert!(added.len() <= 9, "whoever else is there: {added:#?}");
        }
    }
}
