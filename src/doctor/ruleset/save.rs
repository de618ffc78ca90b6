//! What `iptables-save` prints, as a [`Ruleset`].

use std::collections::HashMap;

use ipnetwork::IpNetwork;

use super::{Chain, Hook, Match, Rule, Ruleset, Table, Test, Tool, Verdict};
use crate::firewall::nft_word;
use crate::firewall::words;
use crate::model::rule::Family;

/// The chains that the kernel enters, and their hooks.
const BUILT_IN: [(&str, &str); 5] = [
    ("PREROUTING", "prerouting"),
    ("INPUT", "input"),
    ("FORWARD", "forward"),
    ("OUTPUT", "output"),
    ("POSTROUTING", "postrouting"),
];
/// Modules that add matches which are understood, or that have none.
const KNOWN: [&str; 8] = ["comment", "conntrack", "state", "tcp", "udp", "sctp", "addrtype", "multiport"];
/// Targets after which the next rule is tried.
const PASSING: [&str; 10] =
    ["LOG", "NFLOG", "MARK", "CONNMARK", "TCPMSS", "CT", "TTL", "DSCP", "CLASSIFY", "SET"];

/// Reads all tables of a family.
pub fn parse(text: &str, tool: Tool, family: Family) -> Ruleset {
    let mut ruleset = Ruleset::default();
    let (mut table, mut places) = (None, HashMap::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = Some(Table { tool, family: nft_word(family).to_owned(), name: name.to_owned() });
            places.clear();
        }
        let Some(table) = &table else { continue };
        if let Some(declared) = line.strip_prefix(':') {
            let mut words = declared.split(' ');
            let (name, policy) = (words.next().unwrap_or_default(), words.next());
            let hook = BUILT_IN.iter().find(|(chain, _)| *chain == name);
            let hook = hook.map(|(_, hook)| Hook { name: (*hook).to_owned(), drops: policy == Some("DROP") });
            places.insert(name, ruleset.chains.len());
            let (table, name) = (table.clone(), name.to_owned());
            ruleset.chains.push(Chain { table, name, hook, rules: Vec::new() });
        } else if let Some((name, spec)) = line.strip_prefix("-A ").and_then(|rule| rule.split_once(' '))
            && let Some(chain) = places.get(name).and_then(|place| ruleset.chains.get_mut(*place))
        {
            chain.rules.push(rule(spec));
        }
    }
    ruleset
}

/// Whether a table is in what `iptables-save` printed.
pub fn has_table(text: &str, name: &str) -> bool {
    text.lines().any(|line| line.strip_prefix('*') == Some(name))
}

fn rule(spec: &str) -> Rule {
    let words = words(spec);
    let mut left = words.iter().map(String::as_str).peekable();
    let (mut matches, mut verdict, mut negated) = (Vec::new(), Verdict::Continue, false);
    while let Some(word) = left.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        if word == "--comment" {
            left.next();
            continue;
        }
        let mut values: Vec<&str> = Vec::new();
        while let Some(value) = left.next_if(|next| !next.starts_with('-') && *next != "!") {
            values.push(value);
        }
        let value = values.first().copied().unwrap_or_default();
        match word {
            "-j" => {
                verdict = target(value);
                break;
            }
            "-g" => verdict = Verdict::Goto(value.to_owned()),
            "-m" if KNOWN.contains(&value) => {}
            _ => matches.push(Match { negated, test: test(word, value) }),
        }
        negated = false;
    }
    Rule { text: spec.to_owned(), matches, verdict }
}

fn target(name: &str) -> Verdict {
    match name {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "REJECT" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "DNAT" | "REDIRECT" => Verdict::Translate,
        "MASQUERADE" | "SNAT" | "NETMAP" => Verdict::Accept,
        "NFQUEUE" | "QUEUE" | "TPROXY" => Verdict::Unknown,
        name if PASSING.contains(&name) => Verdict::Continue,
        chain => Verdict::Jump(chain.to_owned()),
    }
}

fn test(option: &str, value: &str) -> Test {
    // Lists are written with commas, states in capitals, any beginning with `+`.
    let list = || value.split(',').map(|word| word.to_lowercase()).collect::<Vec<_>>();
    let link = || vec![value.strip_suffix('+').map_or_else(|| value.to_owned(), |name| format!("{name}*"))];
    match option {
        "-i" => Test::Input(link()),
        "-o" => Test::Output(link()),
        "-s" => addresses(value).map_or(Test::Unknown, Test::Source),
        "-d" => addresses(value).map_or(Test::Unknown, Test::Destination),
        "-p" => Test::Protocol(list()),
        "--dport" | "--dports" => ports(value).map_or(Test::Unknown, Test::Port),
        "--ctstate" | "--state" => Test::State(list()),
        "--dst-type" if value == "LOCAL" => Test::Local,
        _ => Test::Unknown,
    }
}

fn addresses(value: &str) -> Option<Vec<IpNetwork>> {
    value.split(',').map(|network| network.parse().ok()).collect()
}

fn ports(value: &str) -> Option<Vec<(u16, u16)>> {
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    value.split(',').map(range).collect()
}
