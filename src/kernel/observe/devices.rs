//! What it takes to bring a device of the host back, read before it is moved.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};

use crate::error::{Doing, Result};
use crate::kernel::device::alias;
use crate::kernel::netlink::{Netlink, address_of, name_of};
use crate::kernel::saved::links_of;
use crate::kernel::sysctl::Sysctl;
use crate::kernel::sysfs::Sysfs;
use crate::model::device::{Before, Identity, SavedAddress, SavedRoute};
use crate::model::observed::Device;
use crate::model::rule::Family;
use crate::model::value::Iface;

/// Those of `names` that are there.
///
/// # Errors
/// The kernel does not answer.
pub fn devices(netlink: &Netlink, names: &[&Iface]) -> Result<Vec<Device>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let tables = Tables::read(netlink).doing(|| "observe the host's links, addresses and routes")?;
    let uplinks = tables.uplinks();
    let named = |name: &&&Iface| tables.links.iter().find(|link| name_of(link) == name.as_str());
    let found = names.iter().filter_map(|name| Some((name, named(&name)?)));
    let mut devices = Vec::new();
    for (name, link) in found {
        let mut before = tables.before(link);
        if !before.identity.is_hardware() {
            // Only root can ask, and only who moves it has to.
            before.identity.inode = Sysfs::here().and_then(|sysfs| sysfs.inode_of(name.as_str())).ok();
        }
        devices.push(Device {
            name: (*name).clone(),
            loopback: link.header.flags.contains(LinkFlags::Loopback),
            immovable: link.attributes.contains(&LinkAttribute::NetnsImmutable(true)),
            uplink: uplinks.contains(&link.header.index),
            before,
            master_kind: tables.master(link).and_then(|master| Identity::of(master).kind),
        });
    }
    Ok(devices)
}

struct Tables {
    links: Vec<LinkMessage>,
    addresses: Vec<AddressMessage>,
    routes: Vec<RouteMessage>,
}

impl Tables {
    fn read(netlink: &Netlink) -> io::Result<Self> {
        let mut routes = netlink.route_messages(Family::Ipv4)?;
        routes.extend(netlink.route_messages(Family::Ipv6)?);
        let addresses = netlink.address_messages(AddressFamily::Unspec, 0)?;
        Ok(Self { links: netlink.link_messages()?, addresses, routes })
    }

    fn link(&self, index: u32) -> Option<&LinkMessage> {
        self.links.iter().find(|link| link.header.index == index)
    }

    fn master(&self, link: &LinkMessage) -> Option<&LinkMessage> {
        self.link(link.attributes.iter().find_map(when!(LinkAttribute::Controller(index) => *index))?)
    }

    /// The links by which the host's default routes leave, and those that they stand on: the
    /// ports of a bridge, the link below a VLAN.
    fn uplinks(&self) -> BTreeSet<u32> {
        let default = |route: &&RouteMessage| {
            route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
        };
        let mut uplinks: BTreeSet<u32> = self.routes.iter().filter(default).flat_map(links_of).collect();
        loop {
            let carries =
                |link: &&LinkMessage| self.master(link).is_some_and(|m| uplinks.contains(&m.header.index));
            let ports = self.links.iter().filter(carries).map(|link| link.header.index);
            let upper = self.links.iter().filter(|link| uplinks.contains(&link.header.index));
            let more: Vec<u32> = ports.chain(upper.filter_map(lower)).collect();
            let count = uplinks.len();
            uplinks.extend(more);
            if uplinks.len() == count {
                return uplinks;
            }
        }
    }

    fn before(&self, link: &LinkMessage) -> Before {
        let index = link.header.index;
        let own = |address: &&AddressMessage| address.header.index == index;
        let addresses: Vec<&AddressMessage> = self.addresses.iter().filter(own).collect();
        let ips: Vec<IpAddr> =
            addresses.iter().filter_map(|message| Some(address_of(message)?.ip())).collect();
        let mut before = Before {
            identity: Identity::of(link),
            up: link.header.flags.contains(LinkFlags::Up),
            alias: alias(link).map(str::to_owned),
            master: self.master(link).map(|master| name_of(master).to_owned()),
            addresses: addresses.into_iter().map(SavedAddress::of).collect(),
            routes: self
                .routes
                .iter()
                .filter(|route| depends(route, index, &ips))
                .map(SavedRoute::of)
                .collect(),
            parameters: parameters(name_of(link)),
            ..Before::default()
        };
        for attribute in &link.attributes {
            if let LinkAttribute::Mtu(mtu) = attribute {
                before.mtu = *mtu;
            }
        }
        before
    }
}

/// Whether the kernel drops a route when the link with this number and these addresses goes,
/// and does not make it again by itself when they come back.
fn depends(route: &RouteMessage, index: u32, ips: &[IpAddr]) -> bool {
    let by_itself = [RouteProtocol::Kernel, RouteProtocol::Ra, RouteProtocol::IcmpRedirect];
    let from = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    });
    let tied = links_of(route).contains(&index) || from.is_some_and(|from| ips.contains(&from));
    tied && !by_itself.contains(&route.header.protocol)
}

/// The parameters of a link that are not what a new one gets.
fn parameters(link: &str) -> Vec<(String, String, String)> {
    let sysctl = Sysctl::default();
    let mut all = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let entries = fs::read_dir(format!("/proc/sys/net/{family}/conf/{link}")).into_iter().flatten();
        for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
            let read = |link: &str| sysctl.read(&format!("net/{family}/conf/{link}/{name}")).ok().flatten();
            // An MTU is the link's, and shown here again.
            if let Some(value) =
                read(link).filter(|value| name != "mtu" && read("default").as_ref() != Some(value))
            {
                all.push((family.to_owned(), name, value));
            }
        }
    }
    all.sort_unstable();
    all
}

/// The link below, as a VLAN or a macvlan has one, unless it is in another namespace. A veth
/// pair has its other end there, and stands on nothing.
pub(in crate::kernel) fn lower(link: &LinkMessage) -> Option<u32> {
    if Identity::of(link).kind.as_deref() == Some("veth") {
        return None;
    }
    if link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_))) {
        return None;
    }
    link.attributes.iter().find_map(when!(LinkAttribute::Link(index) => *index))
}
