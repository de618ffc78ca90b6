//! What every message to netfilter is made of; and the number of the nftables ruleset, which
//! tells whether anybody has changed it.

use std::io;

use rtnetlink::sys::{Socket, SocketAddr};

/// `NETLINK_NETFILTER`, from `linux/netlink.h`.
const NETLINK_NETFILTER: isize = 12;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`, from `linux/netfilter/nf_tables.h`.
const GETGEN: u16 = 10 << 8 | 16;
/// `NLM_F_REQUEST`.
pub(super) const REQUEST: u16 = 1;
/// `NFTA_GEN_ID`, four bytes in network order.
const GEN_ID: u16 = 1;
/// A netlink header.
const HEADER: usize = 16;
/// A netlink header, and the `nfgenmsg` after it.
pub(super) const HEADERS: usize = HEADER + 4;

/// The number of the nftables ruleset of the calling thread's network namespace: one more with
/// every transaction, whoever makes it. `None` where the kernel has no nftables.
pub fn generation() -> Option<u64> {
    let socket = open().ok()?;
    send(&socket, &message(GETGEN, REQUEST, 0, &[])).ok()?;
    let (answer, _) = socket.recv_from_full().ok()?;
    parse(&answer)
}

/// Finds the generation among the attributes after the headers.
fn parse(answer: &[u8]) -> Option<u64> {
    let (kind, body) = messages(answer).next()?;
    if kind >> 8 != GETGEN >> 8 {
        return None;
    }
    let number = find(body.get(4..)?, GEN_ID)?;
    Some(u64::from(u32::from_be_bytes(number.try_into().ok()?)))
}

/// A socket in the calling thread's network namespace.
pub(super) fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    Ok(socket)
}

/// Sends a message to the kernel.
pub(super) fn send(socket: &Socket, message: &[u8]) -> io::Result<()> {
    socket.send_to(message, &SocketAddr::new(0, 0), 0).map(drop)
}

/// A message with a netlink header and an `nfgenmsg`.
pub(super) fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
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
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut attribute = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// The kind of each message in a datagram, and what comes after its netlink header.
pub(super) fn messages(datagram: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut left = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(left.first_chunk::<4>().copied()?) as usize;
        let kind = u16::from_ne_bytes(left.get(4..6)?.try_into().ok()?);
        let body = left.get(HEADER..length)?;
        left = left.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// The value of the first attribute of this kind, nested or not.
pub(super) fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((head, _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        // The two highest bits say how the value is to be read (`NLA_TYPE_MASK`).
        if u16::from_ne_bytes([head[2], head[3]]) & 0x3fff == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
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
}
