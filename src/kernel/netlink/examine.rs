//! What only those ask who want to know why packets do not arrive: where the kernel would send
//! a packet, and whether a neighbour answers.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage};

use super::Netlink;
use super::ports::neighbour;
use crate::model::rule::Family;

/// How long a neighbour may take to answer. On one machine it takes less than a millisecond.
const PATIENCE: Duration = Duration::from_millis(1200);
/// Where nobody listens (`discard`, RFC 863): a datagram to it makes the kernel ask for the
/// neighbour.
const DISCARD: u16 = 9;

impl Netlink {
    /// The number of the link by which the kernel would send a packet to `address`.
    ///
    /// # Errors
    /// No route leads there, or one that says so.
    pub fn way_to(&self, address: IpAddr) -> io::Result<Option<u32>> {
        let mut to = RouteMessage::default();
        let family = Family::of(address);
        (to.header.address_family, to.header.destination_prefix_length) =
            (family.number().into(), family.bits());
        to.attributes.push(RouteAttribute::Destination(address.into()));
        self.ask(RouteNetlinkMessage::GetRoute(to), |answer| {
            let RouteNetlinkMessage::NewRoute(route) = answer else { return None };
            route.attributes.iter().find_map(when!(RouteAttribute::Oif(index) => *index))
        })
    }

    /// Whether the neighbour `address` on the link of this number answers, in the
    /// calling thread's network namespace, which must be that of this socket. An answer that is
    /// remembered does not count. Asked twice, since a machine may be busy.
    ///
    /// # Errors
    /// The question cannot be sent; or the kernel has no room to remember an answer: the table
    /// of neighbours is one for all namespaces.
    pub fn answers(&self, link: u32, address: IpAddr) -> io::Result<bool> {
        Ok(self.answers_once(link, address)? || self.answers_once(link, address)?)
    }

    fn answers_once(&self, link: u32, address: IpAddr) -> io::Result<bool> {
        use NeighbourState::{Failed, Incomplete, Noarp, Permanent, Reachable};
        match self.neighbour(link, address)? {
            Some(Permanent | Noarp) => return Ok(true),
            None | Some(Failed | Incomplete | NeighbourState::None) => {
                let any = Family::of(address).unspecified();
                UdpSocket::bind((any, 0))?.send_to(&[], (address, DISCARD)).map(drop)?;
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

    fn neighbour(&self, link: u32, address: IpAddr) -> io::Result<Option<NeighbourState>> {
        let found = self.neighbours(Family::of(address))?.into_iter();
        let mut found = found.filter(|entry| entry.link == link && entry.address == address);
        Ok(found.next().map(|entry| entry.state))
    }

    /// Makes the kernel ask a neighbour that it knows, at once.
    fn ask_again(&self, link: u32, address: IpAddr) -> io::Result<()> {
        let mut entry = neighbour(link, address);
        entry.header.state = NeighbourState::Probe;
        self.put_neighbour(entry)
    }
}
