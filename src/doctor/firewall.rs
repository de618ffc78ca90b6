//! Rules: whether ours are there, once, and whether somebody drops what we forward.
//!
//! An `ACCEPT` ends one chain only: what our jump in `FORWARD` accepts may still be dropped by
//! the other variant of iptables, or by any chain of nft at the same hook. So every chain that
//! the kernel enters there is tried with the packets that must pass.

use super::facts::{Container, Facts};
use super::link::is_whole;
use super::ruleset::{Chain, Outcome, Packet, Rule, Table, Tool, trace};
use super::{Check, Finding, Fix};
use crate::config::value::subnet;
use crate::store::record::Network;

/// Our way into `FORWARD`, as `iptables -S` prints it.
const JUMP: &str = "-m comment --comment netns -j NETNS-FORWARD";

pub(super) fn rules(facts: &Facts) -> Vec<Finding> {
    let firewall = &facts.firewall;
    if let Some(cause) = &firewall.unreadable {
        let why = format!("{cause}: no port can be published, and no flushed rule put back");
        let finding = Finding::new(Check::IptablesMissing, "host", why);
        return vec![finding.remedy("apt-get install -y iptables")];
    }
    let Some(first) = firewall.missing.first() else { return Vec::new() };
    let gone = |table: &str| firewall.missing.iter().any(|rule| rule.contains(&format!("-t {table} ")));
    let hurt = [
        ("raw", "neighbours on the wire reach what is not published"),
        ("nat", "containers are not masqueraded, or ports not reached"),
        ("filter", "somebody's policy may drop what is forwarded"),
    ];
    let hurt: Vec<&str> = hurt.into_iter().filter(|(table, _)| gone(table)).map(|(_, hurt)| hurt).collect();
    let why = match firewall.missing.len() {
        1 => format!("a rule of ours is gone: {first}: {}", hurt.join("; ")),
        n => format!("{n} rules and chains of ours are gone, {first} the first: {}", hurt.join("; ")),
    };
    vec![
        Finding::new(Check::RulesMissing, "host", why)
            .remedy(format!("{} reload", facts.netns))
            .fix(Fix::Reload),
    ]
}

pub(super) fn two_variants(facts: &Facts) -> Vec<Finding> {
    let tell = |program: &'static str| {
        let why = format!(
            "rules of ours are in the tables of {program} too, which is not the variant in use: they go on \
             sending connections to ports and addresses that others have by now"
        );
        // Every line of ours names a chain of ours.
        let clean = format!("{program}-save -c | grep -v NETNS- | {program}-restore -c");
        Finding::new(Check::TwoVariants, "host", why).remedy(clean).fix(Fix::CleanOther)
    };
    facts.firewall.ours_in_other.map(tell).into_iter().collect()
}

pub(super) fn forward(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let whole = facts.networks.iter().filter(|network| is_whole(facts, &network.bridge));
    for network in whole {
        let packets = packets(facts, network);
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

/// A packet that must pass, and whom it hurts if it does not.
struct Wanted {
    hurt: String,
    packet: Packet,
    /// Between two containers of a bridge.
    bridged: bool,
}

fn packets(facts: &Facts, network: &Network) -> Vec<Wanted> {
    let bridge = network.bridge.to_string();
    let here = |container: &&Container| container.bridge == network.bridge && !container.dead;
    let containers: Vec<&Container> = facts.containers.iter().filter(here).collect();
    let uplink = facts.host.uplink().map(|link| link.name.clone());
    let address = containers.first().and_then(|container| container.address());
    let tcp = Packet { protocol: Some("tcp".to_owned()), ..Packet::default() };
    let out = Packet {
        input: Some(bridge.clone()),
        output: uplink.clone(),
        source: address,
        states: vec!["new"],
        ..tcp.clone()
    };
    let into = Packet { input: uplink, output: Some(bridge.clone()), ..tcp };
    let answer = Packet { destination: address, states: vec!["established"], ..into.clone() };
    let outward = format!("containers on {bridge} reach nobody beyond this host");
    let mut wanted = vec![
        Wanted { hurt: outward.clone(), packet: out.clone(), bridged: false },
        Wanted { hurt: outward, packet: answer, bridged: false },
    ];
    let ports = containers
        .iter()
        .flat_map(|container| container.record.published.iter().map(move |published| (container, published)));
    wanted.extend(ports.map(|(container, published)| Wanted {
        hurt: format!("nobody on another host reaches {published} of {}", container.object()),
        packet: Packet {
            destination: container.address(),
            protocol: Some(published.protocol.to_string()),
            port: Some(published.container.first),
            states: vec!["new", "dnat"],
            ..into.clone()
        },
        bridged: false,
    }));
    let other =
        containers.iter().filter_map(|container| container.address()).find(|other| Some(*other) != address);
    if facts.host.bridge_netfilter && other.is_some() {
        let packet = Packet { output: Some(bridge.clone()), destination: other, ..out };
        wanted.push(Wanted {
            hurt: format!("containers on {bridge} do not reach each other"),
            packet,
            bridged: true,
        });
    }
    wanted
}

fn dropped(facts: &Facts, network: &Network, chain: &Chain, packets: &[Wanted]) -> Option<Finding> {
    let ruleset = &facts.firewall.ruleset;
    let drops = packets.iter().filter_map(|wanted| match trace(ruleset, chain, &wanted.packet) {
        Outcome::Dropped(chain, rule) => Some((wanted, chain, rule)),
        _ => None,
    });
    let drops: Vec<_> = drops.collect();
    let (_, culprit, rule) = drops.first()?;
    let bridged = drops.iter().all(|(wanted, ..)| wanted.bridged);
    let check = if bridged { Check::BridgeNetfilter } else { Check::ForwardDropped };
    let mut hurt: Vec<&str> = drops.iter().map(|(wanted, ..)| wanted.hurt.as_str()).collect();
    hurt.dedup();
    let more = hurt.len().saturating_sub(3);
    hurt.truncate(3);
    let more = if more > 0 { format!("; and {more} ports more") } else { String::new() };
    let whose = whose(facts, culprit);
    let bridging =
        if bridged { ", which packets on a bridge pass too (bridge-nf-call-iptables)" } else { "" };
    let why =
        format!("{} drops it{bridging}: {}{more}", culprit_text(culprit, *rule, whose), hurt.join("; "));
    let object = format!("bridge {}", network.bridge);
    let finding = Finding::new(check, object, why).remedy_if(remedy(facts, network, chain));
    Some(match whose {
        Some(Whose::Firewalld) => finding.advice(format!(
            "to keep it: firewall-cmd --permanent --zone=trusted --add-interface={}",
            network.bridge
        )),
        Some(Whose::Ufw) => finding.advice(format!(
            "to keep it: ufw route allow in on {0}; ufw route allow out on {0}",
            network.bridge
        )),
        Some(Whose::Docker) | None => finding,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Docker,
    Firewalld,
    Ufw,
}

/// The program that keeps a chain, by the names that it gives.
fn whose(facts: &Facts, culprit: &Chain) -> Option<Whose> {
    let of = |name: &str| match name {
        _ if name.starts_with("ufw-") => Some(Whose::Ufw),
        _ if name.starts_with("DOCKER") => Some(Whose::Docker),
        _ => None,
    };
    if culprit.table.name == "firewalld" {
        return Some(Whose::Firewalld);
    }
    // A chain of the kernel's is everybody's: whoever else is in the table has set its policy.
    let built_in = culprit.hook.is_some() && culprit.table.tool != Tool::Nft;
    let beside = facts.firewall.ruleset.chains.iter().filter(|chain| chain.table == culprit.table);
    of(&culprit.name).or_else(|| beside.filter(|_| built_in).find_map(|chain| of(&chain.name)))
}

fn culprit_text(chain: &Chain, rule: Option<&Rule>, whose: Option<Whose>) -> String {
    let Table { tool, family, name } = &chain.table;
    let whose = match whose {
        Some(Whose::Docker) => "Docker: ",
        Some(Whose::Firewalld) => "firewalld: ",
        Some(Whose::Ufw) => "ufw: ",
        None => "",
    };
    let place = match tool {
        Tool::Nft => format!("chain {family} {name} {}", chain.name),
        Tool::Iptables => format!("chain {} of iptables -t {name}", chain.name),
        Tool::OtherIptables(program) => format!("chain {} of {program} -t {name}", chain.name),
    };
    match rule {
        Some(rule) => format!("{whose}the rule \"{}\" in {place}", rule.text),
        None => format!("{whose}the policy of {place}"),
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
    let program = match tool {
        Tool::Nft => {
            let insert = format!("nft insert rule {family} {name} {}", chain.name);
            return Some(format!(
                "{insert} 'iifname \"{bridge}\" accept' && {insert} 'oifname \"{bridge}\" ct state \
                 established,related accept' && {insert} 'oifname \"{bridge}\" ct status dnat accept'"
            ));
        }
        // Ours stands there already, only not first.
        Tool::Iptables if name == "filter" => {
            return Some(format!("iptables -D FORWARD {JUMP} && iptables -I FORWARD {JUMP}"));
        }
        Tool::Iptables => "iptables",
        Tool::OtherIptables(program) => program,
    };
    // Docker leaves this one alone, and jumps there first.
    let users = |rule: &Rule| rule.text.ends_with("-j DOCKER-USER");
    let docker = chain.rules.first().is_some_and(users)
        && facts.firewall.ruleset.chain(&chain.table, "DOCKER-USER").is_some();
    let insert = format!("{program} -t {name} -I {}", if docker { "DOCKER-USER" } else { "FORWARD" });
    let subnet = subnet(network.gateway);
    Some(format!(
        "{insert} -s {subnet} -i {bridge} -j ACCEPT && {insert} -d {subnet} -o {bridge} -m conntrack \
         --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT"
    ))
}
