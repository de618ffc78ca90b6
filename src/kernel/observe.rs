//! A look at the host, for the plan: as few questions as the case at hand needs.

use std::io;

use ipnetwork::IpNetwork;

use super::netlink::{LinkSeen, Netlink, RouteSeen};
use super::sysctl::Sysctl;
use super::{Kernel, listeners, ports};
use crate::config::publish::{Publish, Published};
use crate::config::value::Iface;
use crate::error::{Doing, Result};
use crate::plan::{Host, Link, Route};

/// Looks at everything that [`crate::plan::network`] wants to know.
///
/// Whole tables are read only where the bridge is still to be made or to get its address.
///
/// # Errors
/// The kernel does not answer.
pub fn network(kernel: &Kernel, bridge: &Iface, gateway: IpNetwork) -> Result<Host> {
    look(kernel.netlink(), kernel.sysctl(), bridge.as_str(), gateway)
        .doing(|| format!("look at bridge {bridge}"))
}

fn look(netlink: &Netlink, sysctl: &Sysctl, bridge: &str, gateway: IpNetwork) -> io::Result<Host> {
    let mut host = Host {
        ip_forward: sysctl.read("net/ipv4/ip_forward")?.unwrap_or_default(),
        ipv6: sysctl.has_ipv6(),
        ..Host::default()
    };
    if let Some(LinkSeen { index, kind, mtu, up, .. }) = netlink.link(bridge)? {
        let addresses = netlink.addresses(index)?;
        host.bridge = Some(Link { kind, mtu, up, addresses });
        host.route_localnet = sysctl.read(&format!("net/ipv4/conf/{bridge}/route_localnet"))?;
    }
    let has_address = |link: &Link| link.addresses.contains(&gateway);
    if !host.bridge.as_ref().is_some_and(has_address) {
        let routes = netlink.routes()?;
        let links = netlink.links()?;
        let link = |index: Option<u32>| links.iter().find(|link| Some(link.index) == index);
        let default = routes.iter().find(|route| route.destination.prefix() == 0);
        host.uplink_mtu = default.and_then(|route| link(route.link)).map(|link| link.mtu);
        let by_name = |route: &RouteSeen| Route {
            destination: route.destination,
            link: link(route.link).map_or_else(|| "no link".to_owned(), |link| link.name.clone()),
        };
        host.routes = routes.iter().map(by_name).collect();
    }
    Ok(host)
}

/// Looks at what [`crate::plan::attach`] wants to know besides: whether the host end's usual
/// name is taken, and which ports are free, beside those that `busy` says are not, for the
/// requests in `publish` that name none.
///
/// # Errors
/// The kernel does not answer, or no port is free.
pub fn container(
    host: &mut Host,
    netlink: &Netlink,
    host_interface: &Iface,
    publish: &[Publish],
    busy: impl Fn(&Published) -> Option<u16>,
) -> Result<()> {
    host.host_interface_taken =
        netlink.link(host_interface.as_str()).doing(|| format!("look at link {host_interface}"))?.is_some();
    let named: Vec<Published> =
        publish.iter().filter_map(|publish| publish.host.map(|host| publish.at(host))).collect();
    host.listeners = listeners::in_the_way(&named);
    if named.len() == publish.len() {
        return Ok(());
    }
    let mut chosen = named;
    for publish in publish.iter().filter(|publish| publish.host.is_none()) {
        let own = |wanted: &Published| {
            chosen.iter().filter(|other| other.conflicts(wanted)).map(|other| other.host.last).max()
        };
        let free = ports::free(publish, |wanted| own(wanted).max(busy(wanted)))?;
        chosen.push(publish.at(free));
        host.free_ports.push(free);
    }
    Ok(())
}
