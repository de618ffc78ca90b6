//! What was sent and not answered, where nothing that can be seen explains it.

use super::facts::{Container, Facts};
use super::link::is_connected;
use super::ruleset::{Chain, Outcome, Packet, Ruleset, Table, Tool, trace};
use super::{Check, Finding};
use crate::config::publish::{Protocol, Published};
use crate::kernel::probe::Answer;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let connected = facts.containers.iter().filter(|container| is_connected(facts, container));
    connected.flat_map(|container| gateway(container).into_iter().chain(ports(facts, container))).collect()
}

fn gateway(container: &Container) -> Option<Finding> {
    if container.probe.gateway != Some(false) {
        return None;
    }
    let record = &container.record;
    let why = format!(
        "its gateway {} does not answer to ARP, though the cable is plugged in and everything is up: something \
         drops frames on {}",
        record.gateway, record.bridge
    );
    let advice = "`nft list ruleset bridge`, `ebtables-legacy -L` and `tc filter show` tell who drops frames";
    Some(Finding::new(Check::GatewaySilent, container.object(), why).advice(advice))
}

/// A refusal is what [`super::ports`] has told already.
fn ports(facts: &Facts, container: &Container) -> Vec<Finding> {
    let silent = container
        .probe
        .ports
        .iter()
        .filter(|(.., answer)| matches!(answer, Answer::Silence | Answer::Unreachable));
    silent.map(|(published, port, _)| silent_port(facts, container, published, *port)).collect()
}

fn silent_port(facts: &Facts, container: &Container, published: &Published, port: u16) -> Finding {
    let record = &container.record;
    let inside = published.container.first + (port - published.host.first);
    let why = format!(
        "its port {published} does not answer this host on {port}, though the container listens on {inside}"
    );
    let packet = Packet {
        destination: container.address(),
        protocol: Some(published.protocol.to_string()),
        port: Some(inside),
        states: vec!["new"],
        ..Packet::default()
    };
    let out =
        Packet { output: Some(record.bridge.to_string()), states: vec!["new", "dnat"], ..packet.clone() };
    let into = Packet { input: Some(record.interface.to_string()), local: true, ..packet };
    let (enter, matches) = (format!("{} ", container.enter()), (published.protocol, inside));
    let tell = |whose: &str, remedy| {
        Finding::new(Check::PortSilent, container.object(), format!("{why}: {whose} drops it")).remedy(remedy)
    };
    if let Some(chain) = dropping(&container.probe.rules, "input", &into) {
        return tell("the container's own firewall", accept(&enter, chain, matches));
    }
    if let Some(chain) = dropping(&facts.firewall.ruleset, "output", &out) {
        return tell(&format!("chain {} of the host", chain.name), accept("", chain, matches));
    }
    let advice = format!("`{enter}tcpdump -ni {} port {inside}` shows whether it arrives", record.interface);
    Finding::new(Check::PortSilent, container.object(), why).advice(advice)
}

/// The chain that the kernel enters at `hook` and in which `packet` is dropped.
fn dropping<'a>(ruleset: &'a Ruleset, hook: &'a str, packet: &Packet) -> Option<&'a Chain> {
    let drops = |chain: &&Chain| matches!(trace(ruleset, chain, packet), Outcome::Dropped(..));
    ruleset.at(hook).map(|(chain, _)| chain).find(drops)
}

/// The command that lets a port pass `chain` before anything else does.
fn accept(enter: &str, chain: &Chain, (protocol, port): (Protocol, u16)) -> String {
    let Table { tool, family, name } = &chain.table;
    let program = match tool {
        Tool::Nft => {
            let rule = format!("{protocol} dport {port} accept");
            return format!("{enter}nft insert rule {family} {name} {} '{rule}'", chain.name);
        }
        Tool::OtherIptables(program) => program,
        Tool::Iptables => "iptables",
    };
    format!("{enter}{program} -t {name} -I {} -p {protocol} --dport {port} -j ACCEPT", chain.name)
}
