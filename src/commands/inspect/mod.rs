//! Everything about one container: what the record says, and what the kernel says.

mod text;

use std::net::IpAddr;

use serde::Serialize;

use super::ls::Row;
use crate::config::Settings;
use crate::error::{Doing, Kind, Result};
use crate::failures;
use crate::firewall::{self, Counted, Passed};
use crate::graph::written_json;
use crate::kernel::netlink::Netlink;
use crate::kernel::{Kernel, process};
use crate::log::print;
use crate::model::bounded::bounded;
use crate::model::limits::Queue;
use crate::model::observed::{BridgePort, Counters, Link, Links, MAIN_TABLE, Route};
use crate::model::record::{Attachment, Record};
use crate::model::value::Iface;
use crate::operations::status::Statuses;
use crate::operations::{find, lines, warn_of_damage};
use crate::store::Records;

/// Fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Inspection<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    /// Those who share its namespace.
    shared_with: Vec<String>,
    host_end: Option<End>,
    container_end: Option<End>,
    /// The bridge itself.
    bridge_link: Option<End>,
    /// Those of its other networks.
    other_host_ends: Vec<End>,
    other_bridge_links: Vec<End>,
    /// What is in the container's namespace, the end of the veth pair and loopback too.
    interfaces: Vec<End>,
    /// How many more there are.
    more_interfaces: usize,
    /// What is limited of what passes its host ends.
    rates: Vec<Limit>,
    routes: Vec<String>,
    more_routes: usize,
    rules: Vec<String>,
    /// For each of the rules that are counted what has passed it.
    rule_counters: Vec<RuleCounter>,
    steps: Vec<String>,
    /// Lines of the state directory's log.
    failures: Vec<String>,
}

/// A link: an end of the veth pair, or another.
#[derive(Debug, Clone, Serialize)]
struct End {
    index: u32,
    name: String,
    kind: String,
    /// The other end's index, in the other end's namespace.
    peer_index: Option<u32>,
    mac: String,
    mtu: u32,
    up: bool,
    state: String,
    /// The bridge that it is a port of.
    bridge: Option<String>,
    /// What the bridge knows of it.
    port: Option<BridgePort>,
    alias: Option<String>,
    addresses: Vec<String>,
    /// How many more there are.
    more_addresses: usize,
    counters: Counters,
}

#[derive(Debug, Serialize)]
struct Limit {
    /// The interface inside.
    interface: String,
    /// `in` is what it receives, `out` what it sends.
    direction: &'static str,
    /// The link of the host on which packets wait.
    link: String,
    #[serde(flatten)]
    queue: Queue,
}

#[derive(Debug, Serialize)]
struct RuleCounter {
    rule: String,
    packets: u64,
    bytes: u64,
}

/// Prints one container, as text or as a JSON object.
///
/// # Errors
/// There is none called `id`, or several; the kernel does not answer.
pub fn inspect(settings: &Settings, id: &str, json: bool) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    warn_of_damage(&settings.log, &records);
    let record = find(&records, "inspect", id).map_err(|error| {
        match failures::recall(&settings.state_dir, Some(id)).last() {
            Some(last) if error.kind() == Kind::NotFound => error.hint(format!("its hook failed: {last}")),
            _ => error,
        }
    })?;
    let inspection = look(settings, &records, record)?;
    if json {
        return print(&written_json(&inspection)?);
    }
    print(&text::text(&inspection, record))
}

fn look<'a>(settings: &Settings, records: &Records, record: &'a Record) -> Result<Inspection<'a>> {
    let mut kernel = Kernel::open(settings.log.clone())?;
    let row = Row::new(record, &Statuses::new(records)?, kernel.netlink())?;
    let host = links_of(kernel.netlink())?;
    let (interfaces, more_interfaces, routes, more_routes) = inside(&mut kernel, record)?;
    let beside =
        |other: &&Record| other.namespace() == record.namespace() && other.container != record.container;
    let counted = firewall::counters_of(record.id(), &record.rules().collect::<Vec<_>>())?;
    let counter = |Counted { rule, passed }: Counted| {
        let Passed { packets, bytes } = passed?;
        Some(RuleCounter { rule, packets, bytes })
    };
    let first = record.first();
    let others = record.attachments.iter().skip(1);
    let host_end = first.and_then(|first| first.host_interface.as_ref());
    Ok(Inspection {
        row,
        shared_with: records.containers.iter().filter(beside).map(|other| other.id().to_owned()).collect(),
        host_end: host_end.and_then(|name| named(&host, name)),
        container_end: first
            .and_then(|first| interfaces.iter().find(|end| end.name == first.interface.as_str()))
            .cloned(),
        bridge_link: record.bridge().and_then(|name| named(&host, name)),
        other_host_ends: others
            .clone()
            .filter_map(|one| named(&host, one.host_interface.as_ref()?))
            .collect(),
        other_bridge_links: others.filter_map(|one| named(&host, one.bridge.as_ref()?)).collect(),
        rates: rates(kernel.netlink(), record, &host)?,
        interfaces,
        more_interfaces,
        routes,
        more_routes,
        rules: counted.iter().map(|counted| counted.rule.clone()).collect(),
        rule_counters: counted.into_iter().filter_map(counter).collect(),
        steps: record.steps.iter().flat_map(lines).collect(),
        failures: failures::recall(&settings.state_dir, Some(record.id())),
    })
}

/// What limits what passes the container's host ends.
fn rates(netlink: &Netlink, record: &Record, host: &Links) -> Result<Vec<Limit>> {
    let limits = netlink.limits(record.steps.iter(), host).doing(|| "look at the container's rates")?;
    let of = |one: &Attachment| {
        let queues = one.host_interface.as_ref().map(|end| limits.of_host_end(end, host));
        let both = ["in", "out"].into_iter().zip(queues.unwrap_or_default());
        let limits = both.filter_map(|(direction, found)| {
            let (link, queue) = found?;
            Some(Limit { interface: one.interface.to_string(), direction, link: link.to_string(), queue })
        });
        limits.collect::<Vec<_>>()
    };
    Ok(record.attachments.iter().flat_map(of).collect())
}

/// The interfaces and the routes inside, and how many more of each there are.
fn inside(kernel: &mut Kernel, record: &Record) -> Result<(Vec<End>, usize, Vec<String>, usize)> {
    // A namespace that outlived its process is alive, but there is no way in by the pid.
    let Ok(netns) = process::reopen(&record.sandbox, record.id()) else { return Ok(Default::default()) };
    kernel.enter(netns, 0)?;
    let netlink = kernel.inside_netlink()?;
    let links = links_of(netlink)?;
    let ours = |link: &&Link| record.attachments.iter().any(|one| one.interface.as_str() == link.name);
    let (shown, more_links) = bounded(links.0.iter().collect(), ours);
    let (routes, more_routes) = bounded(routes_of(netlink, &links)?, |_| false);
    Ok((shown.into_iter().map(|link| end(&links, link)).collect(), more_links, routes, more_routes))
}

fn links_of(netlink: &Netlink) -> Result<Links> {
    netlink.links_in_full().doing(|| "look at links and addresses")
}

fn named(links: &Links, name: &Iface) -> Option<End> {
    links.by_name(name.as_str()).map(|link| end(links, link))
}

fn end(links: &Links, link: &Link) -> End {
    let (addresses, more_addresses) = bounded(link.addresses.clone(), |_| false);
    End {
        index: link.index,
        name: link.name.clone(),
        kind: link.kind_name().to_owned(),
        peer_index: link.peer,
        mac: link.mac(),
        mtu: link.mtu,
        up: link.up,
        state: link.state.clone(),
        bridge: links.bridge_of(link).map(|bridge| bridge.name.clone()),
        port: link.port.clone(),
        alias: link.alias.clone(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        more_addresses,
        counters: link.counters,
    }
}

fn routes_of(netlink: &Netlink, links: &Links) -> Result<Vec<String>> {
    let routes = netlink.routes(links).doing(|| "look at the container's routes")?;
    // Every link has those of IPv6 that are its own.
    let is_of_link = |route: &&Route| match route.destination.ip() {
        IpAddr::V4(_) => false,
        IpAddr::V6(to) => to.is_unicast_link_local() || to.is_multicast(),
    };
    let main = |route: &&Route| route.table == MAIN_TABLE && route.kind.is_none() && !is_of_link(route);
    let text = routes.iter().filter(main).map(|route| {
        let to = match route.destination.prefix() {
            0 => "default".to_owned(),
            _ => route.destination.to_string(),
        };
        let via = route.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
        let dev = route.link_name.as_ref().map_or_else(String::new, |link| format!(" dev {link}"));
        format!("{to}{via}{dev}")
    });
    Ok(text.collect())
}
