//! What changes links, addresses and routes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ipnetwork::IpNetwork;
use nix::libc;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::{AddressMessageBuilder, LinkBridgePort, LinkUnspec, RouteMessageBuilder};

use super::{Netlink, or_gone};
use crate::model::link::Bridge;
use crate::model::route::{RouteSpec, Target};
use crate::model::rule::Family;
use crate::model::value::{Iface, Mac};

/// What is added must not be there yet.
const NEW: u16 = NLM_F_CREATE | NLM_F_EXCL;
/// See [`Netlink::await_carrier`]; in milliseconds.
const CARRIER_PATIENCE: u32 = 200;

impl Netlink {
    /// Creates a link.
    ///
    /// # Errors
    /// The kernel refuses; `EEXIST` where either end's name is taken.
    pub fn add_link(&self, message: LinkMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewLink(message), NEW)
    }

    /// Creates a bridge.
    ///
    /// # Errors
    /// The kernel refuses; `EEXIST` where the name is taken.
    pub fn add_bridge(&self, bridge: &Bridge) -> io::Result<()> {
        self.add_link(bridge.message())?;
        self.set_mtu(&bridge.name, bridge.mtu).inspect_err(|_| drop(self.delete(&bridge.name, bridge.mac)))
    }

    /// Deletes a bridge of ours, whatever somebody has called it since.
    ///
    /// # Errors
    /// The kernel refuses; already gone is fine.
    pub fn delete_bridge(&self, bridge: &Bridge) -> io::Result<()> {
        self.delete(&bridge.name, bridge.mac)?;
        match self.links()?.bridge_with(bridge.mac) {
            Some(renamed) => or_gone(self.delete_link(renamed.index)),
            None => Ok(()),
        }
    }

    /// Gives a link another name.
    ///
    /// # Errors
    /// There is no such link, or the name is taken.
    pub fn rename(&self, link: &Iface, name: &Iface) -> io::Result<()> {
        let index = self.index(link.as_str())?;
        let rename = || self.set_link(LinkUnspec::new_with_index(index).name(name.to_string()).build());
        match rename() {
            // Before Linux 6.2 a link that is up keeps its name.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                self.set_up(link, false)?;
                let renamed = rename();
                self.set_link(LinkUnspec::new_with_index(index).up().build()).and(renamed)
            }
            renamed => renamed,
        }
    }

    /// Changes a link by an `RTM_NEWLINK`.
    fn change_link(&self, message: LinkMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewLink(message), 0)
    }

    /// Changes a link by an `RTM_SETLINK`.
    pub(in crate::kernel) fn set_link(&self, message: LinkMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Sets a link's alias.
    ///
    /// # Errors
    /// There is no such link, or the kernel refuses.
    pub fn set_alias(&self, link: &Iface, alias: &str) -> io::Result<()> {
        self.change_link(LinkUnspec::new_with_name(link.as_str()).alias(alias).build())
    }

    /// Waits, at most a fifth of a second, until the kernel has acted on the carrier
    /// of a link whose other end has just come up. Until then it drops what the link is to send,
    /// and a bridge does not use it: the first ARP request would be lost, and the next comes a
    /// second later. Since Linux 6.14 the question itself makes the kernel act.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn await_carrier(&self, link: &Iface) -> io::Result<()> {
        for _ in 0..CARRIER_PATIENCE {
            match self.link(link.as_str())? {
                Some(found) if found.state != "up" => std::thread::sleep(Duration::from_millis(1)),
                _ => break,
            }
        }
        Ok(())
    }

    /// Makes a link a port of a bridge.
    ///
    /// # Errors
    /// There is no such link or bridge, or the kernel refuses.
    pub fn set_master(&self, link: &Iface, bridge: &Iface) -> io::Result<()> {
        let index = self.index(bridge.as_str())?;
        self.change_link(LinkUnspec::new_with_name(link.as_str()).controller(index).build())
    }

    /// Lets a port of a bridge send packets back out of itself.
    ///
    /// # Errors
    /// There is no such link, or it is no port of a bridge.
    pub fn set_hairpin(&self, port: &Iface) -> io::Result<()> {
        // Number 0 is none: the kernel goes by the name.
        self.change_link(LinkBridgePort::new(0).name(port.to_string()).hairpin(true).build())
    }

    /// Keeps a port of a bridge from others that are kept from it.
    ///
    /// # Errors
    /// There is no such link, or it is no port of a bridge.
    pub fn isolate(&self, port: &Iface) -> io::Result<()> {
        self.change_link(LinkBridgePort::new(0).name(port.to_string()).isolated(true).build())
    }

    /// Sets a link's MTU, in bytes.
    ///
    /// # Errors
    /// There is no such link, or it cannot have this MTU.
    pub fn set_mtu(&self, link: &Iface, mtu: u32) -> io::Result<()> {
        self.change_link(LinkUnspec::new_with_name(link.as_str()).mtu(mtu).build())
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// There is no such link, or the kernel refuses.
    pub fn set_up(&self, link: &Iface, up: bool) -> io::Result<()> {
        let message = LinkUnspec::new_with_name(link.as_str());
        self.change_link(if up { message.up() } else { message.down() }.build())
    }

    /// Deletes the link of this name and address, with the other end if it is a veth pair. One
    /// that has the name but another address is a stranger's, and ours is gone.
    ///
    /// # Errors
    /// The kernel refuses; already gone is fine.
    pub fn delete(&self, link: &Iface, mac: Mac) -> io::Result<()> {
        let found = self.link(link.as_str())?;
        match found.filter(|found| found.address == mac.0) {
            None => Ok(()),
            Some(found) => or_gone(self.delete_link(found.index)),
        }
    }

    /// Deletes the link with this number.
    pub(in crate::kernel) fn delete_link(&self, index: u32) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build()), 0)
    }

    /// Adds an address to a link, with the subnet's broadcast address; with `nodad` one of IPv6
    /// can be used at once.
    ///
    /// # Errors
    /// There is no such link, or it has the address (`EEXIST`).
    pub fn add_address(&self, link: &Iface, address: IpNetwork, nodad: bool) -> io::Result<()> {
        let mut message = address_on(self.index(link.as_str())?, address);
        if nodad {
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        self.change(RouteNetlinkMessage::NewAddress(message), NEW)
    }

    /// Deletes an address of a link.
    ///
    /// # Errors
    /// There is no such link or address.
    pub fn delete_address(&self, link: &Iface, address: IpNetwork) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelAddress(address_on(self.index(link.as_str())?, address)), 0)
    }

    /// Gives a link an address, or makes the one it has like this one.
    pub(in crate::kernel) fn put_address(&self, message: AddressMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Adds a route, to a table of its own if one is named. What leads nowhere, or is in such a
    /// table, may be there already.
    ///
    /// # Errors
    /// The next hop is not reachable over the link, or there is such a route (`EEXIST`).
    pub(in crate::kernel) fn add_route(
        &self,
        route: &RouteSpec,
        link: Option<&Iface>,
        table: Option<u8>,
    ) -> io::Result<()> {
        let index = link.map(|link| self.index(link.as_str())).transpose()?;
        let mut message = route_message(route, index);
        // One byte: a higher number would need an attribute.
        message.header.table = table.unwrap_or(message.header.table);
        let added = self.new_route(message);
        if table.is_some() || !route.has_a_link() { or_there(added) } else { added }
    }

    fn new_route(&self, message: RouteMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewRoute(message), NEW)
    }

    /// Adds a route, unless it is there.
    pub(in crate::kernel) fn put_route(&self, message: RouteMessage) -> io::Result<()> {
        or_there(self.new_route(message))
    }

    /// Adds a route to one address, for packets of at most `mtu` bytes.
    ///
    /// # Errors
    /// There is no such link, or there is a route (`EEXIST`).
    pub fn add_host_route(&self, link: &Iface, to: IpAddr, mtu: u32) -> io::Result<()> {
        let mut route = host_route(self.index(link.as_str())?, to);
        route.attributes.push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        self.new_route(route)
    }

    /// Deletes a route to one address.
    ///
    /// # Errors
    /// There is no such link or route.
    pub fn delete_host_route(&self, link: &Iface, to: IpAddr) -> io::Result<()> {
        self.change(RouteNetlinkMessage::DelRoute(host_route(self.index(link.as_str())?, to)), 0)
    }

    /// Sends what comes from `source` by a table, unless the main one knows better than by its
    /// default route. The rules stay when a container that still runs is detached, and then
    /// lead nowhere.
    pub(in crate::kernel) fn add_source_rule(&self, source: IpAddr, table: u8) -> io::Result<()> {
        let family = Family::of(source);
        let add = |table, src_len, attribute| {
            let mut rule = RuleMessage::default();
            rule.header.family = family.number().into();
            (rule.header.table, rule.header.action) = (table, RuleAction::ToTable);
            rule.header.src_len = src_len;
            rule.attributes.push(attribute);
            or_there(self.change(RouteNetlinkMessage::NewRule(rule), NEW))
        };
        add(table, family.bits(), RuleAttribute::Source(source))?;
        // Each new rule goes before those that are there.
        add(RouteHeader::RT_TABLE_MAIN, 0, RuleAttribute::SuppressPrefixLen(0))
    }
}

/// An address of the link with this number.
fn address_on(link: u32, address: IpNetwork) -> AddressMessage {
    let prefix = address.prefix();
    match address.ip() {
        IpAddr::V4(ip) => AddressMessageBuilder::<Ipv4Addr>::new().index(link).address(ip, prefix).build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<Ipv6Addr>::new().index(link).address(ip, prefix).build(),
    }
}

/// A route, by the link with this number.
fn route_message(route: &RouteSpec, link: Option<u32>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = route.family().number().into();
    header.destination_prefix_length = route.destination.prefix();
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::Static;
    (header.kind, header.scope) = match route.to {
        Target::Via(_) => (RouteType::Unicast, RouteScope::Universe),
        Target::Link => (RouteType::Unicast, RouteScope::Link),
        Target::Blackhole => (RouteType::BlackHole, RouteScope::Universe),
        Target::Unreachable => (RouteType::Unreachable, RouteScope::Universe),
        Target::Prohibit => (RouteType::Prohibit, RouteScope::Universe),
    };
    let hop = if let Target::Via(hop) = route.to { Some(hop.into()) } else { None };
    let destination =
        (!route.is_default()).then(|| RouteAttribute::Destination(route.destination.ip().into()));
    let attributes = [
        destination,
        hop.map(RouteAttribute::Gateway),
        link.map(RouteAttribute::Oif),
        route.metric.map(RouteAttribute::Priority),
    ];
    message.attributes.extend(attributes.into_iter().flatten());
    message
}

/// The route to one address by the link with this number.
fn host_route(link: u32, to: IpAddr) -> RouteMessage {
    match to {
        IpAddr::V4(to) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, 32);
            route.scope(RouteScope::Link).output_interface(link).build()
        }
        IpAddr::V6(to) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, 128);
            route.output_interface(link).build()
        }
    }
}

fn or_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}
