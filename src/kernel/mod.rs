//! The only room that sends anything to the kernel, and the only one that knows tokio.
//!
//! [`Kernel`] takes steps; [`observe`] looks; [`process`] says who a container is. Knows no
//! configuration and no store.

pub mod changes;
pub mod conntrack;
pub mod files;
pub mod inside;
pub mod interfaces;
pub mod listeners;
mod mounts;
pub mod named;
mod names;
mod namespaces;
pub mod netfilter;
pub mod netlink;
pub mod nic;
pub mod observe;
pub mod ports;
pub mod probe;
pub mod process;
pub mod resolver;
mod steps;
pub mod sysctl;
pub mod view;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use crate::apply::Target;
use crate::error::{Doing, Error, Result};
use crate::firewall::iptables::{self, Restore, Waiting};
use crate::firewall::{Change, Rule};
use crate::log::Log;
use crate::plan::Step;
use inside::{Entering, Inside};
use netlink::Netlink;
use sysctl::Sysctl;

/// The machine, and the one container that is being attached.
#[derive(Debug)]
pub struct Kernel {
    netlink: Netlink,
    sysctl: Sysctl,
    /// On the way into the container, and there.
    entering: Option<Entering>,
    inside: Option<Inside>,
    /// The firewall's program, started ahead of its orders, by a thread: for that long the
    /// kernel stops whoever starts a program, a third of a millisecond.
    waiting: Option<JoinHandle<Result<Waiting>>>,
    /// The firewall's program while it runs, and what it was told.
    running: Option<(Restore, Change, Vec<Rule>)>,
    /// Without close-on-exec, and so open in every program that is run.
    lent: Option<OwnedFd>,
    /// Transactions of the firewall that have been made.
    transactions: u64,
    log: Log,
}

impl Kernel {
    /// Opens a netlink socket in the host's network namespace, which is the caller's.
    ///
    /// `log` is told of each step before it is taken. Programs that are run inherit `lent`,
    /// and hold it open for as long as they live.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn open(log: Log, lent: &File) -> Result<Self> {
        let mut kernel = Self::look(log)?;
        kernel.lent = Some(nix::unistd::dup(lent).doing(|| "lend a file to programs")?);
        Ok(kernel)
    }

    /// As [`Self::open`], for those who only look.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn look(log: Log) -> Result<Self> {
        Ok(Self {
            netlink: Netlink::open()?,
            sysctl: Sysctl::default(),
            entering: None,
            inside: None,
            waiting: None,
            running: None,
            lent: None,
            transactions: 0,
            log,
        })
    }

    /// Enters the network namespace that `netns` is open on, for the steps that are taken in it.
    ///
    /// # Errors
    /// It cannot be entered, or no socket can be opened there.
    pub fn enter(&mut self, netns: File, pid: i32) -> Result<()> {
        self.start_entering(netns, pid)?;
        self.finish_entering()
    }

    /// The first half of [`Self::enter`]: a thread sets out.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_entering(&mut self, netns: File, pid: i32) -> Result<()> {
        self.entering = Some(Entering::start(netns, pid, &self.netlink, &self.sysctl)?);
        Ok(())
    }

    /// The second half of [`Self::enter`].
    ///
    /// # Errors
    /// As there.
    pub fn finish_entering(&mut self) -> Result<()> {
        if let Some(entering) = self.entering.take() {
            self.inside = Some(entering.finish()?);
        }
        Ok(())
    }

    /// Starts the firewall's program ahead of its orders. If that fails, it fails again, and
    /// with a reason, when there are orders.
    pub fn expect_rules(&mut self) {
        if self.waiting.is_none() {
            self.waiting = std::thread::Builder::new().spawn(Waiting::start).ok();
        }
    }

    /// What became of the program that was started ahead of its orders.
    fn expected(&mut self) -> Option<Result<Waiting>> {
        self.waiting.take().and_then(|starting| starting.join().ok())
    }

    /// Puts back the rules that `missing` names, and with them the chains of ours they stand in.
    ///
    /// # Errors
    /// They cannot be put back.
    pub fn put_back(&mut self, rules: &[Rule], missing: &[iptables::Command]) -> Result<()> {
        for command in missing {
            self.log.debug(&command.to_string());
        }
        self.transactions += iptables::put_back(rules, missing)?;
        let rules: Vec<&Rule> = rules.iter().collect();
        conntrack::forget(&self.netlink, &self.log, Change::Add, &rules);
        Ok(())
    }

    /// Takes away rules of ours that are there.
    ///
    /// # Errors
    /// They cannot be taken away.
    pub fn take_away(&mut self, commands: Vec<iptables::Command>) -> Result<()> {
        for command in &commands {
            self.log.debug(&format!("undo {command}"));
        }
        self.transactions += iptables::remove(commands)?;
        Ok(())
    }

    /// Takes away every chain of ours, whoever it is for, and puts `rules` there instead.
    ///
    /// # Errors
    /// The tables cannot be read or written.
    pub fn renew_rules(&mut self, rules: &[Rule]) -> Result<()> {
        self.transactions += iptables::remove_all()?;
        let rules: Vec<&Rule> = rules.iter().collect();
        if !rules.is_empty() {
            self.transactions += Waiting::start()?.order(Change::Add, &rules).finish()?;
            conntrack::forget(&self.netlink, &self.log, Change::Add, &rules);
        }
        Ok(())
    }

    /// Ends the UDP flows that the coming or going of `rules` has made wrong.
    pub fn forget_flows(&self, change: Change, rules: &[Rule]) {
        let rules: Vec<&Rule> = rules.iter().collect();
        conntrack::forget(&self.netlink, &self.log, change, &rules);
    }

    /// How many transactions of the firewall have been made.
    pub fn transactions(&self) -> u64 {
        self.transactions
    }

    /// What is told of each step.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The host's netlink socket.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// The host's kernel parameters.
    pub fn sysctl(&self) -> &Sysctl {
        &self.sysctl
    }

    /// The netlink socket in the namespace that was entered.
    ///
    /// # Errors
    /// None was.
    pub fn inside_netlink(&self) -> Result<&Netlink> {
        Ok(self.inside()?.netlink())
    }

    fn inside(&self) -> Result<&Inside> {
        self.inside
            .as_ref()
            .ok_or_else(|| Error::new("enter the container's network namespace", "it is not open"))
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if let Some(Ok(waiting)) = self.expected() {
            waiting.dismiss();
        }
    }
}

impl Target for Kernel {
    fn start_rules(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        let Some(first) = rules.first() else {
            return Ok(());
        };
        for rule in rules {
            let undo = if change == Change::Remove { "undo " } else { "" };
            for command in iptables::commands(rule) {
                self.log.debug(&format!("{undo}{command}"));
            }
        }
        let waiting = self.expected().unwrap_or_else(Waiting::start);
        let waiting = waiting.map_err(|error| error.during(iptables::opening(first)))?;
        let rules_kept = rules.iter().map(|rule| (*rule).clone()).collect();
        self.running = Some((waiting.order(change, rules), change, rules_kept));
        Ok(())
    }

    fn finish_rules(&mut self) -> Result<()> {
        let Some((restore, change, rules)) = self.running.take() else {
            return Ok(());
        };
        let rules: Vec<&Rule> = rules.iter().collect();
        self.transactions += match restore.finish() {
            Err(failure) if change == Change::Remove => {
                // Somebody has changed the tables behind our back, or a run was interrupted:
                // what is to be removed is gone already, or has got company.
                self.log.debug(&format!("# {failure}"));
                iptables::remove_what_is_left(&rules)?
            }
            finished => finished?,
        };
        conntrack::forget(&self.netlink, &self.log, change, &rules);
        Ok(())
    }

    fn apply(&mut self, step: &Step) -> Result<()> {
        self.log.debug(&step.to_string());
        self.take(step)
    }

    fn undo(&mut self, step: &Step) -> Result<()> {
        self.log.debug(&format!("undo {step}"));
        self.reverse(step)
    }
}
