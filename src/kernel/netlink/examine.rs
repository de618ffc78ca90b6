//! What only those ask who want to know why packets do not arrive: where the kernel would send
//! a packet, and whether a neighbour answers.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use super::ports::neighbour;

/// How long a neighbour may take to answer. On one machine it takes less than a millisecond.
const PATIENCE: Duration = Duration::from_millis(1200);
/// Where nobody listens (`discard`, RFC 863): a datagram to it makes the kernel ask for the
/// neighbour.
const DISCARD: u16 = 9;

impl Netlink {
    /// The number of the link by which the kernel would send a packet to `address`.
    ///
    /// # Errors
    /// No route leads there, or one that says so; `Unsupported` for IPv6.
    pub fn way_to(&self, address: IpAddr) -> io::Result<Option<u32>> {
        let address = only_ipv4(address)?;
        let mut to = RouteMessage::default();
        to.header.address_family = AddressFamily::Inet;
        to.header.destination_prefix_length = 32;
        to.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
        self.ask(RouteNetlinkMessage::GetRoute(to), |answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else { return None };
            route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            })
        })
    }

    /// Whether the neighbour `address` on the link of this number answers to ARP, in the
    /// calling thread's network namespace, which must be that of this socket. An answer that is
    /// remembered does not count. Asked twice, since a machine may be busy.
    ///
    /// # Errors
    /// The question cannot be sent; or the kernel has no room to remember an answer: the table
    /// of neighbours is one for all namespaces. `Unsupported` for IPv6.
    pub fn answers(&self, link: u32, address: IpAddr) -> io::Result<bool> {
        let address = only_ipv4(address)?;
        Ok(self.answers_once(link, address)? || self.answers_once(link, address)?)
    }

    fn answers_once(&self, link: u32, address: Ipv4Addr) -> io::Result<bool> {
        use NeighbourState::{Failed, Incomplete, Noarp, Permanent, Reachable};
        match self.neighbour(link, address)? {
            Some(Permanent | Noarp) => return Ok(true),
            None | Some(Failed | Incomplete | NeighbourState::None) => {
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.send_to(&[], (address, DISCARD)).map(drop)?;
            }
            Some(_) => self.ask_again(link, address)?,
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.neighbour(link, address)? {
                Some(Reachable) => return Ok(true),
                Some(Failed) => return Ok(false),
                found if Instant::now() > end => {
                    return if found.is_some() { Ok(false) } else { Err(ErrorKind::OutOfMemory.into()) };
                }
                _ => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    fn neighbour(&self, link: u32, address: Ipv4Addr) -> io::Result<Option<NeighbourState>> {
        let mut all = NeighbourMessage::default();
        all.header.family = AddressFamily::Inet;
        let wanted = NeighbourAttribute::Destination(NeighbourAddress::Inet(address));
        let found = self.table(RouteNetlinkMessage::GetNeighbour(all), |answer| match answer {
            RouteNetlinkMessage::NewNeighbour(entry)
                if entry.header.ifindex == link && entry.attributes.contains(&wanted) =>
            {
                Some(entry.header.state)
            }
            _ => None,
        });
        Ok(found?.into_iter().next())
    }

    /// Makes the kernel ask a neighbour that it knows, at once.
    fn ask_again(&self, link: u32, address: Ipv4Addr) -> io::Result<()> {
        let mut entry = neighbour(link, IpAddr::V4(address));
        entry.header.state = NeighbourState::Probe;
        self.put_neighbour(entry)
    }
}

fn only_ipv4(address: IpAddr) -> io::Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(ErrorKind::Unsupported.into()),
    }
}
