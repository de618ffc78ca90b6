//! The machine that steps are applied to: its kernel, its firewall, and containers' files.

use std::path::Path;

use super::apply::{Target, undone};
use crate::error::{Error, Kind, Result};
use crate::firewall::{self, Firewall};
use crate::kernel::{Kernel, conntrack};
use crate::log::Log;
use crate::model::rule::{Change, Rule};
use crate::model::step::Step;
use crate::netfilter::Netfilter;
use crate::rootfs;
use crate::store;

/// The machine, and the one container that is being attached.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) kernel: Kernel,
    pub(super) netfilter: Netfilter,
    pub(super) firewall: Firewall,
    /// What the firewall was told, until it has done so.
    running: Option<(Change, Vec<Rule>)>,
    log: Log,
}

impl Machine {
    /// Opens a netlink socket in the host's network namespace, which is the caller's.
    ///
    /// # Errors
    /// No socket can be opened.
    pub(super) fn open(log: &Log) -> Result<Self> {
        let kernel = Kernel::open(log.clone())?;
        let netfilter = Netfilter::default();
        let firewall = Firewall::new(netfilter.clone(), log.clone());
        Ok(Self { kernel, netfilter, firewall, running: None, log: log.clone() })
    }

    /// Looks once for the first rules of a network: a program may say that it made them where they
    /// are of no effect, as in another namespace.
    fn check_first(&self, rules: &[Rule]) -> Result<()> {
        let missing = self.firewall.missing(rules)?;
        missing.first().map_or(Ok(()), |missing| {
            Err(Error::new(missing, "the firewall's program says that it is there, and it is not"))
        })
    }

    /// Ends the UDP flows that the coming or going of `rules` has made wrong.
    pub(super) fn forget_flows(&self, change: Change, rules: &[Rule]) {
        conntrack::forget(self.kernel.netlink(), &self.netfilter, &self.log, change, rules);
    }
}

impl Target for Machine {
    fn start_rules(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        self.firewall.start(change, rules)?;
        self.running = Some((change, rules.iter().map(|rule| (*rule).clone()).collect()));
        Ok(())
    }

    fn finish_rules(&mut self) -> Result<()> {
        let Some((change, rules)) = self.running.take() else {
            return Ok(());
        };
        self.firewall.finish().map_err(with_holder)?;
        if change == Change::Add && rules.iter().any(|rule| matches!(rule, Rule::Network { .. })) {
            self.check_first(&rules)?;
        }
        self.forget_flows(change, &rules);
        Ok(())
    }

    fn apply(&mut self, step: &Step) -> Result<()> {
        self.log.debug(&step.to_string());
        if rootfs::owns(step) { rootfs::apply(step, &self.log) } else { self.kernel.apply(step) }
    }

    fn undo(&mut self, step: &Step) -> Result<()> {
        self.log.debug(&format!("undo {step}"));
        if rootfs::owns(step) { rootfs::undo(step) } else { self.kernel.undo(step) }
    }
}

/// The same error with whoever keeps the firewall's programs from their work.
fn with_holder(error: Error) -> Error {
    let busy = error.kind() == Kind::Busy;
    match busy.then(|| store::holder(Path::new(firewall::LOCK))).flatten() {
        Some(holder) => error.hint(format!("{holder} holds {}", firewall::LOCK)),
        None => error,
    }
}

/// The text of a step, one command a line.
pub fn lines(step: &Step) -> Vec<String> {
    match step {
        Step::Firewall(rule) => firewall::lines(rule),
        other => vec![other.to_string()],
    }
}

/// What applying `steps` tells the machine, one command a line: the rules first.
pub fn apply_lines(steps: &[&Step]) -> Vec<String> {
    let (rules, others): (Vec<&Step>, Vec<&Step>) = steps.iter().partition(|step| step.rule().is_some());
    rules.into_iter().chain(others).flat_map(lines).collect()
}

/// What undoing `steps` tells the machine, one command a line: the rules first.
pub fn undo_lines(steps: &[&Step]) -> Vec<String> {
    let rules = steps.iter().filter(|step| step.rule().is_some()).copied();
    let all = rules.chain(undone(steps)).flat_map(lines);
    all.map(|line| format!("undo {line}")).collect()
}
