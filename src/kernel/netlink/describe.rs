//! From the kernel's messages to the values of [`crate::model::observed`].

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Stats64,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia};

use crate::model::observed::{BridgePort, Counter, Counters, Link, Links, Route};
use crate::model::rule::Family;

/// A link, with everything that the message says of it.
pub(in crate::kernel) fn describe(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        loopback: flags.contains(LinkFlags::Loopback),
        up: flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.address.clone_from(address),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::LinkNetNsId(number) => link.peer_netns = Some(*number),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::OperState(state) => link.state = format!("{state:?}").to_lowercase(),
            LinkAttribute::Stats64(stats) => link.counters = counters(stats),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| match info {
                LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                LinkInfo::PortData(InfoPortData::BridgePort(facts)) => link.port = Some(port(facts)),
                _ => {}
            }),
            _ => {}
        }
    }
    link
}

fn counters(stats: &Stats64) -> Counters {
    let counter = |bytes, packets, errors, dropped| Counter { bytes, packets, errors, dropped };
    Counters {
        rx: counter(stats.rx_bytes, stats.rx_packets, stats.rx_errors, stats.rx_dropped),
        tx: counter(stats.tx_bytes, stats.tx_packets, stats.tx_errors, stats.tx_dropped),
    }
}

fn port(facts: &[InfoBridgePort]) -> BridgePort {
    let mut port = BridgePort::default();
    for fact in facts {
        match fact {
            InfoBridgePort::PortNumber(number) => port.number = *number,
            InfoBridgePort::State(state) => port.state = format!("{state:?}").to_lowercase(),
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            _ => {}
        }
    }
    port
}

/// A link's name.
pub(in crate::kernel) fn name_of(link: &LinkMessage) -> &str {
    let name = link.attributes.iter().find_map(when!(LinkAttribute::IfName(name) => name.as_str()));
    name.unwrap_or_default()
}

/// An interface's own address: on a point-to-point link the other attribute is the peer's, and
/// IPv6 mostly has the other one alone.
pub(in crate::kernel) fn address_of(message: &AddressMessage) -> Option<IpNetwork> {
    let attributes = message.attributes.iter();
    let local = attributes.clone().find_map(when!(AddressAttribute::Local(ip) => *ip));
    let other = attributes.clone().find_map(when!(AddressAttribute::Address(ip) => *ip));
    IpNetwork::new(local.or(other)?, message.header.prefix_len).ok()
}

/// A route, once for each of its next hops; nothing for what the kernel routes to itself.
pub(super) fn routes(message: &RouteMessage, links: &Links) -> Vec<Route> {
    let Some(route) = route(message) else { return Vec::new() };
    let next_hops: Vec<(Option<u32>, Option<IpAddr>)> = message
        .attributes
        .iter()
        .find_map(when!(RouteAttribute::MultiPath(next_hops) => next_hops))
        .map(|all| all.iter().map(|next| (Some(next.interface_index), gateway(&next.attributes))).collect())
        .unwrap_or_else(|| vec![(route.link, gateway(&message.attributes))]);
    let name = |index| links.by_index(index).map(|link| link.name.clone());
    next_hops
        .into_iter()
        .map(|(link, gateway)| Route { gateway, link, link_name: link.and_then(name), ..route.clone() })
        .collect()
}

fn route(message: &RouteMessage) -> Option<Route> {
    let kind = match message.header.kind {
        RouteType::Unicast => None,
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Unreachable => Some("unreachable"),
        RouteType::Prohibit => Some("prohibit"),
        RouteType::Throw => Some("throw"),
        _ => return None,
    };
    let number = u8::from(message.header.address_family);
    let mut destination = Family::ALL.into_iter().find(|family| family.number() == number)?.unspecified();
    let (mut table, mut metric, mut link) = (u32::from(message.header.table), 0, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(to)) => destination = IpAddr::V4(*to),
            RouteAttribute::Destination(RouteAddress::Inet6(to)) => destination = IpAddr::V6(*to),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            _ => {}
        }
    }
    let destination = IpNetwork::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Route { destination, gateway: None, link, link_name: None, table, metric, kind })
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
