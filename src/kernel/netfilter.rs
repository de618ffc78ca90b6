//! The one question to netfilter that needs no program: has anybody changed the rules?

use rtnetlink::sys::{Socket, SocketAddr};

/// `NETLINK_NETFILTER`, from `linux/netlink.h`.
const NETLINK_NETFILTER: isize = 12;
/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN`, from `linux/netfilter/nf_tables.h`.
const GETGEN: u16 = 10 << 8 | 16;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NFTA_GEN_ID`, four bytes in network order.
const GEN_ID: u16 = 1;
/// A netlink header, and the `nfgenmsg` after it.
const HEADERS: usize = 16 + 4;

/// The number of the nftables ruleset of the calling thread's network namespace: one more with
/// every transaction, whoever makes it. `None` where the kernel has no nftables.
pub fn generation() -> Option<u64> {
    let mut socket = Socket::new(NETLINK_NETFILTER).ok()?;
    socket.bind_auto().ok()?;
    let mut request = Vec::with_capacity(HEADERS);
    request.extend((HEADERS as u32).to_ne_bytes());
    request.extend(GETGEN.to_ne_bytes());
    request.extend(REQUEST.to_ne_bytes());
    request.extend([0; 8 + 4]);
    socket.send_to(&request, &SocketAddr::new(0, 0), 0).ok()?;
    let (answer, _) = socket.recv_from_full().ok()?;
    parse(&answer)
}

/// Finds the generation among the attributes after the headers.
fn parse(answer: &[u8]) -> Option<u64> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if kind >> 8 != GETGEN >> 8 {
        return None;
    }
    let mut attributes = answer.get(HEADERS..)?;
    while let Some((head, _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) == GEN_ID {
            return Some(u64::from(u32::from_be_bytes(value.try_into().ok()?)));
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
        let mut answer = vec![0; 4];
        answer.extend((10u16 << 8 | 15).to_ne_bytes());
        answer.extend([0; 14]);
        answer.extend([8, 0, 1, 0, 0, 0, 1, 2]);
        assert_eq!(parse(&answer), Some(258));
        assert_eq!(parse(&answer[..22]), None);
        answer[5] = 0;
        assert_eq!(parse(&answer), None, "an error message");
    }
}
