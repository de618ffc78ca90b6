//! Links, addresses and routes of one network namespace, over one rtnetlink socket.
//!
//! Every call is one request and waits for its answer. Errors are the kernel's own, for the
//! caller to say what was being done.

mod describe;
mod dump;
mod examine;
mod ports;
mod queues;
mod write;

use std::cell::Cell;
use std::io;

use nix::libc;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkBuffer, NetlinkMessage, NetlinkPayload,
    Parseable,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::error::{Doing, Result};
use crate::model::observed::Link;
pub(super) use describe::{address_of, describe, name_of};

/// One socket.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    /// The number of the last request, which its answers bear.
    number: Cell<u32>,
    /// How much of a table is kept.
    most: usize,
}

/// How much of a container's tables is kept: it may make them as long as it likes.
const MOST_INSIDE: usize = 1 << 16;

/// What the kernel puts into one datagram of a table at most, in bytes.
const DATAGRAM: usize = 32 * 1024;

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn open() -> Result<Self> {
        Self::open_here().doing(|| "open a netlink socket")
    }

    /// The same socket for a container, of whose tables only the beginning is kept.
    pub fn bounded(self) -> Self {
        Self { most: MOST_INSIDE, ..self }
    }

    /// As [`Self::open`].
    pub(super) fn open_here() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_ROUTE)?;
        // The kernel is to heed what a request leaves out, instead of telling of all.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, number: Cell::new(0), most: usize::MAX })
    }

    /// Sends a request, and gives all that the kernel answers.
    fn request(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut message = NetlinkMessage::from(request);
        self.number.set(self.number.get().wrapping_add(1));
        message.header.sequence_number = self.number.get();
        message.header.flags = NLM_F_REQUEST | flags;
        message.finalize();
        let mut datagram = vec![0; message.buffer_len()];
        message.serialize(&mut datagram);
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
        let mut answers = Vec::new();
        datagram.reserve(DATAGRAM);
        loop {
            datagram.clear();
            self.socket.recv(&mut datagram, 0)?;
            if self.read(&datagram, flags & NLM_F_ACK != 0, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Reads the answers in a datagram; whether the last of them is among them.
    fn read(
        &self,
        mut datagram: &[u8],
        acknowledged: bool,
        answers: &mut Vec<RouteNetlinkMessage>,
    ) -> io::Result<bool> {
        while !datagram.is_empty() {
            let first = datagram;
            let message = NetlinkBuffer::new_checked(&first).map_err(io::Error::other)?;
            datagram = datagram.get(message.length().next_multiple_of(4) as usize..).unwrap_or_default();
            // Of a request that failed before all of its answers were read.
            if message.sequence_number() != self.number.get() {
                continue;
            }
            let alone = message.flags() & NLM_F_MULTIPART == 0;
            match NetlinkMessage::parse(&message).map(|message| message.payload) {
                Ok(NetlinkPayload::Done(_)) => return Ok(true),
                Ok(NetlinkPayload::Error(error)) if error.code.is_some() => return Err(error.to_io()),
                Ok(NetlinkPayload::Error(_)) => return Ok(true),
                Ok(NetlinkPayload::InnerMessage(answer)) if answers.len() < self.most => answers.push(answer),
                Err(error) if alone => return Err(io::Error::other(error)),
                // Nobody knows how to read it.
                _ => {}
            }
            if alone && !acknowledged {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Changes something.
    fn change(&self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(request, NLM_F_ACK | flags).map(drop)
    }

    /// A table, or the beginning of it: those of its rows that `wanted` knows.
    fn table<T>(
        &self,
        request: RouteNetlinkMessage,
        wanted: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        Ok(self.request(request, NLM_F_DUMP)?.into_iter().filter_map(wanted).collect())
    }

    /// Asks for one object, and gives the first answer that `wanted` knows.
    fn ask<T>(
        &self,
        request: RouteNetlinkMessage,
        wanted: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Option<T>> {
        Ok(self.request(request, 0)?.into_iter().find_map(wanted))
    }

    /// The link called `name`, if there is one; without its addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn link(&self, name: &str) -> io::Result<Option<Link>> {
        let mut question = LinkMessage::default();
        question.attributes = vec![LinkAttribute::IfName(name.to_owned()), brief()];
        match self.ask(RouteNetlinkMessage::GetLink(question), link) {
            Err(error) if gone(&error) => Ok(None),
            found => Ok(found?.as_ref().map(describe)),
        }
    }

    /// The number of the link called `name`.
    ///
    /// # Errors
    /// There is none (`ENODEV`).
    pub fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }
}

/// Half of the answer would be IPv6's counters, which are to be collected and read.
fn brief() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn link(answer: RouteNetlinkMessage) -> Option<LinkMessage> {
    if let RouteNetlinkMessage::NewLink(link) = answer { Some(link) } else { None }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EADDRNOTAVAIL | libc::ESRCH))
}

/// What was to be removed and is not there any more is removed.
///
/// # Errors
/// Every other error.
pub fn or_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if gone(&error) => Ok(()),
        result => result,
    }
}
