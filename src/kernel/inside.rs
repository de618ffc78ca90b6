//! The container's network namespace, without the main thread ever moving.
//!
//! A netlink socket belongs to the namespace it was opened in, and `/proc/sys/net` to that of
//! the thread that opens it: one thread enters, opens a socket, hands it back, and stays to
//! write kernel parameters until it is no longer needed. (Moving the main thread there and back
//! risks an early return between the two `setns(2)`.)

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{self, Receiver, Sender};

use nix::sched::{CloneFlags, setns};

use super::netlink::Netlink;
use super::sysctl;
use crate::error::{Doing, Error, Result};

/// A namespace with a socket and a thread in it.
#[derive(Debug)]
pub(super) struct Inside {
    netns: File,
    netlink: Netlink,
    parameters: Sender<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    key: String,
    value: String,
    written: Sender<io::Result<()>>,
}

impl Inside {
    /// Enters the namespace that `netns` is open on, which is that of process `pid`, if not 0.
    pub(super) fn enter(netns: File, pid: i32, host: &Netlink) -> Result<Self> {
        let operation = || match pid {
            0 => "enter the network namespace".to_owned(),
            pid => format!("enter the network namespace of process {pid}"),
        };
        let entered = netns.try_clone().doing(operation)?;
        let runtime = host.runtime();
        let (parameters, orders) = mpsc::channel();
        let (sender, opened) = mpsc::channel();
        std::thread::Builder::new()
            .name("inside".to_owned())
            .spawn(move || {
                let socket = setns(&entered, CloneFlags::CLONE_NEWNET)
                    .map_err(io::Error::from)
                    .and_then(|()| Netlink::open_here(runtime));
                let fine = socket.is_ok();
                if sender.send(socket).is_ok() && fine {
                    write_parameters(&orders);
                }
            })
            .doing(operation)?;
        let netlink = opened.recv().map_err(|_| Error::new(operation(), "the thread has died"))?;
        Ok(Self { netns, netlink: netlink.doing(operation)?, parameters })
    }

    pub(super) fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    pub(super) fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// Writes a kernel parameter of the namespace.
    pub(super) fn write_sysctl(&self, key: &str, value: &str) -> io::Result<()> {
        let died = || io::Error::other("the thread in the namespace has died");
        let (written, answer) = mpsc::channel();
        let parameter = Parameter { key: key.to_owned(), value: value.to_owned(), written };
        self.parameters.send(parameter).map_err(|_| died())?;
        answer.recv().map_err(|_| died())?
    }
}

/// Does `what` in the network namespace that `netns` is open on, in a thread that ends with it.
///
/// # Errors
/// It cannot be entered.
pub fn visit<T: Send>(netns: &File, what: impl FnOnce() -> T + Send) -> Result<T> {
    let operation = || "enter a network namespace";
    let there = || setns(netns, CloneFlags::CLONE_NEWNET).map(|()| what());
    let visited = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("inside".to_owned()).spawn_scoped(scope, there);
        thread.doing(operation)?.join().map_err(|_| Error::new(operation(), "the thread has died"))
    });
    visited?.doing(operation)
}

fn write_parameters(orders: &Receiver<Parameter>) {
    for Parameter { key, value, written } in orders {
        let _ = written.send(sysctl::write(&key, &value));
    }
}
