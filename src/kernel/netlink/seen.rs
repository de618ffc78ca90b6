//! A link and a route in the words of `ip(8)`.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSeen {
    /// Its number, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// As `ip link show type` would take it; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// The link-layer address; empty where there is none.
    pub address: Vec<u8>,
    /// In bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The index of the other end, in the other end's namespace.
    pub peer: Option<u32>,
    /// Its alias.
    pub alias: Option<String>,
    /// Whether the kernel considers it able to carry packets: `up`, `down`, `lowerlayerdown`…
    pub state: String,
}

impl LinkSeen {
    /// The link-layer address in hexadecimal, with colons.
    pub fn mac(&self) -> String {
        self.address.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
    }
}

/// A route as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSeen {
    /// What it leads to; prefix length 0 for a default route.
    pub destination: IpNetwork,
    /// The next hop, if there is one.
    pub gateway: Option<IpAddr>,
    /// The index of the link that it leaves by, if it is one.
    pub link: Option<u32>,
}

/// What is to be known of a link.
pub(super) fn describe(message: &LinkMessage) -> LinkSeen {
    let mut link = LinkSeen {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..LinkSeen::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.address.clone_from(address),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::OperState(state) => link.state = format!("{state:?}").to_lowercase(),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

/// An IPv4 route.
pub(super) fn route(message: &RouteMessage) -> Option<RouteSeen> {
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        _ => None,
    };
    let (mut destination, mut gateway, mut link) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = address(to)?,
            RouteAttribute::Gateway(via) => gateway = address(via),
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    let destination = IpNetwork::new(destination, message.header.destination_prefix_length).ok()?;
    Some(RouteSeen { destination, gateway, link })
}
