//! Notifications of the kernel that a link, an address or a route of the host has come or gone.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::error::{Doing, Result};

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV4_ROUTE`, from `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40;
/// Read at a time; whoever causes more of them is not waited for.
const MAX_MESSAGES: usize = 4096;

/// A socket that is notified of changes in the namespace it was opened in.
#[derive(Debug)]
pub struct Changes {
    socket: Socket,
}

/// Why a wait has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something has changed.
    Changed,
    /// Nothing has, for as long as was to be waited.
    Quiet,
    /// Nobody reads what is written to the output any more.
    Unread,
}

impl Changes {
    /// Begins to listen, in the calling thread's network namespace.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn listen() -> Result<Self> {
        let operation = || "listen for changes of links";
        let mut socket = Socket::new(NETLINK_ROUTE).doing(operation)?;
        socket.bind(&SocketAddr::new(0, GROUPS)).doing(operation)?;
        socket.set_non_blocking(true).doing(operation)?;
        Ok(Self { socket })
    }

    /// Waits, at most for `timeout`, for a change; watches `output` meanwhile.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn wait(&self, timeout: Duration, output: impl AsFd) -> Result<Woken> {
        // Nothing is asked of the output: that its reader is gone is told unasked.
        let mut ends = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(output.as_fd(), PollFlags::empty()),
        ];
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut ends, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Woken::Quiet),
            woken => woken.doing(|| "wait for changes of links")?,
        };
        if ends[1].any().unwrap_or_default() {
            return Ok(Woken::Unread);
        }
        // What exactly has changed does not matter, nor that some of it was lost (ENOBUFS):
        // everything is read again.
        let mut messages = 0;
        while messages < MAX_MESSAGES && self.socket.recv_from_full().is_ok() {
            messages += 1;
        }
        Ok(Woken::Changed)
    }
}
