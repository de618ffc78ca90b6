//! The static part: the table, its maps and chains, and the few rules of the host and of each
//! network, as commands of `nft(8)`.

use std::fmt;
use std::process::Stdio;

use super::map::MAPS;
use super::network::network;
use crate::error::{Doing, Result};
use crate::firewall::nft_word;
use crate::firewall::owner::{OF_ALL, of_network};
use crate::firewall::programs::{Running, find};
use crate::model::rule::{Family, Rule};

/// The name of our table.
pub(super) const TABLE: &str = "netns";

/// The administrator's chain. We make it, and never touch what is in it.
pub(super) const USER: &str = "user";

/// The chains of ours, and where the kernel enters them.
const CHAINS: [(&str, &str); 15] = [
    ("published", ""),
    ("open", ""),
    ("guard", " { type filter hook prerouting priority -300; }"),
    ("prerouting", " { type nat hook prerouting priority -100; }"),
    ("output", " { type nat hook output priority -100; }"),
    ("postrouting", " { type nat hook postrouting priority 100; }"),
    ("open_to", ""),
    ("open_from", ""),
    ("ports", ""),
    ("closed", ""),
    ("routed", ""),
    ("guard_forward", " { type filter hook forward priority 0; }"),
    ("accepted", ""),
    ("others", ""),
    // After whoever else filters.
    ("forward", " { type filter hook forward priority 200; }"),
];

/// A rule of the static part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Static {
    pub(super) family: Family,
    pub(super) chain: &'static str,
    spec: String,
    /// Tells whose it is.
    pub(super) comment: String,
}

/// As a command of a script.
impl fmt::Display for Static {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, chain, spec, comment } = self;
        write!(f, "add rule {} {TABLE} {chain} {spec} comment \"{comment}\"", nft_word(*family))
    }
}

/// The commands that make the table, its maps and its chains where they are not there yet.
pub(super) fn declarations(family: Family) -> Vec<String> {
    let ip = nft_word(family);
    let mut lines = vec![format!("add table {ip} {TABLE}")];
    lines.extend(MAPS.iter().map(|map| map.declaration(family)));
    lines.push(format!("add chain {ip} {TABLE} {USER}"));
    lines.extend(CHAINS.map(|(chain, hook)| format!("add chain {ip} {TABLE} {chain}{hook}")));
    lines
}

/// The commands that leave nothing of the table but the administrator's chain, whatever is there.
pub(super) fn all_but_user(family: Family) -> Vec<String> {
    let ip = nft_word(family);
    let mut lines = declarations(family);
    for verb in ["flush", "delete"] {
        lines.extend(CHAINS.map(|(chain, _)| format!("{verb} chain {ip} {TABLE} {chain}")));
    }
    lines.extend(MAPS.iter().map(|map| format!("delete {} {ip} {TABLE} {}", map.kind(), map.name)));
    lines
}

/// Runs `nft` once with these commands: one transaction.
///
/// # Errors
/// It is not installed, or fails.
pub(super) fn run(lines: &[String]) -> Result<()> {
    let mut nft = Running::start(find("nft")?, &["-f", "-"], Stdio::piped(), Stdio::null())?;
    // If it does not read them all, it says why.
    let told = nft.tell((lines.join("\n") + "\n").as_bytes());
    nft.print(0)?;
    told.doing(|| "nft -f -")
}

/// The static rules that a rule stands for.
pub(super) fn statics(rule: &Rule) -> Vec<Static> {
    let family = rule.family();
    let (lines, comment) = match rule {
        Rule::Base { .. } => (base(family), OF_ALL.to_owned()),
        Rule::Network { bridge, subnet, passage, peers, .. } => {
            (network(bridge, *subnet, *passage, peers), of_network(bridge.as_str()))
        }
        Rule::OnlyOurs { bridged, .. } => (only_ours(*bridged), OF_ALL.to_owned()),
        Rule::Accept { .. } | Rule::Block { .. } | Rule::Publish { .. } => return Vec::new(),
    };
    let one = |(chain, spec)| Static { family, chain, spec, comment: comment.clone() };
    lines.into_iter().map(one).collect()
}

fn base(family: Family) -> Vec<(&'static str, String)> {
    let (ip, loopback) = (nft_word(family), loopback(family));
    let local = "fib daddr type local jump published".to_owned();
    // The kernel routes nothing from ::1: a call would wait in vain, where it is refused at once
    // now and tried by 127.0.0.1.
    let own = if family == Family::Ipv4 { local.clone() } else { format!("ip6 daddr != ::1 {local}") };
    let looked_up = MAPS.iter().map(|map| {
        let chain = if map.leads { "published" } else { "ports" };
        (chain, map.lookup(family))
    });
    let mut rules = vec![
        ("guard", format!("{ip} daddr {loopback} iif != lo drop")),
        ("guard", format!("{ip} saddr {loopback} iif != lo drop")),
        ("prerouting", local),
        ("output", own),
        ("guard_forward", "jump closed".to_owned()),
        ("guard_forward", "jump routed".to_owned()),
        ("forward", "jump accepted".to_owned()),
        ("forward", "jump others".to_owned()),
    ];
    rules.extend(looked_up);
    rules
}

pub(super) fn loopback(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "127.0.0.0/8",
        Family::Ipv6 => "::1",
    }
}

fn only_ours(bridged: bool) -> Vec<(&'static str, String)> {
    let others =
        bridged.then(|| ("others", "meta iifkind \"bridge\" meta oifkind \"bridge\" return".to_owned()));
    others.into_iter().chain([("others", "drop".to_owned())]).collect()
}
