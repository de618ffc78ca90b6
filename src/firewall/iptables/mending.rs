//! For when somebody has changed the tables behind our back: what is there, what is missing of
//! ours, and what is left of it.
//!
//! The slow way: it reads all tables, where everything else only writes.

use std::collections::HashSet;
use std::net::IpAddr;
use std::process::Stdio;

use ipnetwork::IpNetwork;

use super::programs::{TABLES, Waiting, find, one_line, process};
use super::{Command, Verb, commands};
use crate::error::{Doing, Error, Result};
use crate::firewall::{Change, Rule};

/// What the name of every chain of ours begins with.
pub(super) const PREFIX: &str = "NETNS-";
/// What a rule contains that leads to one.
const JUMP: &str = "-j NETNS-";

/// The commands of `rules` whose chain or rule is not there.
///
/// # Errors
/// The tables cannot be read.
pub fn missing(rules: &[Rule]) -> Result<Vec<Command>> {
    let there: HashSet<String> = saved()?.iter().map(identity).collect();
    Ok(rules.iter().flat_map(commands).filter(|command| !there.contains(&identity(command))).collect())
}

/// Whether anything is missing of `rules`, or anything of ours is there besides.
///
/// # Errors
/// The tables cannot be read.
pub fn differs(rules: &[Rule]) -> Result<bool> {
    let ours = |command: &Command| {
        let mark = command.spec.contains("--comment netns") || command.spec.contains("--comment \"netns");
        mark || command.verb == Verb::NewChain && command.chain.starts_with(PREFIX)
    };
    let there: HashSet<String> = saved()?.iter().filter(|command| ours(command)).map(identity).collect();
    let wanted: HashSet<String> = rules.iter().flat_map(commands).map(|command| identity(&command)).collect();
    Ok(there != wanted)
}

/// The rules of ours that lead to an address in one of these subnets and are not among `rules`:
/// their owner is unknown, and nobody else will ever take them away.
///
/// # Errors
/// The tables cannot be read.
pub fn ownerless(rules: &[Rule], subnets: &[IpNetwork]) -> Result<Vec<Command>> {
    let wanted: HashSet<String> = rules.iter().flat_map(commands).map(|command| identity(&command)).collect();
    let leads_home = |command: &Command| {
        let to = destination(&command.spec);
        to.is_some_and(|to| subnets.iter().any(|subnet| subnet.contains(to)))
    };
    let strays = saved()?.into_iter().filter(|command| {
        command.chain.starts_with(PREFIX) && leads_home(command) && !wanted.contains(&identity(command))
    });
    Ok(strays.collect())
}

/// Where a rule sends packets to: `172.19.0.2:80`, or the address alone.
fn destination(spec: &str) -> Option<IpAddr> {
    let (_, to) = spec.split_once("--to-destination ")?;
    to.split([':', ' ']).next()?.parse().ok()
}

/// Puts back what is `missing` of `rules`, and says how many transactions it took. A chain of
/// ours that lacks anything is made anew as a whole, since the order of its rules matters.
///
/// # Errors
/// It cannot be put back.
pub fn put_back(rules: &[Rule], missing: &[Command]) -> Result<u64> {
    let broken: HashSet<(&str, &str)> = missing.iter().map(Command::place).collect();
    let mut all: Vec<Command> = rules.iter().flat_map(commands).collect();
    all.retain(|command| {
        let ours = command.chain.starts_with(PREFIX);
        if ours { broken.contains(&command.place()) } else { missing.contains(command) }
    });
    for command in all.iter_mut().filter(|command| command.verb == Verb::NewChain) {
        command.verb = Verb::RenewChain;
    }
    Waiting::start()?.order_commands(Change::Add, &all).finish()
}

/// Takes away what is left of `rules`, passing over what is already gone, and says how many
/// transactions it took. What others have put into a chain of ours that goes, goes with it.
///
/// # Errors
/// What is still there could not be removed, or cannot be seen.
pub fn remove_what_is_left(rules: &[&Rule]) -> Result<u64> {
    let ours: Vec<Command> = rules.iter().flat_map(|rule| commands(rule)).collect();
    let known: HashSet<String> = ours.iter().map(identity).collect();
    let chains = || ours.iter().filter(|command| command.verb == Verb::NewChain);
    let doomed: HashSet<(&str, &str)> = chains().map(Command::place).collect();
    let jumps: HashSet<(&str, String)> =
        chains().map(|command| (command.table, format!("-j {}", command.chain))).collect();
    let leads_there = |command: &Command| {
        jumps.iter().any(|(table, jump)| command.table == *table && command.spec.ends_with(jump))
    };
    let left = saved()?.into_iter().filter(|command| {
        let in_doomed = command.verb == Verb::Append && doomed.contains(&command.place());
        known.contains(&identity(command)) || in_doomed || leads_there(command)
    });
    remove(left.collect())
}

/// Takes away every chain of ours, whatever is in it and whoever jumps to it, and says how many
/// transactions it took.
///
/// # Errors
/// What is there could not be removed, or cannot be seen.
pub fn remove_all() -> Result<u64> {
    let ours = |command: &Command| command.chain.starts_with(PREFIX) || command.spec.contains(JUMP);
    remove(saved()?.into_iter().filter(ours).collect())
}

/// Takes away chains and rules that are there, and says how many transactions it took.
///
/// # Errors
/// They could not be removed.
pub fn remove(mut commands: Vec<Command>) -> Result<u64> {
    // A chain can go when nothing is in it and nothing leads to it.
    commands.sort_by_key(|command| command.verb == Verb::NewChain);
    if commands.is_empty() {
        return Ok(0);
    }
    Waiting::start()?.order_commands(Change::Remove, &commands).finish()
}

/// Every chain and rule there is in the tables that we use, as the commands that would make it.
fn saved() -> Result<Vec<Command>> {
    let program = find("iptables-save")?;
    let operation = || format!("run {}", program.display());
    let output = process(&program).stdin(Stdio::null()).stdout(Stdio::piped()).output().doing(operation)?;
    if !output.status.success() {
        return Err(Error::new(operation(), one_line(&output.stderr, output.status)));
    }
    Ok(parse(&String::from_utf8_lossy(&output.stdout)))
}

fn parse(saved: &str) -> Vec<Command> {
    let (mut table, mut all) = (None, Vec::new());
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = TABLES.into_iter().find(|table| *table == name);
        }
        let Some(table) = table else { continue };
        let mut words = line.splitn(3, ' ');
        let (first, second, rest) = (words.next(), words.next(), words.next().unwrap_or_default());
        match (first, second) {
            (Some("-A"), Some(chain)) => {
                all.push(Command::new(table, Verb::Append, chain.to_owned(), rest));
            }
            (Some(first), _) if first.starts_with(':') => {
                all.push(Command::new(table, Verb::NewChain, first[1..].to_owned(), ""));
            }
            _ => {}
        }
    }
    all
}

/// What a command makes, whether it inserts or appends and however its comment is quoted.
fn identity(command: &Command) -> String {
    let Command { table, chain, spec, .. } = command;
    let kind = if command.verb == Verb::NewChain { "-N" } else { "-A" };
    format!("{table} {kind} {chain} {}", words(spec).join("\0"))
}

/// The words of a line of ours: only comments are quoted, and no quote is ever in one.
fn words(line: &str) -> Vec<String> {
    line.split('"')
        .enumerate()
        .flat_map(|(i, part)| {
            if i % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "# Generated by iptables-save\n*raw\n:PREROUTING ACCEPT [0:0]\n\
        :NETNS-GUARD - [0:0]\n-A NETNS-GUARD -i lo -m comment --comment netns -j RETURN\nCOMMIT\n\
        *mangle\n:INPUT ACCEPT [0:0]\nCOMMIT\n";

    #[test]
    fn what_is_saved_is_known_again_however_its_comment_is_quoted() {
        let saved: HashSet<String> = parse(SAVED).iter().map(identity).collect();
        assert_eq!(saved.len(), 3, "two chains and a rule; other tables are not ours");
        let mut ours = commands(&Rule::Base);
        ours.retain(|command| saved.contains(&identity(command)));
        let text: Vec<String> = ours.iter().map(ToString::to_string).collect();
        let rule = "iptables -t raw -A NETNS-GUARD -i lo -m comment --comment \"netns\" -j RETURN";
        assert_eq!(text, ["iptables -t raw -N NETNS-GUARD", rule]);
    }

    #[test]
    fn where_a_rule_leads_is_read_from_it() {
        for spec in ["-j DNAT --to-destination 172.19.0.2:80", "-j DNAT --to-destination 172.19.0.2"] {
            assert_eq!(destination(spec), "172.19.0.2".parse().ok(), "{spec}");
        }
        assert_eq!(destination("-s 172.19.0.2/32 -j ACCEPT"), None);
    }

    #[test]
    fn a_comment_is_one_word() {
        assert_eq!(words("-m comment --comment \"a b\" -j Y").len(), 6);
    }
}
