//! What each step is to the kernel: one table to take it and one to undo it.

use std::io::ErrorKind;

use super::netlink::{self, Netlink};
use super::{Kernel, files, mounts, named, names, nic};
use crate::error::{Doing, Result};
use crate::plan::{Covering, Step};

impl Kernel {
    /// Takes a step of the other lane than the firewall's.
    pub(super) fn take(&self, step: &Step) -> Result<()> {
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

    /// Undoes it; already gone is fine.
    pub(super) fn reverse(&self, step: &Step) -> Result<()> {
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
