//! Published ports: whether they lead to the container, and whether anyone listens there.

use std::net::{IpAddr, Ipv4Addr};

use super::facts::{Container, Facts};
use super::link::is_whole;
use super::ruleset::{Outcome, Packet, Tool, is_plain, trace};
use super::{Check, Finding, Fix};
use crate::config::publish::{Protocol, Published};
use crate::config::value::Iface;
use crate::plan::Step;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = route_localnet(facts);
    for container in facts.containers.iter().filter(|container| !container.dead) {
        findings.extend(
            container.record.published.iter().filter_map(|published| elsewhere(facts, container, published)),
        );
        findings.extend(stale_flows(container));
        findings
            .extend(container.record.published.iter().filter_map(|published| unheard(container, published)));
    }
    findings
}

fn route_localnet(facts: &Facts) -> Vec<Finding> {
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    let off =
        whole.filter(|network| facts.host.link(&network.bridge).is_some_and(|link| !link.route_localnet));
    let tell = |bridge: &Iface| {
        let here = |container: &&Container| container.bridge == *bridge && !container.dead;
        let published =
            facts.containers.iter().filter(here).flat_map(|container| &container.record.published);
        let port = published.into_iter().find(|published| published.on_loopback())?;
        let key = format!("net/ipv4/conf/{bridge}/route_localnet");
        let why = format!("{key} is 0: the host does not reach {port} and the like by 127.0.0.1");
        let on = Step::Sysctl { pid: None, key, value: "1".to_owned(), before: None };
        Some(Finding::new(Check::RouteLocalnet, format!("bridge {bridge}"), why).steps(None, vec![on]))
    };
    off.filter_map(|network| tell(&network.bridge)).collect()
}

/// Another rule that changes the destination of what is for a published port.
fn elsewhere(facts: &Facts, container: &Container, published: &Published) -> Option<Finding> {
    let packet = Packet {
        input: facts.host.uplink().map(|link| link.name.clone()),
        destination: published.host_ip,
        protocol: Some(published.protocol.to_string()),
        port: Some(published.host.first),
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
        let table = &chain.table;
        let (rule_text, remedy) = match table.tool {
            Tool::Nft => {
                let place = format!("{} {} {}", table.family, table.name, chain.name);
                (format!("{place} {}", rule.text), format!("nft delete rule {place} {}", rule.text))
            }
            tool => {
                let program = if let Tool::OtherIptables(program) = tool { program } else { "iptables" };
                let rule = format!("{} {}", chain.name, rule.text);
                (
                    format!("{program} -t {} -A {rule}", table.name),
                    format!("{program} -t {} -D {rule}", table.name),
                )
            }
        };
        let why =
            format!("its port {published} is led elsewhere by the rule {rule_text}: nobody reaches it there");
        // As iptables-save quotes it for itself, which is not for a shell.
        let plain = chain.is_plain() && is_plain(&rule.text, b" _.:,/+-!\"=%@[]");
        let finding = Finding::new(Check::PortLedElsewhere, container.object(), why);
        Some(finding.remedy_if(plain.then_some(remedy)))
    })
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
fn unheard(container: &Container, published: &Published) -> Option<Finding> {
    if published.protocol == Protocol::Sctp {
        return None;
    }
    let listeners = container.listeners.as_ref()?;
    let Published { protocol, container: ports, .. } = *published;
    let mine = container.address();
    let same = listeners.iter().filter(|(spoken, ..)| *spoken == protocol);
    let hears = |address: &IpAddr| address.is_unspecified() || mine == Some(*address);
    let at = |port: &u16| (ports.first..=ports.last).contains(port);
    if same.clone().any(|(_, address, port)| hears(address) && at(port)) {
        return None;
    }
    let deaf = same.clone().find(|(_, address, port)| at(port) && !hears(address));
    if let Some((_, address, port)) = deaf {
        let why = format!(
            "its port {published} leads to port {port}, where it listens on {address} only: nobody else gets in"
        );
        let finding = Finding::new(Check::ListensOnLoopback, container.object(), why)
            .advice("for good: let the program listen on 0.0.0.0");
        return Some(finding.remedy(relay(container, protocol, *port, *address, *port)?));
    }
    let why = format!("its port {published} leads to port {}, where nobody listens in the container", ports);
    let finding = Finding::new(Check::NobodyListens, container.object(), why);
    let mut others = same.filter(|(_, address, _)| hears(address));
    match (others.next(), others.next()) {
        (Some((.., port)), None) if ports.count() == 1 => {
            let advice = format!("it listens on port {port} only: for good, publish that one");
            let localhost = Ipv4Addr::LOCALHOST.into();
            Some(finding.advice(advice).remedy(relay(container, protocol, ports.first, localhost, *port)?))
        }
        _ => Some(finding.advice(format!(
            "start the program that serves it; `{} ss -Hlntu` shows who listens",
            container.enter()
        ))),
    }
}

/// A program of the host's that passes on what comes for `port` inside.
fn relay(container: &Container, protocol: Protocol, port: u16, to: IpAddr, to_port: u16) -> Option<String> {
    let (enter, address) = (container.enter(), container.address()?);
    let name = protocol.to_string().to_uppercase();
    Some(format!(
        "{enter} socat {name}4-LISTEN:{port},bind={address},fork,reuseaddr {name}4:{to}:{to_port} >/dev/null 2>&1 &"
    ))
}
