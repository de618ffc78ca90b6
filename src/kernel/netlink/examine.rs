//! What only those ask who want to know why packets do not arrive: routes of every table, where
//! the kernel would send a packet, and whether a neighbour answers.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::seen::route;
use super::{Netlink, RouteSeen};

/// How long a neighbour may take to answer. On one machine it takes less than a millisecond.
const PATIENCE: Duration = Duration::from_millis(1200);
/// Where nobody listens (`discard`, RFC 863): a datagram to it makes the kernel look for the
/// neighbour.
const DISCARD: u16 = 9;

/// A route of any table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRoute {
    /// Where it leads.
    pub route: RouteSeen,
    /// The table's number; 254 is `main`.
    pub table: u32,
    /// The lower, the better.
    pub metric: u32,
    /// `blackhole`, `unreachable`, `prohibit`, `throw`; `None` for one that leads somewhere.
    pub kind: Option<&'static str>,
}

impl Netlink {
    /// The IPv4 routes of every table but the kernel's own (`local`).
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn all_routes(&self) -> io::Result<Vec<TableRoute>> {
        Ok(self.route_messages(AddressFamily::Inet)?.iter().filter_map(table_route).collect())
    }

    /// The number of the link by which the kernel would send a packet to `address`.
    ///
    /// # Errors
    /// No route leads there, or one that says so.
    pub fn way_to(&self, address: Ipv4Addr) -> io::Result<Option<u32>> {
        let mut to = RouteMessage::default();
        to.header.address_family = AddressFamily::Inet;
        to.header.destination_prefix_length = 32;
        to.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(address)));
        let messages: Vec<RouteMessage> = self.wait(self.handle.route().get(to).execute().try_collect())?;
        Ok(messages.iter().find_map(route).and_then(|found| found.link))
    }

    /// Whether the neighbour `address` on the link of this number answers to ARP, in the
    /// calling thread's network namespace, which must be that of this socket. An answer that is
    /// remembered does not count. Asked twice, since a machine may be busy.
    ///
    /// # Errors
    /// There is no way to ask; or the kernel has no room to remember an answer: the table of
    /// neighbours is one for all namespaces.
    pub fn answers(&self, link: u32, address: Ipv4Addr) -> io::Result<bool> {
        Ok(self.answers_once(link, address)? || self.answers_once(link, address)?)
    }

    fn answers_once(&self, link: u32, address: Ipv4Addr) -> io::Result<bool> {
        use NeighbourState::{Failed, Incomplete, Noarp, Permanent, Reachable};
        match self.neighbour(link, address)? {
            Some(Permanent | Noarp) => return Ok(true),
            None | Some(Failed | Incomplete | NeighbourState::None) => {
                UdpSocket::bind("0.0.0.0:0")?.send_to(&[], (address, DISCARD)).map(drop)?;
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
        let request = self.handle.neighbours().get().set_address_family(AddressFamily::Inet).execute();
        let messages: Vec<NeighbourMessage> = self.wait(request.try_collect())?;
        let wanted = NeighbourAttribute::Destination(NeighbourAddress::Inet(address));
        let found = messages
            .into_iter()
            .find(|message| message.header.ifindex == link && message.attributes.contains(&wanted));
        Ok(found.map(|message| message.header.state))
    }

    /// Makes the kernel ask a neighbour that it knows, at once.
    fn ask_again(&self, link: u32, address: Ipv4Addr) -> io::Result<()> {
        let request = self.handle.neighbours().add(link, IpAddr::V4(address));
        self.wait(request.state(NeighbourState::Probe).replace().execute())
    }
}

fn table_route(message: &RouteMessage) -> Option<TableRoute> {
    let kind = match message.header.kind {
        RouteType::Unicast => None,
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Unreachable => Some("unreachable"),
        RouteType::Prohibit => Some("prohibit"),
        RouteType::Throw => Some("throw"),
        _ => return None,
    };
    let (mut table, mut metric) = (u32::from(message.header.table), 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            _ => {}
        }
    }
    Some(TableRoute { route: route(message)?, table, metric, kind })
}
