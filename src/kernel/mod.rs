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
pub mod sysctl;
pub mod view;

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use crate::apply::Target;
use crate::error::{Doing, Error, Result};
use crate::firewall::iptables::{self, Restore, Waiting};
use crate::firewall::{Change, Rule};
use crate::log::Log;
use crate::plan::{Covering, Step};
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
        self.entering = Some(Entering::start(netns, pid, &self.netlink)?);
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

    fn take(&self, step: &Step) -> Result<()> {
        match step {
            // In the other lane.
            Step::Firewall(_) => Ok(()),
            Step::Sysctl { pid: None, key, value, .. } => self.sysctl.write(key, value).doing(|| step),
            Step::Sysctl { pid: Some(_), key, value, .. } => {
                self.inside()?.sysctl().write(key, value).doing(|| step)
            }
            Step::AddBridge(bridge) => self.netlink.add_bridge(bridge).doing(|| step),
            Step::AddVeth(veth) => {
                let inside = self.inside()?;
                let bridge = self.netlink.index(veth.bridge.as_str()).doing(|| step)?;
                self.netlink.add_link(veth.message(bridge, inside.netns())).doing(|| step)
            }
            Step::SetAlias { link, alias } => self.netlink.set_alias(link, alias).doing(|| step),
            Step::SetMaster { link, bridge } => {
                netlink::or_gone(self.netlink.set_master(link, bridge)).doing(|| step)
            }
            Step::Hairpin { link } => self.netlink.set_hairpin(link).doing(|| step),
            Step::SetMtu { link, mtu, .. } => self.netlink.set_mtu(link, *mtu).doing(|| step),
            Step::SetUp { pid, link } => self.socket(*pid)?.set_up(link, true).doing(|| step),
            Step::AddAddress { pid, link, address } => {
                self.socket(*pid)?.add_address(link, *address).doing(|| step)
            }
            Step::AddRoute { pid, gateway, link } => {
                self.socket(Some(*pid))?.add_default_route(link, *gateway).doing(|| step)
            }
            Step::NameNetns { name, .. } => named::give(name, self.inside()?.netns()).doing(|| step),
            Step::WriteFile { base, path, contents } => files::write(base, path, contents).doing(|| step),
            Step::KeepNames { dir } => names::make(dir).doing(|| step),
            Step::AddHost { path, slot, line } => names::add_line(path, *slot, line).doing(|| step),
            Step::WriteResolver { path, contents, .. } => {
                names::write_resolver(path, contents).doing(|| step)
            }
            Step::Cover(covering) => self.cover(covering),
            Step::MoveNic(nic) => nic::move_in(&self.netlink, nic, self.inside()?.netns(), &self.log),
            Step::AddSourceRoute { gateway, link, .. } => {
                self.inside()?.netlink().add_source_route(link, *gateway).doing(|| step)
            }
            Step::AddSourceRule { source, .. } => {
                self.inside()?.netlink().add_source_rule(*source).doing(|| step)
            }
        }
    }

    /// Covers what can be. What was asked for must be, and all else is a warning: a container
    /// without names is better than none.
    fn cover(&self, covering: &Covering) -> Result<()> {
        let outcomes = match mounts::cover(covering) {
            Ok(outcomes) => outcomes,
            Err(error) => vec![Err(error)],
        };
        for (at, outcome) in outcomes.into_iter().enumerate() {
            let Err(cause) = outcome else { continue };
            let quiet = cause.kind() == ErrorKind::ReadOnlyFilesystem;
            let error = mounts::explain(covering, at, cause);
            match covering.files.iter().any(|file| file.asked) {
                true => return Err(error.also(self.uncover(covering).err())),
                false if quiet => self.log.debug(&format!("# {error}")),
                false => self.log.warn(&error),
            }
        }
        Ok(())
    }

    /// In a container that runs; in any other the mounts go with it.
    fn uncover(&self, covering: &Covering) -> Result<()> {
        if covering.runs { mounts::uncover(covering).doing(|| format!("undo {covering}")) } else { Ok(()) }
    }

    fn socket(&self, pid: Option<i32>) -> Result<&Netlink> {
        match pid {
            None => Ok(&self.netlink),
            Some(_) => Ok(self.inside()?.netlink()),
        }
    }

    fn reverse(&self, step: &Step) -> Result<()> {
        let undoing = || format!("undo {step}");
        match step {
            Step::Firewall(_) => Ok(()),
            Step::Sysctl { pid: None, key, before: Some(before), .. } => {
                self.sysctl.restore(key, before).doing(undoing)
            }
            Step::AddBridge(bridge) => self.netlink.delete(&bridge.name, bridge.mac).doing(undoing),
            Step::AddVeth(veth) => self.netlink.delete(&veth.name, veth.mac).doing(undoing),
            Step::SetMtu { link, before, .. } => {
                netlink::or_gone(self.netlink.set_mtu(link, *before)).doing(undoing)
            }
            Step::SetUp { pid: None, link } => {
                netlink::or_gone(self.netlink.set_up(link, false)).doing(undoing)
            }
            Step::AddAddress { pid: None, link, address } => {
                netlink::or_gone(self.netlink.delete_address(link, *address)).doing(undoing)
            }
            Step::NameNetns { name, netns, .. } => named::take(name, *netns).doing(undoing),
            Step::WriteFile { base, path, contents } => files::remove(base, path, contents).doing(undoing),
            Step::KeepNames { dir } => names::remove(dir).doing(undoing),
            Step::AddHost { path, slot, line } => names::remove_line(path, *slot, line).doing(undoing),
            Step::WriteResolver { path, shared: false, .. } => names::remove_resolver(path).doing(undoing),
            Step::Cover(covering) => self.uncover(covering),
            Step::MoveNic(nic) => nic::bring_back(&self.netlink, nic, &self.log),
            // See `Step::is_undone`.
            Step::AddSourceRoute { .. } | Step::AddSourceRule { .. } => Ok(()),
            Step::Sysctl { .. }
            | Step::SetAlias { .. }
            | Step::SetMaster { .. }
            | Step::Hairpin { .. }
            | Step::SetUp { .. }
            | Step::AddAddress { .. }
            | Step::AddRoute { .. }
            | Step::WriteResolver { .. } => Ok(()),
        }
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
