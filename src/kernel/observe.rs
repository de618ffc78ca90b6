//! What planning has to know of the host: as few questions as the case at hand needs.

mod devices;

use std::fs;
use std::io;
use std::path::Path;

use ipnetwork::IpNetwork;

use super::Kernel;
use super::sysctl::Sysctl;
use crate::error::{Doing, Result};
use crate::model::link::BRIDGE_MAC;
use crate::model::observed::{Host, ObservedNetwork};
use crate::model::value::{self, Iface};
pub use devices::devices;
pub(super) use devices::lower;

const IP_FORWARD: &str = "net/ipv4/ip_forward";

/// What of the host concerns every network; everything else of a [`Host`] is left empty.
///
/// # Errors
/// A parameter cannot be read.
pub fn host(kernel: &Kernel) -> Result<Host> {
    let sysctl = kernel.sysctl();
    let ip_forward = sysctl.read(IP_FORWARD).doing(|| format!("sysctl {IP_FORWARD}"))?.unwrap_or_default();
    let ipv6 = sysctl.has_ipv6().doing(|| "look for IPv6")?;
    let mut host = Host { ip_forward, ipv6, ..Host::default() };
    if host.ip_forward == "0" {
        host.with_forwarding = with_forwarding(sysctl).doing(|| "sysctl net/ipv4/conf")?;
        host.bridge_netfilter = Path::new("/proc/sys/net/bridge").exists();
    }
    Ok(host)
}

/// Turned off, forwarding makes the kernel accept redirects and stops every link's; turned on,
/// it does the opposite.
fn with_forwarding(sysctl: &Sysctl) -> io::Result<Vec<(String, String)>> {
    let mut kept = Vec::new();
    let mut keep = |key: String, value: &str| {
        if sysctl.read(&key)?.as_deref() == Some(value) {
            kept.push((key, value.to_owned()));
        }
        io::Result::Ok(())
    };
    keep("net/ipv4/conf/all/accept_redirects".to_owned(), "0")?;
    for entry in fs::read_dir("/proc/sys/net/ipv4/conf")? {
        if let Some(link) = entry?.file_name().to_str().filter(|link| *link != "all") {
            keep(format!("net/ipv4/conf/{link}/forwarding"), "1")?;
        }
    }
    kept.sort();
    Ok(kept)
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
    network.routes = netlink.main_routes(&links)?;
    let default = network.routes.iter().find(|route| route.destination.prefix() == 0);
    let uplink = default.and_then(|route| links.by_index(route.link?));
    network.uplink_mtu = uplink.map(|link| link.mtu);
    Ok(network)
}
