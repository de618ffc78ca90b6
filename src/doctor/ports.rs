//! Published ports: whether they lead to the container, and whether anyone listens there.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::facts::{Container, Facts};
use super::link::is_whole;
use super::ruleset::{Chain, Outcome, Packet, Rule, trace};
use super::shell::is_plain;
use super::{Check, Finding, Fix};
use crate::model::network::Network;
use crate::model::port::{PortMapping, Protocol};
use crate::model::rule::Family;
use crate::model::sandbox::Netns;
use crate::model::step::Step;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = route_localnet(facts);
    for container in facts.containers.iter().filter(|container| container.stale.is_none()) {
        let ports = container.ports();
        findings.extend(ports.iter().filter_map(|mapping| {
            gone(facts, container, mapping)
                .or_else(|| elsewhere(facts, container, mapping))
                .or_else(|| taken(facts, container, mapping))
        }));
        findings.extend(stale_flows(container));
        findings.extend(ports.iter().filter_map(|mapping| unheard(container, mapping)));
    }
    findings
}

fn route_localnet(facts: &Facts) -> Vec<Finding> {
    let is_off = |network: &&Network| {
        let link = facts.host.link(&network.bridge);
        let has_ipv4 = network.subnets.iter().any(IpNetwork::is_ipv4);
        has_ipv4 && link.is_some_and(|link| !facts.host.parameters(link).route_localnet)
    };
    let tell = |Network { bridge, .. }: &Network| {
        let here = |container: &&Container| container.bridge == *bridge && container.stale.is_none();
        let mut ports = facts.containers.iter().filter(here).flat_map(Container::ports);
        let port = ports.find(|mapping| mapping.on_loopback())?;
        let key = format!("net/ipv4/conf/{bridge}/route_localnet");
        let why = format!("{key} is 0: the host does not reach {port} and the like by 127.0.0.1");
        let on = Step::Sysctl { netns: Netns::Host, key, value: "1".to_owned(), before: None };
        Some(Finding::new(Check::RouteLocalnet, format!("bridge {bridge}"), why).steps(vec![on]))
    };
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    whole.filter(is_off).filter_map(tell).collect()
}

/// A port that is published on an address that the host had.
fn gone(facts: &Facts, container: &Container, mapping: &PortMapping) -> Option<Finding> {
    // A port of a routed network is on the container's own address.
    let opened = |address: &IpAddr| container.record.addresses().any(|own| own.ip() == *address);
    let absent = |address: &IpAddr| facts.host.absent.contains(address) && !opened(address);
    let address = mapping.host_ip.filter(absent)?;
    let why = format!("the host has no address {address}: nobody reaches its port {mapping}");
    let advice =
        format!("give it to the host again, as with `ip addr add {address} dev LINK`, or publish another");
    Some(Finding::new(Check::AddressGone, container.object(), why).advice(advice))
}

/// A program of the host that has begun to listen where a port is published.
fn taken(facts: &Facts, container: &Container, mapping: &PortMapping) -> Option<Finding> {
    let listener = facts.host.listeners.iter().find(|listener| listener.at.conflicts(mapping))?;
    let why = format!(
        "{} of the host listens on its port {mapping} too, and hears nobody: who calls there gets the container",
        listener.who
    );
    let finding = Finding::new(Check::PortTaken, container.object(), why);
    Some(finding.advice("stop that program or let it listen on another port, or publish another one"))
}

/// Another rule that changes the destination of what is for a published port.
fn elsewhere(facts: &Facts, container: &Container, mapping: &PortMapping) -> Option<Finding> {
    let leads = |family: &Family| mapping.is_for(*family) && container.address_of(*family).is_some();
    let mut families = Family::ALL.into_iter().filter(leads);
    families.find_map(|family| elsewhere_by(facts, container, mapping, family))
}

fn elsewhere_by(
    facts: &Facts,
    container: &Container,
    mapping: &PortMapping,
    family: Family,
) -> Option<Finding> {
    let packet = Packet {
        family,
        input: facts.host.uplink(family).map(|link| link.name.clone()),
        destination: mapping.address(),
        protocol: Some(mapping.protocol.to_string()),
        port: Some(mapping.host.first),
        states: vec!["new"],
        local: true,
        ..Packet::default()
    };
    let ruleset = &facts.firewall.ruleset;
    ruleset.at("prerouting").find_map(|chain| {
        let Outcome::Translated(chain, rule) = trace(ruleset, chain, &packet) else { return None };
        if chain.name.starts_with("NETNS-") {
            return None;
        }
        let (text, remedy) = rule_and_removal(chain, rule);
        let why = format!("its port {mapping} is led elsewhere by the rule {text}: nobody reaches it there");
        // As iptables-save quotes it for itself, which is not for a shell.
        let plain = chain.is_plain() && is_plain(&rule.text, b" _.:,/+-!\"=%@[]");
        let finding = Finding::new(Check::PortLedElsewhere, container.object(), why);
        Some(finding.remedy_if(plain.then_some(remedy)))
    })
}

/// A rule in the words of its program, and the command that removes it.
fn rule_and_removal(chain: &Chain, rule: &Rule) -> (String, String) {
    let table = &chain.table;
    let Some(program) = table.iptables() else {
        let text = format!("{} {} {} {}", table.family, table.name, chain.name, rule.text);
        let remedy = format!("nft delete rule {text}");
        return (text, remedy);
    };
    let (program, rule) = (format!("{program} -t {}", table.name), format!("{} {}", chain.name, rule.text));
    (format!("{program} -A {rule}"), format!("{program} -D {rule}"))
}

fn stale_flows(container: &Container) -> Option<Finding> {
    let flows = &container.flows;
    let first = flows.first()?;
    let why = format!(
        "{} of UDP clients that never pause still lead to where a port led before: they do not reach it",
        if flows.len() == 1 { "a flow".to_owned() } else { format!("{} flows", flows.len()) }
    );
    let shown = if flows.len() > 20 { first.clone() } else { flows.join(" && ") };
    Some(Finding::new(Check::StaleFlow, container.object(), why).remedy(shown).fix(Fix::ForgetFlows))
}

/// A port, or a range of them, to which nobody listens where packets arrive. Of a range it is
/// enough that one has a listener.
fn unheard(container: &Container, mapping: &PortMapping) -> Option<Finding> {
    if mapping.protocol == Protocol::Sctp {
        return None;
    }
    let listeners = container.listeners.as_ref()?;
    let PortMapping { protocol, container: ports, .. } = *mapping;
    let mine = |address: &IpAddr| container.address_of(Family::of(*address)) == Some(*address);
    let same = listeners.iter().filter(|(spoken, ..)| *spoken == protocol);
    let hears = |address: &IpAddr| address.is_unspecified() || mine(address);
    let at = |port: &u16| (ports.first..=ports.last).contains(port);
    if same.clone().any(|(_, address, port)| hears(address) && at(port)) {
        return None;
    }
    let unreached = same.clone().find(|(_, address, port)| at(port) && !hears(address));
    if let Some((_, address, port)) = unreached {
        let why = format!(
            "its port {mapping} leads to port {port}, where it listens on {address} only: nobody else gets in"
        );
        let finding = Finding::new(Check::ListensOnLoopback, container.object(), why)
            .advice("for good: let the program listen on 0.0.0.0");
        return Some(finding.remedy(relay(container, protocol, *port, *address)?));
    }
    let why = format!("its port {mapping} leads to port {}, where nobody listens in the container", ports);
    Some(Finding::new(Check::NobodyListens, container.object(), why).advice(format!(
        "start the program that serves it, or publish the port that it serves: `{} ss -Hlntu` shows who listens",
        container.enter()
    )))
}

/// A program of the host's that passes on what comes for `port` inside.
fn relay(container: &Container, protocol: Protocol, port: u16, to: IpAddr) -> Option<String> {
    let (enter, address) = (container.enter(), container.address()?);
    let name = protocol.to_string().to_uppercase();
    Some(format!(
        "{enter} socat {name}4-LISTEN:{port},bind={address},fork,reuseaddr {name}4:{to}:{port} >/dev/null 2>&1 &"
    ))
}
