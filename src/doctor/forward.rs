//! Whether somebody drops what we forward.
//!
//! An `ACCEPT` ends one chain only: what our jump in `FORWARD` accepts may still be dropped by
//! the other variant of iptables, or by any chain of nft at the same hook. So every chain that
//! the kernel enters there is tried with the packets that must pass.

use super::facts::{Container, Facts};
use super::link::is_whole;
use super::ruleset::{Chain, Outcome, Packet, Rule, Table, Tool, trace};
use super::{Check, Finding};
use crate::model::network::Network;
use crate::model::port::PortMapping;
use crate::model::rule::{Backend, Family};
use crate::model::value::subnet;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    for network in whole {
        let packets: Vec<Wanted> =
            Family::ALL.into_iter().flat_map(|family| packets(facts, network, family)).collect();
        for chain in facts.firewall.ruleset.at("forward") {
            // Our rules would pass it, were they there: that is told already.
            let ours_gone = chain.table.tool == Tool::Iptables && !facts.firewall.missing.is_empty();
            if !ours_gone {
                findings.extend(dropped(facts, network, chain, &packets));
            }
        }
    }
    findings
}

/// A packet that must pass.
struct Wanted {
    /// What does not work if it does not.
    effect: String,
    packet: Packet,
    /// Between two containers of a bridge.
    bridged: bool,
}

/// Those of a family, if the network has it.
fn packets(facts: &Facts, network: &Network, family: Family) -> Vec<Wanted> {
    if !network.subnets.iter().any(|subnet| Family::of(subnet.ip()) == family) {
        return Vec::new();
    }
    let bridge = network.bridge.to_string();
    let here = |container: &&Container| container.bridge == network.bridge && container.stale.is_none();
    let containers: Vec<&Container> = facts.containers.iter().filter(here).collect();
    let uplink = facts.host.uplink(family).map(|link| link.name.clone());
    let address = containers.first().and_then(|container| container.address_of(family));
    let tcp = Packet { family, protocol: Some("tcp".to_owned()), ..Packet::default() };
    let out = Packet {
        input: Some(bridge.clone()),
        output: uplink.clone(),
        source: address,
        states: vec!["new"],
        ..tcp.clone()
    };
    let into = Packet { input: uplink, output: Some(bridge.clone()), ..tcp };
    let answer = Packet { destination: address, states: vec!["established"], ..into.clone() };
    let effect = format!("containers on {bridge} reach nobody beyond this host");
    let mut wanted = vec![
        Wanted { effect: effect.clone(), packet: out.clone(), bridged: false },
        Wanted { effect, packet: answer, bridged: false },
    ];
    for container in &containers {
        let ports = container.ports().iter().filter(|mapping| mapping.is_for(family));
        wanted.extend(ports.map(|mapping| to_port(container, mapping, &into)));
    }
    let mut addresses = containers.iter().filter_map(|container| container.address_of(family));
    let other = addresses.find(|other| Some(*other) != address);
    // What leads nowhere by design is not dropped by mistake.
    if !network.reach.leads_out(family) {
        wanted.clear();
    }
    if facts.host.bridge_netfilter[family as usize] && network.reach.inter_container && other.is_some() {
        let effect = format!("containers on {bridge} do not reach each other");
        let packet = Packet { output: Some(bridge), destination: other, ..out };
        wanted.push(Wanted { effect, packet, bridged: true });
    }
    wanted
}

/// What comes for a published port, `into` a container.
fn to_port(container: &Container, mapping: &PortMapping, into: &Packet) -> Wanted {
    let packet = Packet {
        destination: container.address_of(into.family),
        protocol: Some(mapping.protocol.to_string()),
        port: Some(mapping.container.first),
        states: vec!["new", "dnat"],
        ..into.clone()
    };
    let effect = format!("nobody on another host reaches {mapping} of {}", container.object());
    Wanted { effect, packet, bridged: false }
}

fn dropped(facts: &Facts, network: &Network, chain: &Chain, packets: &[Wanted]) -> Option<Finding> {
    let ruleset = &facts.firewall.ruleset;
    let drops = packets.iter().filter_map(|wanted| match trace(ruleset, chain, &wanted.packet) {
        Outcome::Dropped(by, rule) => Some((wanted, by, rule)),
        _ => None,
    });
    let drops: Vec<_> = drops.collect();
    let (_, by, rule) = drops.first()?;
    let bridged = drops.iter().all(|(wanted, ..)| wanted.bridged);
    let check = if bridged { Check::BridgeNetfilter } else { Check::ForwardDropped };
    let mut effects: Vec<&str> = Vec::new();
    for (wanted, ..) in &drops {
        // What both families suffer from is said once.
        if !effects.contains(&wanted.effect.as_str()) {
            effects.push(&wanted.effect);
        }
    }
    let more = effects.len().saturating_sub(3);
    effects.truncate(3);
    let more = if more > 0 { format!("; and {more} ports more") } else { String::new() };
    let owner = owner(facts, by);
    let bridging =
        if bridged { ", which packets on a bridge pass too (bridge-nf-call-iptables)" } else { "" };
    let alone = if chain.table.sees(Family::Ipv4) { "" } else { " by IPv6" };
    let effects = effects.join(&format!("{alone}; "));
    let why = format!("{} drops it{bridging}: {effects}{alone}{more}", text(by, *rule, owner));
    let bridge = &network.bridge;
    let finding = Finding::new(check, format!("bridge {bridge}"), why);
    let finding = finding.remedy_if(remedy(facts, network, chain));
    Some(match owner {
        Some(Owner::Firewalld) => finding
            .advice(format!("to keep it: firewall-cmd --permanent --zone=trusted --add-interface={bridge}")),
        Some(Owner::Ufw) => finding
            .advice(format!("to keep it: ufw route allow in on {bridge}; ufw route allow out on {bridge}")),
        Some(Owner::Docker) | None => finding,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Docker,
    Firewalld,
    Ufw,
}

/// The program that keeps a chain, by the names that it gives.
fn owner(facts: &Facts, chain: &Chain) -> Option<Owner> {
    let of = |name: &str| match name {
        _ if name.starts_with("ufw-") => Some(Owner::Ufw),
        _ if name.starts_with("DOCKER") => Some(Owner::Docker),
        _ => None,
    };
    if chain.table.name == "firewalld" {
        return Some(Owner::Firewalld);
    }
    // A built-in chain belongs to no program: whoever else is in the table has set its policy.
    let built_in = chain.hook.is_some() && chain.table.tool != Tool::Nft;
    let beside = facts.firewall.ruleset.chains.iter().filter(|other| other.table == chain.table);
    of(&chain.name).or_else(|| beside.filter(|_| built_in).find_map(|other| of(&other.name)))
}

fn text(chain: &Chain, rule: Option<&Rule>, owner: Option<Owner>) -> String {
    let Table { family, name, .. } = &chain.table;
    let owner = match owner {
        Some(Owner::Docker) => "Docker: ",
        Some(Owner::Firewalld) => "firewalld: ",
        Some(Owner::Ufw) => "ufw: ",
        None => "",
    };
    let place = match chain.table.iptables() {
        None => format!("chain {family} {name} {}", chain.name),
        Some(program) => format!("chain {} of {program} -t {name}", chain.name),
    };
    match rule {
        Some(rule) => format!("{owner}the rule \"{}\" in {place}", rule.text),
        None => format!("{owner}the policy of {place}"),
    }
}

/// Our jump in `FORWARD`, as `iptables -S` prints it.
fn jump(Network { bridge, firewall, .. }: &Network) -> String {
    match firewall {
        Backend::Iptables => "-m comment --comment netns -j NETNS-FORWARD".to_owned(),
        Backend::Nftables => {
            format!("-m comment --comment \"netns network {bridge}\" -j NETNS-ACCEPT-{bridge}")
        }
    }
}

/// What passes our packets before anything else in `chain`; `None` where a name cannot be
/// written into a command.
fn remedy(facts: &Facts, network: &Network, chain: &Chain) -> Option<String> {
    let Table { tool, family, name } = &chain.table;
    if !chain.is_plain() {
        return None;
    }
    let bridge = &network.bridge;
    let Some(program) = chain.table.iptables() else {
        let insert = format!("nft insert rule {family} {name} {}", chain.name);
        return Some(format!(
            "{insert} 'iifname \"{bridge}\" accept' && {insert} 'oifname \"{bridge}\" ct state \
             established,related accept' && {insert} 'oifname \"{bridge}\" ct status dnat accept'"
        ));
    };
    // Ours stands there already, only not first.
    if *tool == Tool::Iptables && name == "filter" {
        let jump = jump(network);
        return Some(format!("{program} -D FORWARD {jump} && {program} -I FORWARD {jump}"));
    }
    // Docker leaves this one alone, and jumps there first.
    let users = |rule: &Rule| rule.text.ends_with("-j DOCKER-USER");
    let docker = chain.rules.first().is_some_and(users)
        && facts.firewall.ruleset.chain(&chain.table, "DOCKER-USER").is_some();
    let insert = format!("{program} -t {name} -I {}", if docker { "DOCKER-USER" } else { "FORWARD" });
    let subnets = network.subnets.iter().map(|address| subnet(*address));
    let subnets = subnets.filter(|subnet| chain.table.sees(Family::of(subnet.ip())));
    let commands = subnets.map(|subnet| {
        format!(
            "{insert} -s {subnet} -i {bridge} -j ACCEPT && {insert} -d {subnet} -o {bridge} -m conntrack \
             --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT"
        )
    });
    Some(commands.collect::<Vec<_>>().join(" && "))
}
