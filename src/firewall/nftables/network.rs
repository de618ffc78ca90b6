//! What a subnet of a network takes, as rules of `nft(8)`: their number is the same whoever else is
//! there.

use ipnetwork::IpNetwork;

use super::statics::{USER, loopback};
use crate::firewall::nft_word;
use crate::model::network::Mode;
use crate::model::peers::Peers;
use crate::model::rule::{Family, Passage};
use crate::model::value::Iface;

/// A chain, and a rule in it.
type Line = (&'static str, String);

/// All that it takes.
pub(super) fn network(bridge: &Iface, subnet: IpNetwork, passage: Passage, peers: &Peers) -> Vec<Line> {
    let ip = nft_word(Family::of(subnet.ip()));
    // The host's own packets to its own addresses, the gateway's among them, come by lo. Where
    // addresses are seen, only the gateway's is the host's.
    let host_alone = if passage.is_seen() { "fib daddr type local " } else { "" };
    let foreign = format!("{ip} daddr {subnet} iif != lo iifname != \"{bridge}\" {host_alone}");
    let mut rules = Vec::new();
    rules.extend(passage.open.then(|| ("guard", format!("{foreign}jump open"))));
    let from_peers = from_peers(ip, peers);
    let answered =
        from_peers.iter().map(|from| format!("{from} {ip} daddr {subnet} fib saddr . iif oif exists return"));
    rules.extend(answered.map(|spec| ("guard", spec)));
    rules.push(("guard", format!("{foreign}drop")));
    rules.extend(masquerades(bridge, subnet, passage, peers).into_iter().map(|spec| ("postrouting", spec)));
    rules.extend(guard(bridge, passage, ip, peers));
    if passage.open {
        rules.push(("open", format!("iifname \"{bridge}\" accept")));
        rules.push(("open_from", format!("iifname \"{bridge}\" jump open_to")));
        rules.push(("open_to", format!("oifname \"{bridge}\" accept")));
    }
    rules.extend([
        // Each packet once, whichever way it goes.
        ("accepted", format!("iifname \"{bridge}\" jump {USER}")),
        ("accepted", format!("oifname \"{bridge}\" iifname != \"{bridge}\" jump {USER}")),
        // What a network sends, what answers it and what was led to it, where the rest is dropped.
        ("accepted", format!("{ip} saddr {subnet} iifname \"{bridge}\" accept")),
    ]);
    let led = ["ct state established,related ", "ct status dnat "];
    // The guard has let nothing else pass.
    let led = if passage.is_seen() { &[""][..] } else { &led[..] };
    let led = led.iter().map(|which| format!("{ip} daddr {subnet} oifname \"{bridge}\" {which}accept"));
    rules.extend(led.map(|spec| ("accepted", spec)));
    let from_peers = from_peers.into_iter().filter(|_| !passage.is_seen());
    let from_peers = from_peers.map(|from| format!("{from} {ip} daddr {subnet} oifname \"{bridge}\" accept"));
    rules.extend(from_peers.map(|spec| ("accepted", spec)));
    rules
}

/// What containers of other hosts send.
fn from_peers(ip: &str, peers: &Peers) -> Option<String> {
    let ranges = set(peers.no_masquerade_to.iter())?;
    Some(format!("iifname {} {ip} saddr {ranges}", links(peers)?))
}

fn links(peers: &Peers) -> Option<String> {
    set(peers.trusted_interfaces.iter().map(|link| format!("\"{link}\"")))
}

fn set(values: impl Iterator<Item: ToString>) -> Option<String> {
    let values: Vec<String> = values.map(|value| value.to_string()).collect();
    (!values.is_empty()).then(|| format!("{{ {} }}", values.join(", ")))
}

/// What leaves under an address of the host, and what comes in under one.
fn masquerades(bridge: &Iface, subnet: IpNetwork, passage: Passage, peers: &Peers) -> Vec<String> {
    let ip = nft_word(Family::of(subnet.ip()));
    let published = format!("oifname \"{bridge}\" ct status dnat masquerade");
    let mut all = Vec::new();
    if passage.mode == Mode::Nat && !passage.internal {
        let but = set(peers.no_masquerade_to.iter()).map(|ranges| format!("{ip} daddr != {ranges} "));
        let out =
            format!("{ip} saddr {subnet} {}oifname != \"{bridge}\" masquerade", but.unwrap_or_default());
        all.extend((!peers.others_masquerade && !passage.unmasqueraded).then_some(out));
        // A container that calls a published port of a neighbour, or its own, by an address of
        // the host: the answer must come back through us.
        all.push(format!("{ip} saddr {subnet} {published}"));
        // The host that calls a published port by 127.0.0.1: nobody could answer that.
        all.extend(subnet.is_ipv4().then(|| format!("{ip} saddr {} {published}", loopback(Family::Ipv4))));
    }
    // Nobody in there knows the way to others: not to the host that calls a published port, nor
    // to a network that may call.
    if passage.mode == Mode::Nat && passage.internal {
        all.push(format!("{ip} daddr {subnet} {published}"));
    }
    if passage.is_closed() && passage.open {
        all.push(format!("{ip} saddr != {subnet} {ip} daddr {subnet} oifname \"{bridge}\" masquerade"));
    }
    all
}

/// What may not be forwarded, whoever else would accept it.
fn guard(bridge: &Iface, passage: Passage, ip: &str, peers: &Peers) -> Vec<Line> {
    let is_routed = passage.is_routed();
    let sent = format!("iifname \"{bridge}\" oifname != \"{bridge}\"");
    let got = format!("oifname \"{bridge}\" iifname != \"{bridge}\"");
    let mut rules = Vec::new();
    if passage.apart {
        // What is led to a published port passes, and its answers.
        let among = format!("iifname \"{bridge}\" oifname \"{bridge}\"");
        rules.push(("closed", format!("{among} ct status dnat return")));
        rules.push(("closed", format!("{among} drop")));
    }
    // Who is on it on another host is as one who is on it here.
    let chain = if is_routed { "routed" } else { "closed" };
    if is_routed || passage.is_closed() {
        let to_peers = set(peers.no_masquerade_to.iter()).zip(links(peers));
        let to_peers = to_peers.filter(|_| passage.is_closed());
        let to_peers = to_peers.map(|(ranges, links)| {
            format!("iifname \"{bridge}\" oifname {links} {ip} daddr {ranges} return")
        });
        let from_peers = from_peers(ip, peers).map(|from| format!("{from} oifname \"{bridge}\" return"));
        rules.extend(to_peers.into_iter().chain(from_peers).map(|spec| (chain, spec)));
    }
    if is_routed {
        rules.push(("routed", format!("{got} ct state established,related accept")));
        rules.push(("routed", format!("{got} jump ports")));
    }
    let guarded = match passage.is_closed() {
        true => vec![("closed", sent), ("closed", got)],
        false if is_routed => vec![("routed", got)],
        false => Vec::new(),
    };
    for (chain, passing) in guarded {
        rules.extend(passage.open.then(|| (chain, format!("{passing} jump open_from"))));
        rules.push((chain, format!("{passing} drop")));
    }
    rules
}
