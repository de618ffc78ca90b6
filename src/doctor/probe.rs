//! What was sent and not answered, where nothing that was observed explains it.

use super::facts::{Container, Facts};
use super::link::is_connected;
use super::ruleset::{Chain, Outcome, Packet, Ruleset, Table, trace};
use super::{Check, Finding, rates};
use crate::kernel::probe::Answer;
use crate::model::port::{PortMapping, Protocol};
use crate::model::rule::Family;

/// `explained` says that something else is known to keep packets from ports.
pub(super) fn check(facts: &Facts, explained: bool) -> Vec<Finding> {
    let connected = facts.containers.iter().filter(|container| is_connected(facts, container));
    let connected = connected.filter(|container| rates::of(facts, container).is_empty());
    let silent = connected.flat_map(|container| {
        let ports = if explained { Vec::new() } else { ports(facts, container) };
        gateway(facts, container).into_iter().chain(ports)
    });
    silent.collect()
}

fn gateway(facts: &Facts, container: &Container) -> Option<Finding> {
    if container.probe.gateway != Some(false) {
        return None;
    }
    let Container { host_end, bridge, gateway, .. } = container;
    let why = format!(
        "its gateway {gateway} does not answer to ARP, though {host_end} is a port of {bridge} and everything is up"
    );
    Some(match arp_dropped_by(&facts.firewall.ruleset, host_end.as_str()) {
        Some((chain, link)) => {
            let (table, name) = (&chain.table.name, &chain.name);
            let why = format!("{why}: the chain {name} of nft table bridge {table} drops it");
            let rule = format!("nft insert rule bridge {table} {name} '{link} \"{host_end}\" accept'");
            Finding::new(Check::GatewaySilent, container.object(), why)
                .remedy_if(chain.is_plain().then_some(rule))
        }
        None => Finding::new(Check::GatewaySilent, container.object(), why).advice(
            "`ebtables-legacy -L` and `tc filter show` tell who else drops frames; `dmesg` whether the kernel's \
             table of neighbours, one for all namespaces, is full (net.ipv4.neigh.default.gc_thresh3)",
        ),
    })
}

/// The chain that drops ARP between the host and this port of a bridge, and what nft calls the
/// port there.
fn arp_dropped_by<'a>(ruleset: &'a Ruleset, port: &str) -> Option<(&'a Chain, &'static str)> {
    let name = Some(port.to_owned());
    let request = Packet { input: name.clone(), frame: Some("arp"), ..Packet::default() };
    let answer = Packet { output: name, input: None, ..request.clone() };
    let hooks = [
        ("prerouting", &request, "iifname"),
        ("input", &request, "iifname"),
        ("output", &answer, "oifname"),
        ("postrouting", &answer, "oifname"),
    ];
    hooks.into_iter().find_map(|(hook, packet, link)| {
        let drops = |chain: &&Chain| matches!(trace(ruleset, chain, packet), Outcome::Dropped(..));
        Some((ruleset.on_bridges(hook).find(drops)?, link))
    })
}

/// Only ports that somebody listens on were tried: a refusal is as wrong as silence.
fn ports(facts: &Facts, container: &Container) -> Vec<Finding> {
    let wrong = container.probe.ports.iter().filter(|(.., answer)| *answer != Answer::Fine);
    wrong.map(|tried| silent_port(facts, container, tried)).collect()
}

fn silent_port(
    facts: &Facts,
    container: &Container,
    (mapping, port, answer): &(PortMapping, u16, Answer),
) -> Finding {
    let said = if *answer == Answer::Refused { "refuses" } else { "does not answer" };
    let inside = mapping.container.first + (port - mapping.host.first);
    let why =
        format!("its port {mapping} {said} this host on {port}, though the container listens on {inside}");
    let enter = format!("{} ", container.enter());
    for Passage { ruleset, hook, packet, whose, matches } in
        passages(facts, container, mapping.protocol, inside)
    {
        if let Some(chain) = dropping(ruleset, hook, &packet) {
            let why = format!("{why}: chain {} {whose} drops it", chain.name);
            let finding = Finding::new(Check::PortSilent, container.object(), why);
            let enter = if whose == CONTAINERS { &enter } else { "" };
            return finding.remedy_if(chain.is_plain().then(|| accept(enter, chain, &matches)));
        }
    }
    let interface = &container.attachment.interface;
    let advice = format!("`{enter}tcpdump -ni {interface} port {inside}` shows whether it arrives");
    Finding::new(Check::PortSilent, container.object(), why).advice(advice)
}

/// A hook that a packet between the host and a container passes.
struct Passage<'a> {
    ruleset: &'a Ruleset,
    hook: &'static str,
    packet: Packet,
    whose: &'static str,
    /// What matches the packet, in the words of iptables and in those of nft.
    matches: (String, String),
}

const CONTAINERS: &str = "of the container's own firewall";

fn passages<'a>(
    facts: &'a Facts,
    container: &'a Container,
    protocol: Protocol,
    port: u16,
) -> [Passage<'a>; 3] {
    let (interface, bridge) = (&container.attachment.interface, &container.bridge);
    let family = Family::of(container.gateway);
    let packet = Packet { family, protocol: Some(protocol.to_string()), ..Packet::default() };
    let to = Packet { destination: container.address(), port: Some(port), ..packet.clone() };
    let out = Packet { states: vec!["new", "dnat"], ..to.clone() };
    let into = Packet { input: Some(interface.to_string()), states: vec!["new"], local: true, ..to };
    let input = Some(bridge.to_string());
    let back = Packet { input, source: container.address(), states: vec!["established"], ..packet };
    let (host, own) = (&facts.firewall.ruleset, &container.probe.rules);
    let asking = (format!("-p {protocol} --dport {port}"), format!("{protocol} dport {port}"));
    let answering = (
        format!("-i {bridge} -m conntrack --ctstate ESTABLISHED"),
        format!("iifname \"{bridge}\" ct state established"),
    );
    let whose = "of the host";
    [
        Passage { ruleset: own, hook: "input", packet: into, whose: CONTAINERS, matches: asking.clone() },
        Passage { ruleset: host, hook: "output", packet: out, whose, matches: asking },
        Passage { ruleset: host, hook: "input", packet: back, whose, matches: answering },
    ]
}

/// The chain that the kernel enters at `hook` and in which `packet` is dropped.
fn dropping<'a>(ruleset: &'a Ruleset, hook: &str, packet: &Packet) -> Option<&'a Chain> {
    let drops = |chain: &&Chain| matches!(trace(ruleset, chain, packet), Outcome::Dropped(..));
    ruleset.at(hook).find(drops)
}

/// The command that lets packets pass `chain` before anything else decides.
fn accept(enter: &str, chain: &Chain, (iptables, nft): &(String, String)) -> String {
    let Table { family, name, .. } = &chain.table;
    match chain.table.iptables() {
        None => format!("{enter}nft insert rule {family} {name} {} '{nft} accept'", chain.name),
        Some(program) => format!("{enter}{program} -t {name} -I {} {iptables} -j ACCEPT", chain.name),
    }
}
