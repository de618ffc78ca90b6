//! What was sent and not answered, where nothing that can be seen explains it.

use super::facts::{Container, Facts};
use super::link::is_connected;
use super::ruleset::{Chain, Outcome, Packet, Ruleset, Table, Tool, trace};
use super::{Check, Finding};
use crate::config::publish::{Protocol, Published};
use crate::kernel::probe::Answer;

/// `explained` says that something else is known to keep packets from ports.
pub(super) fn check(facts: &Facts, explained: bool) -> Vec<Finding> {
    let connected = facts.containers.iter().filter(|container| is_connected(facts, container));
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
    let (cable, ruleset) = (&container.cable, &facts.firewall.ruleset);
    let why = format!(
        "its gateway {} does not answer to ARP, though the cable is plugged in and everything is up",
        container.gateway
    );
    let name = Some(cable.to_string());
    let request = Packet { input: name.clone(), frame: Some("arp"), ..Packet::default() };
    let answer = Packet { output: name, input: None, ..request.clone() };
    let drops = |packet, chain: &&Chain| matches!(trace(ruleset, chain, packet), Outcome::Dropped(..));
    let on_the_way =
        [("prerouting", &request), ("input", &request), ("output", &answer), ("postrouting", &answer)];
    let culprit = on_the_way.into_iter().find_map(|(hook, packet)| {
        let chain = ruleset.on_bridges(hook).find(|chain| drops(packet, chain))?;
        Some((chain, if packet.input.is_some() { "iifname" } else { "oifname" }))
    });
    Some(match culprit {
        Some((chain, link)) => {
            let (table, name) = (&chain.table.name, &chain.name);
            let why = format!("{why}: the chain {name} of nft table bridge {table} drops it");
            let rule = format!("nft insert rule bridge {table} {name} '{link} \"{cable}\" accept'");
            Finding::new(Check::GatewaySilent, container.object(), why)
                .remedy_if(chain.is_plain().then_some(rule))
        }
        None => Finding::new(Check::GatewaySilent, container.object(), why)
            .advice(
            "`ebtables-legacy -L` and `tc filter show` tell who else drops frames; `dmesg` whether the kernel's \
             table of neighbours, one for all namespaces, is full (net.ipv4.neigh.default.gc_thresh3)",
        ),
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
    (published, port, answer): &(Published, u16, Answer),
) -> Finding {
    let said = if *answer == Answer::Refused { "refuses" } else { "does not answer" };
    let inside = published.container.first + (port - published.host.first);
    let why =
        format!("its port {published} {said} this host on {port}, though the container listens on {inside}");
    let enter = format!("{} ", container.enter());
    for Way { ruleset, hook, packet, whose, matches } in ways(facts, container, published.protocol, inside) {
        if let Some(chain) = dropping(ruleset, hook, &packet) {
            let why = format!("{why}: chain {} {whose} drops it", chain.name);
            let finding = Finding::new(Check::PortSilent, container.object(), why);
            let enter = if whose == CONTAINERS { &enter } else { "" };
            return finding.remedy_if(chain.is_plain().then(|| accept(enter, chain, &matches)));
        }
    }
    let interface = &container.record.interface;
    let advice = format!("`{enter}tcpdump -ni {interface} port {inside}` shows whether it arrives");
    Finding::new(Check::PortSilent, container.object(), why).advice(advice)
}

/// A hook that a packet between the host and a container passes.
struct Way<'a> {
    ruleset: &'a Ruleset,
    hook: &'static str,
    packet: Packet,
    whose: &'static str,
    /// What matches the packet, in the words of iptables and in those of nft.
    matches: (String, String),
}

const CONTAINERS: &str = "of the container's own firewall";

fn ways<'a>(facts: &'a Facts, container: &'a Container, protocol: Protocol, port: u16) -> [Way<'a>; 3] {
    let (interface, bridge) = (&container.record.interface, &container.bridge);
    let packet = Packet { protocol: Some(protocol.to_string()), ..Packet::default() };
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
        Way { ruleset: own, hook: "input", packet: into, whose: CONTAINERS, matches: asking.clone() },
        Way { ruleset: host, hook: "output", packet: out, whose, matches: asking },
        Way { ruleset: host, hook: "input", packet: back, whose, matches: answering },
    ]
}

/// The chain that the kernel enters at `hook` and in which `packet` is dropped.
fn dropping<'a>(ruleset: &'a Ruleset, hook: &str, packet: &Packet) -> Option<&'a Chain> {
    let drops = |chain: &&Chain| matches!(trace(ruleset, chain, packet), Outcome::Dropped(..));
    ruleset.at(hook).find(drops)
}

/// The command that lets packets pass `chain` before anything else decides.
fn accept(enter: &str, chain: &Chain, (iptables, nft): &(String, String)) -> String {
    let Table { tool, family, name } = &chain.table;
    let program = match tool {
        Tool::Nft => return format!("{enter}nft insert rule {family} {name} {} '{nft} accept'", chain.name),
        Tool::OtherIptables(program) => program,
        Tool::Iptables => "iptables",
    };
    format!("{enter}{program} -t {name} -I {} {iptables} -j ACCEPT", chain.name)
}
