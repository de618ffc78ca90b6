//! Rules that a version of iptables prints otherwise than we write them: what stands in the same
//! chain with the same comment and target is asked for by the program itself, which knows.

use std::collections::HashSet;

use super::commands::{Command, Verb};
use super::present::wanted;
use super::restore::{Order, Script, TABLES, Waiting};
use super::saved::Identity;
use crate::error::Result;
use crate::model::rule::{Change, Family, Rule};

/// How often to ask again without a rule that is not there: more are made anew.
const ATTEMPTS: usize = 16;

/// What is `saved`, with those of the `rules` as we write them that are there in other words.
///
/// # Errors
/// The program cannot be asked.
pub(super) fn in_our_words(family: Family, rules: &[Rule], mut saved: Vec<Command>) -> Result<Vec<Command>> {
    let wanted = wanted(family, rules);
    let (asked, mut strange) = in_other_words(&wanted, &saved);
    for command in confirmed(family, asked)? {
        if let Some(found) = strange.iter().position(|at| kind(&saved[*at]) == kind(&command)) {
            saved[strange.remove(found)] = command;
        }
    }
    Ok(saved)
}

/// Those of `wanted` whose words are not there, but others of their kind; and the places of these.
fn in_other_words(wanted: &[Command], saved: &[Command]) -> (Vec<Command>, Vec<usize>) {
    let there: HashSet<Identity> = saved.iter().map(Command::identity).collect();
    let known: HashSet<Identity> = wanted.iter().map(Command::identity).collect();
    let is_rule = |command: &Command| command.verb != Verb::NewChain;
    let strange = |at: &usize| is_rule(&saved[*at]) && !known.contains(&saved[*at].identity());
    let strange: Vec<usize> = (0..saved.len()).filter(strange).collect();
    let kinds: HashSet<_> = strange.iter().map(|at| kind(&saved[*at])).collect();
    let missing = wanted.iter().filter(|command| is_rule(command) && !there.contains(&command.identity()));
    (missing.filter(|command| kinds.contains(&kind(command))).cloned().collect(), strange)
}

/// Its chain, its owner and its target.
fn kind(command: &Command) -> (&'static str, &str, Option<String>, Option<String>) {
    let (table, chain) = command.place();
    (table, chain, command.comment(), command.target())
}

/// Those that the program finds there.
fn confirmed(family: Family, mut asked: Vec<Command>) -> Result<Vec<Command>> {
    asked.sort_by_key(|command| TABLES.iter().position(|table| *table == command.table));
    let mut there = Vec::new();
    for _ in 0..ATTEMPTS {
        if asked.is_empty() {
            break;
        }
        let order = |Command { table, chain, spec, .. }: &Command| {
            let line = format!("-C {chain} {spec}");
            Order { table, shown: line.clone(), line }
        };
        let script = Script::new(Change::Add, asked.iter().map(order).collect());
        match Waiting::start(family)?.order(script).refused()? {
            None => there.append(&mut asked),
            Some(at) => {
                there.extend(asked.drain(..at));
                asked.remove(0);
            }
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::iptables::present::tests::{network, published, saved};

    #[test]
    fn only_what_may_be_there_in_other_words_is_asked_for() {
        let (a, b) = (published("b", "8080:80"), published("b", "8081:80"));
        let rules = [network(), a, b[1..].to_vec()].concat();
        let mut there = saved(&rules, &[]);
        let at = there.iter().position(|command| command.spec.contains("dport 8081 ")).unwrap();
        there[at].spec = there[at].spec.replace("-m tcp ", "");
        there.retain(|command| !command.spec.contains("dport 8080 "));
        let (asked, strange) = in_other_words(&wanted(Family::Ipv4, &rules), &there);
        assert!(asked.iter().all(|command| command.chain == "NETNS-tcp-31") && asked.len() == 2, "{asked:?}");
        assert!(strange.len() == 1 && there[strange[0]].spec.contains("container b"), "{strange:?}");
        let (asked, strange) = in_other_words(&wanted(Family::Ipv4, &rules), &saved(&rules, &[]));
        assert!(asked.is_empty() && strange.is_empty());
    }
}
