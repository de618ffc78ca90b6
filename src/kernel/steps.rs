//! What each step is to the kernel: one table to apply it and one to undo it.

use std::fmt::Display;
use std::io::{self, ErrorKind};

use nix::libc;

use super::netlink::{Netlink, or_gone};
use super::{Kernel, children, moving, named};
use crate::error::{Doing, Error, Kind, Result};
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value::Iface;

impl Kernel {
    /// Applies a step of the kernel's; those of other rooms are left to them.
    ///
    /// # Errors
    /// The step was not applied, and nothing of it was done.
    pub fn apply(&self, step: &Step) -> Result<()> {
        let applied = match step {
            Step::Sysctl { netns: Netns::Host, key, value, .. } => self.sysctl.write(key, value),
            Step::Sysctl { key, value, .. } => self.inside()?.sysctl().write(key, value),
            Step::AddBridge(bridge) => self.netlink.add_bridge(bridge),
            Step::AddVeth(veth) => {
                let inside = self.inside()?;
                let bridge = self.netlink.index(veth.bridge.as_str()).doing(|| step)?;
                let added = self.netlink.add_link(veth.message(bridge, inside.netns()));
                return added.map_err(|error| taken(step, inside.netlink(), &veth.peer, error));
            }
            Step::AddVlan(vlan) => return self.add_vlan(vlan),
            Step::AddChild(child) => return self.add_child(child),
            Step::SetAlias { link, alias } => self.netlink.set_alias(link, alias),
            Step::Rename { link, name } => self.netlink.rename(link, name),
            Step::SetMaster { link, bridge } => or_gone(self.netlink.set_master(link, bridge)),
            Step::Hairpin { link } => self.netlink.set_hairpin(link),
            Step::Isolate { link } => self.netlink.isolate(link),
            Step::AddIfb(_) | Step::SetRate { .. } | Step::Redirect { .. } => return self.limit(step),
            Step::SetMtu { link, mtu, .. } => self.netlink.set_mtu(link, *mtu),
            Step::SetUp { netns, link } => {
                let socket = self.socket(*netns)?;
                children::patiently(&[libc::EADDRINUSE], || socket.set_up(link, true))
            }
            Step::AddAddress { netns, link, address, nodad } => {
                let socket = self.socket(*netns)?;
                let add = || socket.add_address(link, *address, *nodad);
                children::patiently(&[libc::EADDRINUSE], add)
            }
            Step::AddRoute { netns, route, link, table } => {
                self.socket(*netns)?.add_route(route, link.as_ref(), *table)
            }
            Step::AddHostRoute { address, link, mtu } => self.netlink.add_host_route(link, *address, *mtu),
            Step::AddNeighbour { address, mac, link } => self.netlink.add_neighbour(link, *address, *mac),
            Step::PinPort { mac, link } => or_gone(self.netlink.pin_port(link, *mac)),
            Step::NameNetns { name, .. } => named::add(name, self.inside()?.netns()),
            Step::MoveDevice(device) => {
                return moving::move_in(&self.netlink, device, self.inside()?.netns(), &self.log);
            }
            Step::AddSourceRule { netns, source, table } => {
                self.socket(*netns)?.add_source_rule(*source, *table)
            }
            Step::Firewall(_)
            | Step::WriteFile { .. }
            | Step::MakeNames { .. }
            | Step::JoinNames { .. }
            | Step::AddHost { .. }
            | Step::WriteResolver { .. }
            | Step::Mount(_) => Ok(()),
        };
        applied.doing(|| step)
    }

    /// Applies a step that limits what a link sends.
    fn limit(&self, step: &Step) -> Result<()> {
        let (limited, modules) = match step {
            Step::AddIfb(ifb) => (self.netlink.add_link(ifb.message()), "ifb"),
            Step::SetRate { link, bucket } => (self.netlink.set_rate(link, bucket), "sch_tbf"),
            Step::Redirect { link, to } => {
                (self.netlink.redirect(link, to), "sch_ingress, cls_u32 or act_mirred")
            }
            _ => return Ok(()),
        };
        limited.map_err(|cause| match cause.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP) => {
                let error = Error::new(step, format!("this kernel has no {modules}"));
                error.hint("load the module, or give the container no rate")
            }
            _ => Error::new(step, cause),
        })
    }

    /// Undoes a step of the kernel's, if it has an undoing of its own (see
    /// [`Step::traits`]). Already gone is fine.
    ///
    /// # Errors
    /// What the step made is still there.
    pub fn undo(&self, step: &Step) -> Result<()> {
        let undone = match step {
            Step::Sysctl { netns: Netns::Host, key, before: Some(before), .. } => {
                self.sysctl.restore(key, before)
            }
            Step::AddBridge(bridge) => self.netlink.delete_bridge(bridge),
            Step::AddVeth(veth) => self.netlink.delete(&veth.name, veth.mac),
            Step::AddIfb(ifb) => self.netlink.delete(&ifb.name, ifb.mac),
            Step::AddVlan(vlan) => self.delete_vlan(vlan),
            Step::AddChild(child) => return children::delete(child),
            Step::SetMtu { link, before, .. } => or_gone(self.netlink.set_mtu(link, *before)),
            Step::SetUp { netns: Netns::Host, link } => or_gone(self.netlink.set_up(link, false)),
            Step::AddAddress { netns: Netns::Host, link, address, .. } => {
                or_gone(self.netlink.delete_address(link, *address))
            }
            Step::AddHostRoute { address, link, .. } => {
                or_gone(self.netlink.delete_host_route(link, *address))
            }
            Step::AddNeighbour { address, link, .. } => {
                or_gone(self.netlink.delete_neighbour(link, *address))
            }
            Step::NameNetns { name, inode, .. } => named::remove(name, *inode),
            Step::MoveDevice(device) => {
                return moving::bring_back(&self.netlink, device, &self.log, self.waits);
            }
            // Goes with what another step made, or is not the kernel's.
            _ => Ok(()),
        };
        undone.doing(|| format!("undo {step}"))
    }

    fn socket(&self, netns: Netns) -> Result<&Netlink> {
        match netns {
            Netns::Host => Ok(&self.netlink),
            Netns::Pid(_) | Netns::Path => Ok(self.inside()?.netlink()),
        }
    }
}

/// Why no interface could be made: the container may have one of its name.
pub(super) fn taken(step: impl Display, inside: &Netlink, name: &Iface, error: io::Error) -> Error {
    if error.kind() != ErrorKind::AlreadyExists || !matches!(inside.link(name.as_str()), Ok(Some(_))) {
        return Error::new(step, error);
    }
    let cause = format!("the container has an interface {name} already");
    Error::new(step, cause).of(Kind::Conflict).hint(
        "start it with `--network none`, so that its engine gives it no network; \
         --iface makes another interface beside it",
    )
}
