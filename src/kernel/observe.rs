//! What planning has to know of the host: as few questions as the case at hand needs.

mod devices;
mod forwarding;

use std::io;
use std::path::Path;

use ipnetwork::IpNetwork;

use super::Kernel;
use crate::error::{Doing, Result};
use crate::model::link::BRIDGE_MAC;
use crate::model::network::NetworkSpec;
use crate::model::observed::{Host, ObservedNetwork, ObservedParent};
use crate::model::parent::Parent;
use crate::model::rule::Family;
use crate::model::value::{self, Iface};
pub use devices::devices;
pub(super) use devices::lower;

/// What of the host concerns every network, and every one with subnets of these families;
/// everything else of a [`Host`] is left empty.
///
/// # Errors
/// A parameter cannot be read.
pub fn host(kernel: &Kernel, families: &[Family]) -> Result<Host> {
    let ipv6 = kernel.sysctl().has_ipv6().doing(|| "look for IPv6")?;
    let mut host = Host { ipv6, ..Host::default() };
    if families.contains(&Family::Ipv4) {
        host.forwarding = forwarding::of_ipv4(kernel).doing(|| "look whether the host forwards IPv4")?;
    }
    if ipv6 && families.contains(&Family::Ipv6) {
        host.forwarding6 = forwarding::of_ipv6(kernel).doing(|| "look whether the host forwards IPv6")?;
    }
    if [&host.forwarding, &host.forwarding6].iter().any(|forwarding| forwarding.value == "0") {
        host.bridge_netfilter = Path::new("/proc/sys/net/bridge").exists();
    }
    Ok(host)
}

/// What of the host concerns the network on `bridge` with these subnets, each with the bridge's
/// address; without the network's `resolv.conf`.
///
/// Whole tables are read only where the bridge is still to be made or to get an address.
///
/// # Errors
/// The kernel does not answer.
pub fn network(kernel: &Kernel, bridge: &Iface, subnets: &[IpNetwork]) -> Result<ObservedNetwork> {
    read(kernel, bridge.as_str(), subnets).doing(|| format!("observe bridge {bridge}"))
}

/// What of the host concerns a network on a parent.
///
/// # Errors
/// The kernel does not answer.
pub fn on_parent(kernel: &Kernel, spec: &NetworkSpec, parent: &Parent) -> Result<ObservedNetwork> {
    let read = || {
        let netlink = kernel.netlink();
        let link = netlink.link(parent.link.as_str())?;
        let vlan = parent.vlan.as_ref().map(|vlan| netlink.link(vlan.name.as_str())).transpose()?.flatten();
        let mut bridge = if parent.host_access { netlink.link(spec.bridge.as_str())? } else { None };
        if let Some(link) = &mut bridge {
            link.addresses = netlink.addresses(link.index)?;
        }
        // For what its containers may send at once.
        let uplink_mtu = vlan.as_ref().or(link.as_ref()).map(|link| link.mtu);
        let wireless = Path::new("/sys/class/net").join(parent.link.as_str()).join("phy80211").exists();
        let parent = ObservedParent { link, vlan, wireless };
        Ok(ObservedNetwork { bridge, uplink_mtu, parent, ..ObservedNetwork::default() })
    };
    io::Result::doing(read(), || format!("observe parent {}", parent.link))
}

fn read(kernel: &Kernel, bridge: &str, subnets: &[IpNetwork]) -> io::Result<ObservedNetwork> {
    let netlink = kernel.netlink();
    let mut network = ObservedNetwork { bridge: netlink.link(bridge)?, ..ObservedNetwork::default() };
    if let (None, Some(first)) = (&network.bridge, subnets.first()) {
        let mac = value::mac(BRIDGE_MAC, first.ip());
        let renamed = netlink.links()?.bridge_with(mac).cloned();
        network.bridge = renamed.filter(|link| link.name.parse::<Iface>().is_ok());
    }
    if let Some(link) = &mut network.bridge {
        link.addresses = netlink.addresses(link.index)?;
        let key = format!("net/ipv4/conf/{}/route_localnet", link.name);
        network.route_localnet = kernel.sysctl().read(&key)?;
        if subnets.iter().all(|subnet| link.addresses.contains(subnet)) {
            return Ok(network);
        }
    }
    let links = netlink.links()?;
    for family in Family::ALL {
        if subnets.iter().any(|subnet| Family::of(subnet.ip()) == family) {
            network.routes.extend(netlink.main_routes(family, &links)?);
        }
    }
    let default = network.routes.iter().find(|route| route.destination.prefix() == 0);
    let uplink = default.and_then(|route| links.by_index(route.link?));
    network.uplink_mtu = uplink.map(|link| link.mtu);
    Ok(network)
}
