//! The firewall, as the world outside of this room sees it: neutral [`Rule`]s are added, removed,
//! restored and rebuilt, each by the [`Backend`] that it names. How a backend words them, by what
//! they get into the kernel and what is in the tables besides is known in its own room alone.

mod iptables;
mod nftables;
mod orphans;
mod owner;
mod programs;

use std::fs::File;
use std::path::Path;

use crate::error::{Doing, Error, Kind, Result};
use crate::log::Log;
use crate::model::rule::{Backend, Change, Family, Rule};
use crate::netfilter::Netfilter;
pub use iptables::{rulesets, words};

/// The file that iptables with tables of its own locks while it changes them.
pub const LOCK: &str = "/run/xtables.lock";

/// Kills the programs that have outlived the runs that started them, by the file that they were
/// [lent](Firewall::lend); how many.
///
/// # Errors
/// It cannot be told who they are.
pub fn end_orphans(lent: &Path) -> Result<usize> {
    orphans::end(lent).doing(|| format!("look for programs that hold {}", lent.display()))
}

/// The commands of a rule, one a line, as the firewall's own program takes them.
pub fn lines(rule: &Rule) -> Vec<String> {
    match rule.backend() {
        Backend::Iptables => iptables::lines(rule),
        Backend::Nftables => nftables::lines(rule),
    }
}

/// What nft calls a family.
pub fn nft_word(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

/// Whether a backend has its program on this host.
pub fn is_installed(backend: Backend) -> bool {
    let program = match backend {
        Backend::Iptables => "iptables-restore",
        Backend::Nftables => "nft",
    };
    programs::find(program).is_ok()
}

/// A rule in a table, with what has passed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The command that would make it.
    pub rule: String,
    /// What has passed it, unless nobody counts.
    pub passed: Option<Passed>,
}

/// Packets that matched. Where destinations are changed it is the first packet of a connection
/// that passes: they are connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// How many.
    pub packets: u64,
    /// Their size, with the network layer's headers.
    pub bytes: u64,
}

/// The rules of the container `owner` as they stand in the tables that these are in, its recorded
/// ones: those of IPv4 first.
///
/// # Errors
/// The tables cannot be read.
pub fn counters_of(owner: &str, rules: &[&Rule]) -> Result<Vec<Counted>> {
    let mut counted = Vec::new();
    for (backend, family) in Backend::ALL.into_iter().flat_map(|it| Family::ALL.map(|family| (it, family))) {
        let here = |rule: &&&Rule| rule.backend() == backend && rule.family() == family;
        let here: Vec<&Rule> = rules.iter().filter(here).copied().collect();
        counted.extend(match backend {
            _ if here.is_empty() => Vec::new(),
            Backend::Iptables => iptables::counters_of(owner, family, &here)?,
            Backend::Nftables => nftables::counters_of(owner, family)?,
        });
    }
    Ok(counted)
}

/// What a backend does. It is given rules of its own only.
trait Driver: std::fmt::Debug {
    /// Gets ready for what [`Self::start`] will be told of a family, if that takes time.
    fn expect(&mut self, family: Family);

    /// Starts to add or remove all of `rules`.
    fn start(&mut self, change: Change, rules: &[&Rule]) -> Result<()>;

    /// Waits for what [`Self::start`] started.
    fn finish(&mut self) -> Result<()>;

    /// How many transactions have been made that change the generation of the nftables ruleset.
    fn transactions(&self) -> u64;

    /// What of `rules` is not there, as the commands that add it.
    fn missing(&self, rules: &[Rule]) -> Result<Vec<String>>;

    /// Restores what of `rules` is missing; what it was.
    fn restore(&mut self, rules: &[Rule]) -> Result<Vec<String>>;

    /// Makes all rules of ours exactly `rules` and those of whom `keep` knows; `false` if they are.
    fn rebuild(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool>;

    /// What is of ours and of nobody in `rules` or whom `keep` knows, as the commands that add it.
    fn unowned(&self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<Vec<String>>;

    /// Removes that; whether there was any.
    fn remove_unowned(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool>;
}

/// One run's dealings with the firewall. Dropped, it leaves no program of its own running.
#[derive(Debug)]
pub struct Firewall {
    iptables: iptables::Iptables,
    nftables: nftables::Nftables,
    /// Those that have been told something.
    at_work: Vec<Backend>,
}

impl Firewall {
    /// Nothing runs yet. `netfilter` is for the calling thread's network namespace; `log` is told of
    /// each line before it is ordered.
    pub fn new(netfilter: Netfilter, log: Log) -> Self {
        let iptables = iptables::Iptables::new(log.clone());
        Self { iptables, nftables: nftables::Nftables::new(netfilter, log), at_work: Vec::new() }
    }

    /// Programs that are started from now on inherit `file`, and hold it open, with its lock,
    /// for as long as they live.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn lend(&mut self, file: &File) -> Result<()> {
        self.iptables.lend(file)
    }

    /// Gets a backend ready for what [`Self::start`] will tell it of a family. If that fails, it
    /// fails again, and with a reason, when there are orders.
    pub fn expect(&mut self, backend: Backend, family: Family) {
        self.driver(backend).expect(family);
    }

    /// Starts to add or remove all of `rules`.
    ///
    /// # Errors
    /// It cannot be started, and nothing has been.
    pub fn start(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        for backend in Backend::ALL {
            let own: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.backend() == backend).collect();
            if !own.is_empty() {
                self.driver(backend).start(change, &own)?;
                self.at_work.push(backend);
            }
        }
        Ok(())
    }

    /// Waits for what [`Self::start`] started; nothing started is fine.
    ///
    /// # Errors
    /// The rules could not be changed. Adding may have been done in part, removing is done as
    /// far as possible. Of [`Kind::Busy`] if nothing was done; of [`Kind::TimedOut`] if a program
    /// does not answer.
    pub fn finish(&mut self) -> Result<()> {
        let at_work = std::mem::take(&mut self.at_work);
        together(at_work.into_iter().map(|backend| self.driver(backend).finish()).collect())
    }

    /// How many transactions have been made that change the generation of the nftables ruleset.
    pub fn transactions(&self) -> u64 {
        self.iptables.transactions() + self.nftables.transactions()
    }

    /// What of `rules` is not there, as the commands that add it.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn missing(&self, rules: &[Rule]) -> Result<Vec<String>> {
        let mut missing = self.iptables.missing(&of(Backend::Iptables, rules))?;
        missing.extend(self.nftables.missing(&of(Backend::Nftables, rules))?);
        Ok(missing)
    }

    /// Restores what of `rules` is missing, and says how much it was. What else is in the tables
    /// stays, and a jump that is there stays where it is.
    ///
    /// # Errors
    /// The tables cannot be read or written.
    pub fn restore(&mut self, rules: &[Rule]) -> Result<usize> {
        let mut restored = 0;
        for backend in Backend::ALL {
            restored += self.driver(backend).restore(&of(backend, rules))?.len();
        }
        Ok(restored)
    }

    /// Makes all rules of ours exactly `rules`, and besides them those that are there for the
    /// containers whose id `keep` knows (a long one is cut to what a comment holds): at no moment
    /// is there less than before and after. `false` if nothing had to be changed.
    ///
    /// # Errors
    /// The tables cannot be read or written.
    pub fn rebuild(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool> {
        let mut changed = false;
        for backend in Backend::ALL {
            changed |= self.driver(backend).rebuild(&of(backend, rules), keep)?;
        }
        Ok(changed)
    }

    /// What is published, where, and whether the host forwards only ours, by what is in the tables.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn found(&self) -> Result<Vec<Rule>> {
        let mut found = self.iptables.found()?;
        found.extend(self.nftables.found()?);
        Ok(found)
    }

    /// Who has the rules of the network on this bridge, by what is in the tables.
    pub fn backend_of(&self, bridge: &str) -> Backend {
        if self.nftables.has_network(bridge) { Backend::Nftables } else { Backend::Iptables }
    }

    /// What is of ours and belongs to nobody in `rules`, as the commands that would add it: what
    /// is there for other containers and networks, what none of `rules` uses, and what leads to
    /// it. What is there for the containers whose id `keep` knows is theirs.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn unowned(&self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut unowned = self.iptables.unowned(&of(Backend::Iptables, rules), keep)?;
        unowned.extend(self.nftables.unowned(&of(Backend::Nftables, rules), keep)?);
        Ok(unowned)
    }

    /// Removes what [`Self::unowned`] would find; whether it was anything.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn remove_unowned(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool> {
        let mut removed = false;
        for backend in Backend::ALL {
            removed |= self.driver(backend).remove_unowned(&of(backend, rules), keep)?;
        }
        Ok(removed)
    }

    fn driver(&mut self, backend: Backend) -> &mut dyn Driver {
        match backend {
            Backend::Iptables => &mut self.iptables,
            Backend::Nftables => &mut self.nftables,
        }
    }
}

/// What became of several: of the kind [`Kind::Busy`] only if that is so of all.
fn together(ended: Vec<Result<()>>) -> Result<()> {
    let is = |kind| move |ended: &Result<()>| ended.as_ref().is_err_and(|error| error.kind() == kind);
    let timed_out = ended.iter().any(is(Kind::TimedOut));
    let undone = ended.iter().all(is(Kind::Busy));
    let Some(error) = Error::merge(ended.into_iter().filter_map(Result::err)) else { return Ok(()) };
    Err(match error.kind() {
        _ if timed_out => error.of(Kind::TimedOut),
        Kind::Busy if !undone => error.of(Kind::Kernel),
        _ => error,
    })
}

/// Those of the rules that are a backend's.
fn of(backend: Backend, rules: &[Rule]) -> Vec<Rule> {
    rules.iter().filter(|rule| rule.backend() == backend).cloned().collect()
}
