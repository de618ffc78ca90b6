//! Whether the host forwards, and what else changes with the parameter that makes it.

use std::fs;
use std::io;

use rtnetlink::packet_route::route::RouteProtocol;

use crate::kernel::Kernel;
use crate::kernel::netlink::{Netlink, name_of};
use crate::kernel::saved::links_of;
use crate::kernel::sysctl::Sysctl;
use crate::model::observed::{Forwarding, Setting};
use crate::model::rule::Family;

const IPV4: &str = "net/ipv4/ip_forward";
/// Which leaves the host a host: what routers advertise is heeded as before. Since Linux 6.17.
const IPV6: &str = "net/ipv6/conf/all/force_forwarding";
/// Which makes it a router, that heeds no other.
const IPV6_ROUTER: &str = "net/ipv6/conf/all/forwarding";

/// Turned off, forwarding makes the kernel accept redirects and stops every link's; turned on,
/// it does the opposite.
pub(super) fn of_ipv4(kernel: &Kernel) -> io::Result<Forwarding> {
    let sysctl = kernel.sysctl();
    let mut forwarding = Forwarding { key: IPV4.to_owned(), ..Forwarding::default() };
    forwarding.value = sysctl.read(IPV4)?.unwrap_or_default();
    if forwarding.value == "0" {
        forwarding.with.extend(kept(sysctl, "net/ipv4/conf/all/accept_redirects".to_owned(), "0")?);
        forwarding.with.extend(of_links(sysctl, "ipv4", "forwarding", &["all"])?);
    }
    Ok(forwarding)
}

/// By `force_forwarding`, of all links, since callers and answers come in by any; or, on an older
/// kernel, as a router that goes on to heed those by whose advertisements it has its default
/// routes.
pub(super) fn of_ipv6(kernel: &Kernel) -> io::Result<Forwarding> {
    let sysctl = kernel.sysctl();
    let is_router = || io::Result::Ok(sysctl.read(IPV6_ROUTER)?.unwrap_or_default());
    let Some(value) = sysctl.read(IPV6)? else {
        let mut forwarding =
            Forwarding { key: IPV6_ROUTER.to_owned(), value: is_router()?, with: Vec::new() };
        if forwarding.value == "0" {
            forwarding.with = heeded(kernel.netlink(), sysctl)?;
            forwarding.with.extend(of_links(sysctl, "ipv6", "forwarding", &["all"])?);
        }
        return Ok(forwarding);
    };
    let mut forwarding = Forwarding { key: IPV6.to_owned(), value, with: Vec::new() };
    if forwarding.value == "0" {
        forwarding.value = is_router()?;
    }
    if forwarding.value == "0" {
        forwarding.with = of_links(sysctl, "ipv6", "force_forwarding", &["all", "default"])?;
        let of_links_to_come = "net/ipv6/conf/default/force_forwarding".to_owned();
        forwarding.with.extend(set(sysctl, of_links_to_come, "0", "1")?);
    }
    Ok(forwarding)
}

/// The links by whose router advertisements there are default routes now are to go on to heed
/// them.
fn heeded(netlink: &Netlink, sysctl: &Sysctl) -> io::Result<Vec<Setting>> {
    let routes = netlink.route_messages(Family::Ipv6)?;
    let advertised = routes.iter().filter(|route| {
        route.header.protocol == RouteProtocol::Ra && route.header.destination_prefix_length == 0
    });
    let advertised: Vec<u32> = advertised.flat_map(links_of).collect();
    let mut all = Vec::new();
    for link in netlink.link_messages()?.iter().filter(|link| advertised.contains(&link.header.index)) {
        all.extend(set(sysctl, format!("net/ipv6/conf/{}/accept_ra", name_of(link)), "1", "2")?);
    }
    Ok(all)
}

/// Those of the parameters of links that are on, which the parameter of all would turn off.
fn of_links(sysctl: &Sysctl, family: &str, name: &str, but: &[&str]) -> io::Result<Vec<Setting>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/sys/net/{family}/conf"))? {
        if let Some(link) = entry?.file_name().to_str().filter(|link| !but.contains(link)) {
            all.extend(kept(sysctl, format!("net/{family}/conf/{link}/{name}"), "1")?);
        }
    }
    all.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(all)
}

/// A parameter that stays what it is, if it is `value`.
fn kept(sysctl: &Sysctl, key: String, value: &str) -> io::Result<Option<Setting>> {
    set(sysctl, key, value, value)
}

/// A parameter that is to become `value`, if it is `before`.
fn set(sysctl: &Sysctl, key: String, before: &str, value: &str) -> io::Result<Option<Setting>> {
    let found = sysctl.read(&key)?.filter(|found| found == before);
    Ok(found.map(|before| Setting { key, value: value.to_owned(), before }))
}
