//! Interfaces that are made on a link of the host, in a container: made, found again and deleted.

use std::io::{self, ErrorKind};
use std::time::Duration;

use nix::libc;

use super::Kernel;
use super::inside::visit;
use super::moving::PATIENCE;
use super::namespaces;
use super::netlink::{Netlink, or_gone};
use crate::error::{Doing, Error, Kind, Result};
use crate::model::observed::Link;
use crate::model::parent::{Child, Vlan};

/// Whether it is in its namespace.
///
/// # Errors
/// The namespace cannot be entered, or the kernel does not answer.
pub fn is_there(child: &Child) -> Result<bool> {
    let Some(netlink) = enter(child)? else { return Ok(false) };
    Ok(find(&netlink, child).doing(|| format!("find {} in the container", child.name))?.is_some())
}

impl Kernel {
    /// Makes an interface in its namespace.
    pub(super) fn add_child(&self, child: &Child) -> Result<()> {
        let inside = child.inode.map(|_| self.inside()).transpose()?;
        let index = self.netlink.index(child.parent.as_str()).doing(|| child)?;
        let netns = || inside.map(super::inside::Inside::netns);
        // One without an address of its own is alone on its parent.
        let dying: &[i32] = if child.kind.has_own_mac() { &[] } else { &[libc::EINVAL, libc::EBUSY] };
        let added = patiently(dying, || self.netlink.add_link(child.message(index, netns())));
        added.map_err(|error| match (error.kind(), error.raw_os_error(), inside) {
            (ErrorKind::AlreadyExists, _, Some(inside)) => {
                super::steps::taken(child, inside.netlink(), &child.name, error)
            }
            (_, Some(libc::EINVAL | libc::EBUSY), _) if !child.kind.has_own_mac() => {
                let cause =
                    format!("{} takes one interface of that kind, and no other beside it", child.parent);
                Error::new(child, cause).of(Kind::Conflict).hint("`netns ls` shows whose it is")
            }
            (_, Some(libc::EBUSY), _) => {
                let cause = format!("{} has interfaces of another kind, or in mode passthru", child.parent);
                Error::new(child, cause).of(Kind::Conflict).hint("`netns networks` shows on which network")
            }
            (_, Some(libc::EOPNOTSUPP), _) => unknown(child, child.kind.driver()),
            _ => Error::new(child, error),
        })
    }

    /// Makes the link of a VLAN.
    pub(super) fn add_vlan(&self, vlan: &Vlan) -> Result<()> {
        let index = self.netlink.index(vlan.parent.as_str()).doing(|| vlan)?;
        self.netlink.add_link(vlan.message(index)).map_err(|error| match error.raw_os_error() {
            Some(libc::EOPNOTSUPP) => unknown(vlan, "8021q"),
            _ => Error::new(vlan, error),
        })
    }

    /// Deletes the link of a VLAN; another link of its name is a stranger's.
    pub(super) fn delete_vlan(&self, vlan: &Vlan) -> io::Result<()> {
        match self.netlink.link(vlan.name.as_str())? {
            Some(found) if found.kind.as_deref() == Some("vlan") => {
                or_gone(self.netlink.delete_link(found.index))
            }
            _ => Ok(()),
        }
    }
}

/// Tries again for a while what fails like one of these: an interface that a container had which has
/// just ended keeps its address and its place on the parent until the kernel comes to it.
pub(super) fn patiently(errors: &[i32], what: impl Fn() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..PATIENCE {
        match what() {
            Err(error) if error.raw_os_error().is_some_and(|code| errors.contains(&code)) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
    what()
}

/// Deletes an interface where it is. With its parent, or with its namespace, it is gone already.
pub(super) fn delete(child: &Child) -> Result<()> {
    let Some(netlink) = enter(child)? else { return Ok(()) };
    let operation = || format!("undo {child}");
    match find(&netlink, child).doing(operation)? {
        Some(index) => or_gone(netlink.delete_link(index)).doing(operation),
        None => Ok(()),
    }
}

/// A kernel that is built without.
fn unknown(step: impl std::fmt::Display, module: &str) -> Error {
    let error = Error::new(step, format!("this kernel has no {module}")).of(Kind::Conflict);
    error.hint(format!("`modprobe {module}`, or install the package that has its modules"))
}

/// The namespace that it was made in, if anything still keeps it.
fn enter(child: &Child) -> Result<Option<Netlink>> {
    let Some(inode) = child.inode else { return Netlink::open().map(Some) };
    let Some(netns) = namespaces::find(child.netns.pid(), inode) else { return Ok(None) };
    visit(&netns, Netlink::open)?.map(|netlink| Some(netlink.bounded()))
}

/// Its number. The namespace may be another's by now, who may have an interface of the same name on
/// the same parent: an address of the link layer tells, which nobody else has while it is leased.
fn find(netlink: &Netlink, child: &Child) -> io::Result<Option<u32>> {
    let links = if child.mac.is_some() { netlink.links() } else { netlink.links_in_full() };
    let is_it = |link: &&Link| {
        link.kind.as_deref() == Some(child.kind.driver())
            && match child.mac {
                Some(mac) => link.address == mac.0,
                // Killed before it got an address.
                None if link.addresses.is_empty() => link.name == child.name.as_str(),
                None => link.addresses.iter().any(|address| address.ip() == child.address),
            }
    };
    Ok(links?.0.iter().find(is_it).map(|link| link.index))
}
