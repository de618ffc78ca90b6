//! Messages to the kernel's netfilter: what they are made of, how they are sent and answered; and
//! the number of the nftables ruleset, which tells whether anybody has changed it.

use std::cell::OnceCell;
use std::io;
use std::rc::Rc;

use nix::libc::MSG_DONTWAIT;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

/// `NFNL_SUBSYS_NFTABLES`, from `linux/netfilter/nfnetlink.h`, as the upper half of a kind.
pub(crate) const NFTABLES: u16 = 10 << 8;
/// `NFT_MSG_GETGEN`, from `linux/netfilter/nf_tables.h`.
const GETGEN: u16 = NFTABLES | 16;
/// `NFTA_GEN_ID`, four bytes in network order.
const GEN_ID: u16 = 1;
/// `NFNL_MSG_BATCH_BEGIN` and `NFNL_MSG_BATCH_END`, from `linux/netfilter/nfnetlink.h`.
const BATCH: [u16; 2] = [0x10, 0x11];

// From `linux/netlink.h`.
pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`.
const DUMP_INTERRUPTED: u16 = 0x10;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const NESTED: u16 = 1 << 15;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// A netlink header.
const HEADER: usize = 16;
/// A netlink header, and the `nfgenmsg` after it.
pub(crate) const HEADERS: usize = HEADER + 4;

/// What the kernel puts into one datagram at most, in bytes (`NLMSG_GOODSIZE`).
const DATAGRAM: usize = 32 * 1024;
/// When to stop listening, in datagrams: far beyond the largest table there is.
const MAX_DATAGRAMS: usize = 1 << 20;
/// What can be sent at once without asking for more room, in bytes: less than any kernel's default.
const ROOM: usize = 128 * 1024;

/// A socket in the network namespace of the thread that needs it first, opened then. To close it
/// waits for what others have deleted from nftables: it stays open until the last clone is gone.
#[derive(Debug, Clone, Default)]
pub struct Netfilter {
    socket: Rc<OnceCell<Socket>>,
}

impl Netfilter {
    /// The socket.
    pub(crate) fn socket(&self) -> io::Result<&Socket> {
        if let Some(socket) = self.socket.get() {
            return Ok(socket);
        }
        let socket = Socket::new(NETLINK_NETFILTER)?;
        Ok(self.socket.get_or_init(|| socket))
    }

    /// The number of the nftables ruleset: one more with every transaction, whoever makes it.
    /// `None` where the kernel has no nftables.
    pub fn generation(&self) -> Option<u64> {
        let socket = self.socket().ok()?;
        send(socket, &message(GETGEN, REQUEST, 0, &[])).ok()?;
        let mut answer = Vec::with_capacity(DATAGRAM);
        socket.recv(&mut answer, 0).ok()?;
        parse(&answer)
    }
}

/// Finds the generation among the attributes after the headers.
fn parse(answer: &[u8]) -> Option<u64> {
    let (kind, _, body) = messages(answer).next()?;
    if kind >> 8 != GETGEN >> 8 {
        return None;
    }
    let number = find(body.get(4..)?, GEN_ID)?;
    Some(u64::from(u32::from_be_bytes(number.try_into().ok()?)))
}

/// Sends a message to the kernel.
pub(crate) fn send(socket: &Socket, message: &[u8]) -> io::Result<()> {
    socket.send_to(message, &SocketAddr::new(0, 0), 0).map(drop)
}

/// Passes on what the kernel sends, each message's attributes, until it says that this was all,
/// or what went wrong. `false` if what it told of was being changed meanwhile.
pub(crate) fn listen(socket: &Socket, mut entry: impl FnMut(&[u8])) -> io::Result<bool> {
    let (mut datagram, mut whole) = (Vec::with_capacity(DATAGRAM), true);
    for _ in 0..MAX_DATAGRAMS {
        datagram.clear();
        socket.recv(&mut datagram, 0)?;
        for (kind, flags, body) in messages(&datagram) {
            whole &= flags & DUMP_INTERRUPTED == 0;
            match kind {
                ERROR | DONE => return result(body).map(|()| whole),
                _ => entry(body.get(HEADERS - HEADER..).unwrap_or_default()),
            }
        }
    }
    Err(io::Error::other("the kernel does not come to an end"))
}

/// Makes `messages` one transaction: all of them, or none. Each must be a request of nftables.
///
/// # Errors
/// The first message that the kernel refuses, and why; it has acted on none.
pub(crate) fn transact(socket: &Socket, messages: &mut [Vec<u8>]) -> Result<(), (usize, io::Error)> {
    let Some(last) = messages.len().checked_sub(1) else { return Ok(()) };
    let flags = u16::from_ne_bytes([messages[last][6], messages[last][7]]);
    messages[last][6..8].copy_from_slice(&(ACK | flags).to_ne_bytes());
    for (at, message) in messages.iter_mut().enumerate() {
        message[8..12].copy_from_slice(&(at as u32 + 1).to_ne_bytes());
    }
    let [begin, end] = BATCH.map(|kind| {
        let mut bound = message(kind, REQUEST, 0, &[]);
        bound[HEADER + 2..HEADERS].copy_from_slice(&(NFTABLES >> 8).to_be_bytes());
        bound
    });
    let batch = [&begin[..], &messages.concat(), &end].concat();
    if batch.len() > ROOM {
        rustix::net::sockopt::set_socket_send_buffer_size_force(socket, 2 * batch.len())
            .map_err(|error| (0, error.into()))?;
    }
    send(socket, &batch).map_err(|error| (0, error))?;
    // By now all answers are there: of each message that was refused, and of the last; or one
    // about the whole.
    let (mut datagram, mut refused) = (Vec::with_capacity(DATAGRAM), None);
    loop {
        datagram.clear();
        socket.recv(&mut datagram, MSG_DONTWAIT).map_err(|error| (0, error))?;
        let number = |at: usize| datagram.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
        let (of, answer) =
            (number(8).unwrap_or_default() as usize, result(datagram.get(HEADER..).unwrap_or_default()));
        if let (Err(error), None) = (answer, &refused) {
            refused = Some((of.saturating_sub(1), error));
        }
        if of == 0 || of > last {
            return refused.map_or(Ok(()), Err);
        }
    }
}

/// What an error message or the end of a list says.
fn result(body: &[u8]) -> io::Result<()> {
    let code = body.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}

/// A message with a netlink header and an `nfgenmsg`.
pub(crate) fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADERS + attributes.len());
    message.extend(((HEADERS + attributes.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, 0, 0, 0]);
    message.extend(attributes);
    message
}

/// An attribute, padded to the next one.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = Vec::with_capacity(value.len().next_multiple_of(4) + 4);
    put(&mut attribute, kind, |attribute| attribute.extend(value));
    attribute
}

/// Writes an attribute behind others, padded to the next one. Its value must be shorter than 64 KiB.
pub(crate) fn put(attributes: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = attributes.len();
    attributes.extend([0, 0]);
    attributes.extend(kind.to_ne_bytes());
    value(attributes);
    let length = (attributes.len() - start) as u16;
    attributes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    attributes.resize(attributes.len().next_multiple_of(4), 0);
}

/// The kind and flags of each message in a datagram, and what comes after its netlink header.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, u16, &[u8])> {
    let mut left = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(left.first_chunk::<4>().copied()?) as usize;
        let number = |at: usize| Some(u16::from_ne_bytes(left.get(at..at + 2)?.try_into().ok()?));
        let (kind, flags) = (number(4)?, number(6)?);
        let body = left.get(HEADER..length)?;
        left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, flags, body))
    })
}

/// Each attribute's kind, without what says how its value is to be read, and its value.
pub(crate) fn attributes(mut left: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = left.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = left.get(4..length)?;
        // The two highest bits are `NLA_TYPE_MASK`'s.
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind, nested or not.
pub(crate) fn find(all: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(all).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_found_and_nothing_else_taken_for_it() {
        let mut answer = message(10 << 8 | 15, 0, 0, &attribute(GEN_ID, &[0, 0, 1, 2]));
        assert_eq!(parse(&answer), Some(258));
        assert_eq!(parse(&answer[..22]), None);
        answer[5] = 0;
        assert_eq!(parse(&answer), None, "an error message");
    }

    #[test]
    fn attributes_are_read_back_and_what_is_cut_short_is_none() {
        let mut all = attribute(1, b"abc");
        put(&mut all, 2 | NESTED, |inner| put(inner, 3, |value| value.extend(b"12345")));
        assert_eq!(all.len(), 8 + 4 + 12);
        assert_eq!(find(&all, 1), Some(&b"abc"[..]));
        assert_eq!(find(find(&all, 2).unwrap(), 3), Some(&b"12345"[..]));
        assert_eq!(find(&all, 3), None);
        assert_eq!(attributes(&all[..all.len() - 4]).count(), 1);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }
}
