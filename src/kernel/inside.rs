//! The container's network namespace.
//!
//! A netlink socket belongs to the namespace it was opened in, and a directory of
//! `/proc/sys/net/ipv6` likewise: the thread enters, opens both, and comes back.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sched::{CloneFlags, setns};

use super::netlink::Netlink;
use super::sysctl::Sysctl;
use crate::error::{Doing, Error, Result};

/// A namespace with a socket in it, and its parameters.
#[derive(Debug)]
pub(super) struct Inside {
    netns: File,
    netlink: Netlink,
    sysctl: Sysctl,
}

fn operation() -> &'static str {
    "enter the container's network namespace"
}

/// The network namespace that the thread comes back to, whatever happens meanwhile.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            // Everything would be done to the container from now on that is meant for the host.
            std::process::abort();
        }
    }
}

impl Inside {
    /// Opens the namespace that `netns` is open on, one of `all`.
    pub(super) fn open(netns: File, all: u64) -> Result<Self> {
        let sysctl = Sysctl::among(all);
        let home = Home(File::open("/proc/thread-self/ns/net").doing(operation)?);
        setns(&netns, CloneFlags::CLONE_NEWNET).doing(operation)?;
        // All that a container's interfaces are given is of IPv6; opened by this thread.
        let found = sysctl.has_ipv6().and_then(|_| Netlink::open_here());
        drop(home);
        Ok(Self { netns, netlink: found.doing(operation)?.bounded(), sysctl })
    }

    pub(super) fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    pub(super) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Its parameters of IPv6.
    pub(super) fn sysctl(&self) -> &Sysctl {
        &self.sysctl
    }
}

/// Does `what` in the network namespace that `netns` is open on, in a thread that ends with it.
///
/// # Errors
/// It cannot be entered.
pub fn visit<T: Send>(netns: &File, what: impl FnOnce() -> T + Send) -> Result<T> {
    let there = || setns(netns, CloneFlags::CLONE_NEWNET).map(|()| what());
    let visited = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("inside".to_owned()).spawn_scoped(scope, there);
        thread.doing(operation)?.join().map_err(|_| Error::new(operation(), "the thread has died"))
    });
    visited?.doing(operation)
}
