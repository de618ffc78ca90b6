//! The container's network namespace, without the main thread ever moving.
//!
//! A netlink socket belongs to the namespace it was opened in, and a directory of
//! `/proc/sys/net/ipv6` likewise: a thread enters, opens both, hands them back and ends. (Moving
//! the main thread there and back risks an early return between the two `setns(2)`.)

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::JoinHandle;

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

/// A thread that enters.
#[derive(Debug)]
pub(super) struct Entering {
    netns: File,
    thread: JoinHandle<io::Result<(Netlink, Sysctl)>>,
}

fn operation() -> &'static str {
    "enter the container's network namespace"
}

impl Entering {
    /// Sends a thread into the namespace that `netns` is open on.
    pub(super) fn start(netns: File, host: &Netlink, parameters: &Sysctl) -> Result<Self> {
        let entered = netns.try_clone().doing(operation)?;
        let (runtime, sysctl) = (host.runtime(), parameters.elsewhere().doing(operation)?);
        let enter = move || {
            setns(&entered, CloneFlags::CLONE_NEWNET)?;
            // All that a container's interfaces are given is of IPv6; opened by this thread.
            sysctl.has_ipv6()?;
            Ok((Netlink::open_here(runtime)?.bounded(), sysctl))
        };
        let thread = std::thread::Builder::new().spawn(enter).doing(operation)?;
        Ok(Self { netns, thread })
    }

    /// Waits until the thread has done its work.
    pub(super) fn finish(self) -> Result<Inside> {
        let done = self.thread.join().map_err(|_| Error::new(operation(), "the thread has died"))?;
        let (netlink, sysctl) = done.doing(operation)?;
        Ok(Inside { netns: self.netns, netlink, sysctl })
    }
}

impl Inside {
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
