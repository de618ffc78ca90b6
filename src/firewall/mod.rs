//! The firewall, as the world outside of this room sees it: neutral [`Rule`]s are added, removed,
//! restored and rebuilt. How a backend words them, which programs take them and what is in the
//! tables besides is known in the room `iptables` alone.

mod iptables;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use crate::error::{Doing, Error, Kind, Result};
use crate::log::Log;
use crate::model::rule::{Change, Family, Rule};
pub use iptables::{Counted, Missing, Unowned, counters_of, rulesets, words};
use iptables::{Restore, Script, Waiting};

/// The commands of a rule, one a line, as the firewall's own program takes them.
pub fn lines(rule: &Rule) -> Vec<String> {
    iptables::commands(rule).iter().map(ToString::to_string).collect()
}

/// One run's dealings with the firewall's programs. Dropped, it leaves none of them running.
#[derive(Debug)]
pub struct Firewall {
    /// The program, started ahead of its orders, by a thread: for that long the kernel stops
    /// whoever starts a program, a third of a millisecond.
    expected: Option<JoinHandle<Result<Waiting>>>,
    /// The programs at work, one a family, and what they were told.
    running: Vec<Ordered>,
    /// Without close-on-exec, and so open in every program that is run.
    lent: Vec<OwnedFd>,
    transactions: u64,
    log: Log,
}

/// A program that has its orders, or why it has none.
#[derive(Debug)]
struct Ordered {
    family: Family,
    change: Change,
    rules: Vec<Rule>,
    restore: Result<Restore>,
}

impl Firewall {
    /// Nothing runs yet. `log` is told of each line before it is ordered.
    pub fn new(log: Log) -> Self {
        Self { expected: None, running: Vec::new(), lent: Vec::new(), transactions: 0, log }
    }

    /// Programs that are started from now on inherit `file`, and hold it open, with its lock,
    /// for as long as they live.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn lend(&mut self, file: &File) -> Result<()> {
        self.lent.push(nix::unistd::dup(file).doing(|| "lend a file to programs")?);
        Ok(())
    }

    /// Starts the program for IPv4 ahead of its orders. If that fails, it fails again, and with
    /// a reason, when there are orders.
    pub fn expect(&mut self) {
        if self.expected.is_none() {
            let start = || Waiting::start(Family::Ipv4);
            self.expected = std::thread::Builder::new().spawn(start).ok();
        }
    }

    /// Ends the program that was started ahead of its orders, as there are none.
    pub fn dismiss(&mut self) {
        drop(self.expected.take().map(JoinHandle::join));
    }

    /// Starts to add or remove all of `rules`, by one program for each family that has any.
    ///
    /// # Errors
    /// It cannot be started, and nothing has been.
    pub fn start(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        for family in [Family::Ipv4, Family::Ipv6] {
            let rules: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.family() == family).collect();
            let commands: Vec<_> = rules.iter().flat_map(|rule| iptables::commands(rule)).collect();
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

    /// Waits for what [`Self::start`] started; nothing started is fine.
    ///
    /// # Errors
    /// The rules could not be changed. Adding may have been done in part, removing is done as
    /// far as possible.
    pub fn finish(&mut self) -> Result<()> {
        let running = std::mem::take(&mut self.running);
        let failed: Vec<Error> =
            running.into_iter().filter_map(|ordered| self.finish_one(ordered).err()).collect();
        Error::merge(failed).map_or(Ok(()), Err)
    }

    fn finish_one(&mut self, ordered: Ordered) -> Result<()> {
        let Ordered { family, change, rules, restore } = ordered;
        match restore.and_then(Restore::finish) {
            // Somebody else has changed the tables, or a run was interrupted: what is to be
            // removed is gone already, or something of others' has been added to it.
            Err(failure) if change == Change::Remove && failure.kind() != Kind::Busy => {
                self.log.debug(&format!("# {failure}"));
                let left = iptables::left(&rules, iptables::read(family)?);
                self.run(family, Script::removal(left))
            }
            finished => {
                self.transactions += finished?;
                Ok(())
            }
        }
    }

    /// How many transactions have been made that change the generation of the nftables ruleset:
    /// one for each table, and none where iptables has tables of its own.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// What of `rules` is not there.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn missing(&self, rules: &[Rule]) -> Result<Vec<Missing>> {
        let mut missing = Vec::new();
        for family in iptables::families(rules) {
            missing.extend(iptables::missing(family, rules, &iptables::read(family)?));
        }
        Ok(missing)
    }

    /// Restores those of `rules` that are `missing`, in one transaction a table. What else is in
    /// the tables stays, and a jump that is there stays where it is.
    ///
    /// # Errors
    /// The tables cannot be read or written.
    pub fn restore(&mut self, rules: &[Rule], missing: &[Missing]) -> Result<()> {
        missing.iter().for_each(|missing| self.log.debug(&missing.to_string()));
        for family in iptables::families(rules) {
            if missing.iter().any(|missing| missing.family() == family) {
                let saved = iptables::read(family)?;
                let target = iptables::with_all(family, rules, &saved);
                self.run(family, iptables::rebuild(&saved, &target))?;
            }
        }
        Ok(())
    }

    /// Makes all rules of ours exactly `rules`, and besides them those that are there for the
    /// containers whose id `keep` knows (a long one is cut to what a comment holds), in one
    /// transaction a table: at no moment is there less than before and after. What others have
    /// added to chains of ours that stay, stays. `false` if nothing had to be changed.
    ///
    /// # Errors
    /// The tables cannot be read or written.
    pub fn rebuild(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool> {
        let mut changed = false;
        for (family, saved) in iptables::everything(rules)? {
            let target = iptables::with_kept(family, rules, &saved, keep);
            let script = iptables::rebuild(&saved, &target);
            if !script.is_empty() {
                self.log.debug("# rebuild all rules");
                script.shown().for_each(|line| self.log.debug(line));
                self.run(family, script)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// What is of ours and belongs to nobody in `rules`: rules of other containers and networks,
    /// chains that none of `rules` uses, and what leads to them. What is there for the containers
    /// whose id `keep` knows is theirs.
    ///
    /// # Errors
    /// The tables cannot be read.
    pub fn unowned(&self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<Vec<Unowned>> {
        let everything = iptables::everything(rules)?.into_iter();
        Ok(everything.flat_map(|(family, saved)| iptables::unowned(family, rules, saved, keep)).collect())
    }

    /// Removes what [`Self::unowned`] has found.
    ///
    /// # Errors
    /// It could not be removed.
    pub fn remove_unowned(&mut self, unowned: Vec<Unowned>) -> Result<()> {
        for family in [Family::Ipv4, Family::Ipv6] {
            let commands = unowned.iter().filter_map(|unowned| unowned.of(family));
            let script = Script::removal(commands.cloned().collect());
            script.shown().for_each(|line| self.log.debug(line));
            self.run(family, script)?;
        }
        Ok(())
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
        let expected = if family == Family::Ipv4 { self.expected.take() } else { None };
        expected.and_then(|starting| starting.join().ok()).unwrap_or_else(|| Waiting::start(family))
    }
}

impl Drop for Firewall {
    fn drop(&mut self) {
        self.dismiss();
        for ordered in self.running.drain(..) {
            // What has its orders is not interrupted half way.
            let _ = ordered.restore.and_then(Restore::finish);
        }
    }
}
