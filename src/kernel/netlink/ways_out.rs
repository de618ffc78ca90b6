//! The default routes, of both families and with each of several next hops.

use std::io;
use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia,
};

use super::Netlink;

/// One way to everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayOut {
    /// The index of the link that it leaves by.
    pub link: u32,
    /// The next hop, if there is one.
    pub gateway: Option<IpAddr>,
}

impl Netlink {
    /// The default routes of the main table, IPv4 before IPv6.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ways_out(&self) -> io::Result<Vec<WayOut>> {
        let mut ways = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let routes = self.route_messages(family)?;
            ways.extend(routes.iter().filter(|route| is_default(route)).flat_map(hops));
        }
        Ok(ways)
    }
}

fn is_default(message: &RouteMessage) -> bool {
    let header = &message.header;
    header.destination_prefix_length == 0
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.kind == RouteType::Unicast
}

fn hops(message: &RouteMessage) -> Vec<WayOut> {
    let several = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    if let Some(hops) = several {
        return hops
            .iter()
            .map(|hop| WayOut { link: hop.interface_index, gateway: gateway(&hop.attributes) })
            .collect();
    }
    let link = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    });
    link.map(|link| WayOut { link, gateway: gateway(&message.attributes) }).into_iter().collect()
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip)) | RouteAttribute::Via(RouteVia::Inet(ip)) => {
            Some(IpAddr::V4(*ip))
        }
        RouteAttribute::Gateway(RouteAddress::Inet6(ip)) | RouteAttribute::Via(RouteVia::Inet6(ip)) => {
            Some(IpAddr::V6(*ip))
        }
        _ => None,
    })
}
