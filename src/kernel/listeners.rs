//! Who listens on the host: asked of the kernel by `sock_diag(7)`, so that a range of a thousand
//! ports costs one question, like a single one.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;

use nix::libc::{AF_INET, AF_INET6};
use rtnetlink::sys::{Socket, SocketAddr};

use crate::model::observed::Listener;
use crate::model::port::{PortMapping, Ports, Protocol};

/// `NETLINK_SOCK_DIAG`, from `linux/netlink.h`.
const SOCK_DIAG: isize = 4;
/// `SOCK_DIAG_BY_FAMILY`, from `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `1 << TCP_LISTEN`; asked for any other state besides, the kernel walks all connections.
const TCP_LISTENS: u32 = 1 << 10;
/// `1 << TCP_CLOSE`, which is what an unconnected UDP socket is in.
const UDP_LISTENS: u32 = 1 << 7;
/// A netlink header, and an `inet_diag_req_v2` after it.
const REQUEST: usize = 16 + 56;
/// An `inet_diag_msg`, from `linux/inet_diag.h`.
const MESSAGE: usize = 72;
/// What the kernel puts into one answer at most, in bytes.
const ANSWER: usize = 32 * 1024;
/// Answers read at most for one question; each is a page or more of sockets.
const ANSWERS: usize = 4096;

/// A socket of the host that others send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// The protocol that it speaks.
    pub protocol: Protocol,
    /// The address that it is bound to; the unspecified one for all. An IPv6 address that stands
    /// for an IPv4 one is that one.
    pub address: IpAddr,
    /// The port that it is bound to.
    pub port: u16,
    /// The inode of the socket.
    pub inode: u32,
}

impl Listening {
    /// What it keeps others from publishing.
    pub fn mapping(&self) -> PortMapping {
        let ports = Ports { first: self.port, last: self.port };
        // On `::` it hears both families, unless it has asked for one alone.
        let host_ip = Some(self.address).filter(|ip| ip.is_ipv6() || !ip.is_unspecified());
        PortMapping { host_ip, host: ports, container: ports, protocol: self.protocol, from: Vec::new() }
    }
}

/// Where programs of the calling thread's network namespace listen. A kernel that does not
/// answer hides them: then the container gets its port, and the listener no longer hears it.
pub fn of(protocols: &[Protocol]) -> Vec<Listening> {
    let mut found = Vec::new();
    let socket = if protocols.is_empty() { None } else { open() };
    for protocol in protocols {
        let families = [AF_INET, AF_INET6].into_iter();
        found.extend(families.filter_map(|family| dump(socket.as_ref()?, family, *protocol)).flatten());
    }
    // Nothing is led away from there.
    found.retain(|socket| socket.address != IpAddr::V6(Ipv6Addr::LOCALHOST));
    found
}

/// Those who listen where one of `wanted` would be published.
pub fn in_the_way(wanted: &[PortMapping]) -> Vec<Listener> {
    let asked = |protocol: &Protocol| wanted.iter().any(|wanted| wanted.protocol == *protocol);
    let protocols: Vec<Protocol> = [Protocol::Tcp, Protocol::Udp].into_iter().filter(asked).collect();
    let conflicts = |at: &PortMapping| wanted.iter().any(|wanted| wanted.conflicts(at));
    let found = of(&protocols).into_iter().map(|socket| (socket.mapping(), socket.inode));
    let found = found.filter(|(at, _)| conflicts(at));
    found.map(|(at, inode)| Listener { at, who: owner(inode) }).collect()
}

/// Whether a program of the calling thread's network namespace could listen on this address.
pub fn has_address(address: IpAddr) -> bool {
    let absent = |error: &io::Error| error.kind() == ErrorKind::AddrNotAvailable;
    !UdpSocket::bind((address, 0)).is_err_and(|error| absent(&error))
}

/// Where programs of the calling thread's network namespace listen; `None` if the kernel does
/// not say.
pub fn listening(protocol: Protocol) -> Option<Vec<(IpAddr, u16)>> {
    let socket = open()?;
    let four = dump(&socket, AF_INET, protocol)?;
    let six = dump(&socket, AF_INET6, protocol).unwrap_or_default();
    Some(four.into_iter().chain(six).map(|socket| (socket.address, socket.port)).collect())
}

fn open() -> Option<Socket> {
    Socket::new(SOCK_DIAG).ok()
}

fn dump(socket: &Socket, family: i32, protocol: Protocol) -> Option<Vec<Listening>> {
    let (number, states) = match protocol {
        Protocol::Tcp => (nix::libc::IPPROTO_TCP, TCP_LISTENS),
        Protocol::Udp => (nix::libc::IPPROTO_UDP, UDP_LISTENS),
        Protocol::Sctp => return None,
    };
    let mut request = Vec::with_capacity(REQUEST);
    request.extend((REQUEST as u32).to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family as u8, number as u8, 0, 0]);
    request.extend(states.to_ne_bytes());
    request.resize(REQUEST, 0);
    socket.send_to(&request, &SocketAddr::new(0, 0), 0).ok()?;
    let (mut found, mut answer) = (Vec::new(), Vec::with_capacity(ANSWER));
    for _ in 0..ANSWERS {
        answer.clear();
        socket.recv(&mut answer, 0).ok()?;
        if !read(&answer, protocol, &mut found) {
            break;
        }
    }
    Some(found)
}

/// Reads the messages of one answer; whether there are more answers to come.
fn read(mut answer: &[u8], protocol: Protocol, found: &mut Vec<Listening>) -> bool {
    while let Some((head, _)) = answer.split_first_chunk::<16>() {
        let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = u16::from_ne_bytes([head[4], head[5]]);
        let Some(payload) = answer.get(16..length) else { return false };
        if kind != BY_FAMILY {
            return false;
        }
        found.extend(parse(payload, protocol));
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// One `inet_diag_msg`.
fn parse(message: &[u8], protocol: Protocol) -> Option<Listening> {
    let message: &[u8; MESSAGE] = message.first_chunk()?;
    let source: [u8; 16] = message.get(8..24)?.try_into().ok()?;
    let address = match i32::from(message[0]) {
        AF_INET => IpAddr::from(Ipv4Addr::new(source[0], source[1], source[2], source[3])),
        _ => Ipv6Addr::from(source).to_canonical(),
    };
    let port = u16::from_be_bytes([message[4], message[5]]);
    let inode = u32::from_ne_bytes([message[68], message[69], message[70], message[71]]);
    Some(Listening { protocol, address, port, inode })
}

/// The process that has the socket with this inode open: `process 4711 (nginx)`. A walk through
/// all processes, for an error alone.
pub fn owner(inode: u32) -> String {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let files = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        if files.filter_map(|file| fs::metadata(file.path()).ok()).any(|file| file.ino() == u64::from(inode))
        {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return format!("process {pid} ({})", name.trim());
        }
    }
    "a process".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port_and_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let wanted = |protocol, host_ip: Option<&str>| PortMapping {
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host: Ports { first: port, last: port },
            container: Ports { first: 1, last: 1 },
            protocol,
            from: Vec::new(),
        };
        let found = in_the_way(&[wanted(Protocol::Tcp, None)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].who.starts_with(&format!("process {} (", std::process::id())), "{found:?}");
        assert_eq!(in_the_way(&[wanted(Protocol::Tcp, Some("127.0.0.1"))]).len(), 1);
        assert_eq!(in_the_way(&[wanted(Protocol::Tcp, Some("127.0.0.2"))]), []);
        assert_eq!(in_the_way(&[wanted(Protocol::Udp, None)]), []);
        let all = of(&[Protocol::Tcp]);
        assert_eq!(all.iter().filter(|socket| socket.port == port).count(), 1, "{all:?}");
        assert!(listening(Protocol::Tcp).unwrap().contains(&("127.0.0.1".parse().unwrap(), port)));
    }

    #[test]
    fn an_answer_cut_short_is_no_listener() {
        assert!(parse(&[2; MESSAGE - 1], Protocol::Tcp).is_none());
        let mut found = Vec::new();
        assert!(!read(&[255; 40], Protocol::Tcp, &mut found));
        assert!(found.is_empty());
    }
}
