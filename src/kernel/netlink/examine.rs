//! What only those ask who want to know why packets do not arrive: routes of every table, where
//! the kernel would send a packet, what state a bridge's port is in, and whether a neighbour
//! answers.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use ipnetwork::IpNetwork;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    BridgePortState, InfoBridgePort, InfoPortData, LinkAttribute, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::{Netlink, RouteSeen, route};

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
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages: Vec<RouteMessage> = self.wait(self.handle.route().get(all).execute().try_collect())?;
        Ok(messages.iter().filter_map(table_route).collect())
    }

    /// The IPv4 addresses of all links, each with its link's number.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ipv4_addresses_by_link(&self) -> io::Result<Vec<(u32, IpNetwork)>> {
        let mut request = self.handle.address().get();
        request.message_mut().header.family = AddressFamily::Inet;
        let messages: Vec<AddressMessage> = self.wait(request.execute().try_collect())?;
        let address = |message: &AddressMessage| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) => IpNetwork::new(*ip, message.header.prefix_len).ok(),
                _ => None,
            })
        };
        Ok(messages.iter().filter_map(|message| Some((message.header.index, address(message)?))).collect())
    }

    /// The number of the link by which the kernel would send a packet to `address`.
    ///
    /// # Errors
    /// No route leads there, or one that says so.
    pub fn way_to(&self, address: Ipv4Addr) -> io::Result<Option<u32>> {
        let to = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
        let messages: Vec<RouteMessage> = self.wait(self.handle.route().get(to).execute().try_collect())?;
        Ok(messages.iter().find_map(route).and_then(|found| found.link))
    }

    /// The names of the bridges' ports that somebody has disabled: they pass nothing on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn disabled_ports(&self) -> io::Result<Vec<String>> {
        let messages: Vec<LinkMessage> = self.wait(self.handle.link().get().execute().try_collect())?;
        let disabled = messages.iter().filter(|message| is_disabled_port(message));
        let name = |message: &LinkMessage| {
            message.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            })
        };
        Ok(disabled.filter_map(name).collect())
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

fn is_disabled_port(message: &LinkMessage) -> bool {
    message.attributes.iter().any(|attribute| {
        let LinkAttribute::LinkInfo(infos) = attribute else { return false };
        infos.iter().any(|info| {
            let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else { return false };
            port.contains(&InfoBridgePort::State(BridgePortState::Disabled))
        })
    })
}
