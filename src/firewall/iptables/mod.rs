//! The iptables backend. It knows no configuration and no store. The layout, the same for both
//! families:
//!
//! | table | from | chain of ours | what is in it |
//! |---|---|---|---|
//! | raw | `PREROUTING`, first | `NETNS-GUARD` | drops what comes from outside for a subnet of ours, and what has an address of the host's loopback |
//! | raw | `NETNS-GUARD` | `NETNS-OPEN` | accepts what comes from networks that reach each other |
//! | nat | `PREROUTING`, `OUTPUT` | `NETNS-PUBLISH` | a jump for each block of 256 ports, a DNAT for each range across blocks |
//! | nat | `NETNS-PUBLISH` | `NETNS-tcp-31`, … | a DNAT for each port or range in the block |
//! | nat | `POSTROUTING` | `NETNS-MASQUERADE` | masquerade to the outside, hairpin and loopback |
//! | filter | `NETNS-FORWARD`, first | `NETNS-CLOSED` | drops what an internal or isolated network sends or gets, and what is sent back into a network whose containers are apart |
//! | filter | `NETNS-FORWARD`, then | `NETNS-ROUTED` | drops what is for addresses that are routed, and is no answer |
//! | filter | `NETNS-ROUTED` | `NETNS-PORTS` | accepts what is for published ports of such addresses |
//! | filter | both | `NETNS-OPEN`, `NETNS-OPEN-TO` | accept what passes between networks that reach each other |
//! | filter | `NETNS-FORWARD` | `NETNS-USER` | the administrator's own: what passes to and from our bridges |
//! | filter | `FORWARD`, first | `NETNS-FORWARD` | accepts what is ours before anyone's policy |
//! | filter | `FORWARD`, last | `NETNS-ONLY` | drops all else, where the host forwarded nothing before |
//!
//! Only appends and insertions when something comes: a deletion waits for an RCU grace period
//! (about 15 ms), an addition does not. For the same reason chains are made with `-N`: a
//! `:CHAIN` line would flush, and so delete, where the chain exists.
//!
//! | file | what is in it |
//! |---|---|
//! | [`commands`](mod@commands) | a [`Rule`](crate::model::rule::Rule) as commands |
//! | [`ports`] | those of a published port |
//! | [`network`](mod@network) | that of a network's subnet |
//! | [`saved`] | what `iptables-save` prints: its words, and what of it is ours |
//! | [`present`] | what is missing, left or unowned |
//! | [`otherwise`] | rules that a version of iptables prints otherwise |
//! | [`found`](mod@found) | what is there, read back to rules |
//! | [`rebuild`](mod@rebuild) | how what is there becomes what should be |
//! | [`restore`] | `iptables-restore`, which makes every change |
//! | [`counted`], [`rulesets`] | for those who only read |

mod commands;
mod counted;
mod found;
mod network;
mod otherwise;
mod ports;
mod present;
mod rebuild;
mod restore;
pub mod rulesets;
mod saved;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use super::{Driver, together};
use crate::error::{Doing, Kind, Result};
use crate::log::Log;
use crate::model::rule::{Change, Family, Rule};
use commands::{Command, USER, Verb, commands};
pub(super) use counted::counters_of;
use present::{left, missing, unowned};
use rebuild::{rebuild, with_all, with_kept};
use restore::{Restore, Script, Waiting};
pub use saved::words;
use saved::{everything, families, known, print};

/// The commands of a rule.
pub(super) fn lines(rule: &Rule) -> Vec<String> {
    texts(&commands(rule))
}

fn texts(commands: &[Command]) -> Vec<String> {
    commands.iter().map(ToString::to_string).collect()
}

/// One run's dealings with iptables' programs. Dropped, it leaves none of them running.
#[derive(Debug)]
pub(super) struct Iptables {
    /// The programs of families, started ahead of their orders, by threads: for that long the
    /// kernel stops whoever starts a program, a third of a millisecond.
    expected: Vec<(Family, JoinHandle<Result<Waiting>>)>,
    /// The programs at work, one a family, and what they were told.
    running: Vec<Ordered>,
    /// Without close-on-exec, and so open in every program that is run.
    lent: Vec<OwnedFd>,
    /// One for each table, and none where iptables has tables of its own.
    transactions: u64,
    log: Log,
}

fn is_base(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| matches!(rule, Rule::Base { .. }))
}

/// A program that has its orders, or why it has none.
#[derive(Debug)]
struct Ordered {
    family: Family,
    change: Change,
    rules: Vec<Rule>,
    restore: Result<Restore>,
}

impl Iptables {
    pub(super) fn new(log: Log) -> Self {
        Self { expected: Vec::new(), running: Vec::new(), lent: Vec::new(), transactions: 0, log }
    }

    /// Programs that are started from now on inherit `file`.
    pub(super) fn lend(&mut self, file: &File) -> Result<()> {
        self.lent.push(nix::unistd::dup(file).doing(|| "lend a file to programs")?);
        Ok(())
    }

    /// Ends the programs that were started ahead of their orders.
    pub(super) fn dismiss(&mut self) {
        self.expected.drain(..).for_each(|(_, starting)| drop(starting.join()));
    }

    fn finish_one(&mut self, ordered: Ordered) -> Result<()> {
        let Ordered { family, change, rules, restore } = ordered;
        match restore.and_then(Restore::finish) {
            // Somebody else has changed the tables, or a run was interrupted: what is to be
            // removed is gone already, or something of others' has been added to it.
            Err(failure)
                if change == Change::Remove && ![Kind::Busy, Kind::TimedOut].contains(&failure.kind()) =>
            {
                self.log.debug(&format!("# {failure}"));
                let left = left(&rules, known(family, &rules)?);
                self.run(family, Script::removal(left))
            }
            Err(failure) if change == Change::Add && is_base(&rules) => {
                // The administrator's chain outlives our last network.
                let is_users = |it: &Command| it.verb == Verb::NewChain && it.chain == USER;
                let saved = known(family, &rules).ok().filter(|saved| saved.iter().any(is_users));
                let Some(saved) = saved else { return Err(failure) };
                self.log.debug(&format!("# {failure}"));
                self.run(family, rebuild(&saved, &with_all(family, &rules, &saved)))
            }
            finished => {
                self.transactions += finished?;
                Ok(())
            }
        }
    }

    /// Runs one program from its start to its end, unless there is nothing for it to do.
    fn run(&mut self, family: Family, script: Script) -> Result<()> {
        if !script.is_empty() {
            self.transactions += self.waiting(family)?.order(script).finish()?;
        }
        Ok(())
    }

    /// A program that waits for its orders: the one that was started ahead, or another.
    fn waiting(&mut self, family: Family) -> Result<Waiting> {
        let expected = self.expected.extract_if(.., |(of, _)| *of == family).next();
        expected.and_then(|(_, starting)| starting.join().ok()).unwrap_or_else(|| Waiting::start(family))
    }

    /// What is published, where, and whether the host forwards only ours.
    pub(super) fn found(&self) -> Result<Vec<Rule>> {
        Ok(everything(&[])?.iter().flat_map(|(family, saved)| found::found(*family, saved)).collect())
    }

    fn is_unowned(rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<Vec<Command>> {
        let everything = everything(rules)?.into_iter();
        Ok(everything.flat_map(|(family, saved)| unowned(family, rules, saved, keep)).collect())
    }
}

impl Driver for Iptables {
    /// Starts the program of a family ahead of its orders.
    fn expect(&mut self, family: Family) {
        if self.expected.iter().all(|(of, _)| *of != family) {
            let starting = std::thread::Builder::new().spawn(move || Waiting::start(family));
            self.expected.extend(starting.ok().map(|starting| (family, starting)));
        }
    }

    fn start(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        for family in Family::ALL {
            let rules: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.family() == family).collect();
            let commands: Vec<_> = rules.iter().flat_map(|rule| commands(rule)).collect();
            let Some(first) = commands.first() else { continue };
            let mut orders: Vec<_> = commands.iter().map(|command| command.order(change)).collect();
            orders.iter().for_each(|order| self.log.debug(&order.shown));
            if change == Change::Remove {
                orders.reverse();
            }
            let restore = self.waiting(family).map_err(|error| error.during(first));
            let restore = restore.map(|waiting| waiting.order(Script::new(change, orders)));
            match restore {
                Err(error) if self.running.is_empty() => return Err(error),
                // The other family's is at work: both are answered for at the end.
                restore => {
                    let rules = rules.into_iter().cloned().collect();
                    self.running.push(Ordered { family, change, rules, restore });
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        let running = std::mem::take(&mut self.running);
        together(running.into_iter().map(|ordered| self.finish_one(ordered)).collect())
    }

    fn transactions(&self) -> u64 {
        self.transactions
    }

    fn missing(&self, rules: &[Rule]) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for family in families(rules) {
            all.extend(texts(&missing(family, rules, &known(family, rules)?)));
        }
        Ok(all)
    }

    fn restore(&mut self, rules: &[Rule]) -> Result<Vec<String>> {
        let mut restored = Vec::new();
        for family in families(rules) {
            let saved = known(family, rules)?;
            let missing = texts(&missing(family, rules, &saved));
            if !missing.is_empty() {
                missing.iter().for_each(|missing| self.log.debug(missing));
                let script = rebuild(&saved, &with_all(family, rules, &saved));
                self.run(family, script.behind_denials(|| print(family))?)?;
            }
            restored.extend(missing);
        }
        Ok(restored)
    }

    /// In one transaction a table. What others have added to chains of ours that stay, stays.
    fn rebuild(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool> {
        let mut changed = false;
        for (family, saved) in everything(rules)? {
            let target = with_kept(family, rules, &saved, keep);
            let script = rebuild(&saved, &target);
            if !script.is_empty() {
                self.log.debug("# rebuild all rules");
                script.shown().for_each(|line| self.log.debug(line));
                self.run(family, script.behind_denials(|| print(family))?)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    fn unowned(&self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        Ok(texts(&Self::is_unowned(rules, keep)?))
    }

    fn remove_unowned(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool> {
        let unowned = Self::is_unowned(rules, keep)?;
        for family in Family::ALL {
            let commands = unowned.iter().filter(|command| command.family == family);
            let script = Script::removal(commands.cloned().collect());
            script.shown().for_each(|line| self.log.debug(line));
            self.run(family, script)?;
        }
        Ok(!unowned.is_empty())
    }
}

impl Drop for Iptables {
    fn drop(&mut self) {
        self.dismiss();
        for ordered in self.running.drain(..) {
            // What has its orders is not interrupted half way.
            let _ = ordered.restore.and_then(Restore::finish);
        }
    }
}
