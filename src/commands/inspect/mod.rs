//! Everything about one container: what the record says, and what the kernel says.

mod text;

use serde::Serialize;

use super::ls::Row;
use super::{Settings, census_of, detach, links_of, print, room, warn_of_damage};
use crate::config::value::Iface;
use crate::error::{Doing, Error, Result};
use crate::failures;
use crate::firewall::iptables::{self, Counted};
use crate::graph::written_json;
use crate::kernel::Kernel;
use crate::kernel::netlink::{Counters, LinkDetail, Links, Netlink, Port};
use crate::kernel::process;
use crate::store::Records;
use crate::store::record::Record;

/// Fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Inspection {
    #[serde(flatten)]
    row: Row,
    /// Those who share its namespace.
    shared_with: Vec<String>,
    host_end: Option<End>,
    container_end: Option<End>,
    /// The bridge itself.
    bridge_link: Option<End>,
    /// Everything in the container's namespace, the end of the cable and loopback too.
    interfaces: Vec<End>,
    routes: Vec<String>,
    rules: Vec<String>,
    /// For each of the rules what has passed it.
    rule_counters: Vec<RuleCounter>,
    steps: Vec<String>,
    /// Lines of the state directory's log.
    failures: Vec<String>,
}

/// A link: an end of the cable, or another.
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
    port: Option<Port>,
    alias: Option<String>,
    addresses: Vec<String>,
    counters: Counters,
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
    warn_of_damage(&settings.log, &records.damaged);
    let record = detach::by_id(&records, id)?.ok_or_else(|| {
        let failures = failures::recall(&settings.state_dir, Some(id));
        let error = Error::new(format!("inspect container {id}"), "no container of this id is attached");
        match failures.last() {
            Some(last) => error.hint(format!("its hook failed: {last}")),
            None => error.hint("`netns ls` shows those that are"),
        }
    })?;
    let inspection = look(settings, &records, record)?;
    if json {
        return print(&written_json(&inspection)?);
    }
    print(&text::text(&inspection, record))
}

fn look(settings: &Settings, records: &Records, record: &Record) -> Result<Inspection> {
    let mut kernel = Kernel::look(settings.log.clone())?;
    let row = Row::new(record, &census_of(records)?, kernel.netlink())?;
    let host = links_of(kernel.netlink())?;
    let (mut interfaces, mut routes) = (Vec::new(), Vec::new());
    // A namespace that outlived its process is alive, but there is no way in by the pid.
    if let Ok(netns) = process::reopen(&record.process, &record.id) {
        kernel.enter(netns, record.process.pid)?;
        let inside = kernel.inside_netlink()?;
        let links = links_of(inside)?;
        interfaces = links.all.iter().map(|link| end(&links, link)).collect();
        routes = routes_of(inside, &links)?;
    }
    let beside = |other: &&Record| {
        room(other) == room(record) && (&other.id, &other.bundle) != (&record.id, &record.bundle)
    };
    let counters = iptables::counters_of(&record.id)?.into_iter();
    let counter = |Counted { rule, packets, bytes }| RuleCounter { rule, packets, bytes };
    Ok(Inspection {
        row,
        shared_with: records.containers.iter().filter(beside).map(|other| other.id.clone()).collect(),
        host_end: record.host_interface.as_ref().and_then(|name| named(&host, name)),
        container_end: interfaces.iter().find(|end| end.name == record.interface.as_str()).cloned(),
        bridge_link: record.bridge.as_ref().and_then(|name| named(&host, name)),
        interfaces,
        routes,
        rules: iptables::rules_of(&record.id)?,
        rule_counters: counters.map(counter).collect(),
        steps: record.steps.iter().flat_map(|step| lines(&step.to_string())).collect(),
        failures: failures::recall(&settings.state_dir, Some(&record.id)),
    })
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn named(links: &Links, name: &Iface) -> Option<End> {
    links.by_name(name.as_str()).map(|link| end(links, link))
}

fn end(links: &Links, link: &LinkDetail) -> End {
    let LinkDetail { seen, kind, counters, port, .. } = link.clone();
    End {
        mac: seen.mac(),
        index: seen.index,
        name: seen.name,
        kind,
        peer_index: seen.peer,
        mtu: seen.mtu,
        up: seen.up,
        state: seen.state,
        bridge: links.bridge_of(link),
        port,
        alias: seen.alias,
        addresses: links.addresses_of(link).iter().map(ToString::to_string).collect(),
        counters,
    }
}

fn routes_of(netlink: &Netlink, links: &Links) -> Result<Vec<String>> {
    let routes = netlink.routes().doing(|| "look at the container's routes")?;
    let text = routes.into_iter().map(|route| {
        let to = match route.destination.prefix() {
            0 => "default".to_owned(),
            _ => route.destination.to_string(),
        };
        let via = route.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
        let link = route.link.and_then(|index| links.by_index(index));
        let dev = link.map_or_else(String::new, |link| format!(" dev {}", link.seen.name));
        format!("{to}{via}{dev}")
    });
    Ok(text.collect())
}
