//! Everything about one container: what the record says, and what the kernel says.

use std::fmt::Write;

use serde::Serialize;

use super::ls::Row;
use super::{Settings, detach, print, warn_of_damage};
use crate::error::{Doing, Error, Result};
use crate::failures;
use crate::firewall::iptables;
use crate::kernel::Kernel;
use crate::kernel::netlink::{LinkSeen, Netlink};
use crate::kernel::process::{self, Census};
use crate::store::Records;
use crate::store::record::Record;

#[derive(Debug, Serialize)]
struct Inspection {
    #[serde(flatten)]
    row: Row,
    host_end: Option<End>,
    container_end: Option<End>,
    routes: Vec<String>,
    rules: Vec<String>,
    steps: Vec<String>,
    /// Lines of the state directory's log.
    failures: Vec<String>,
}

/// One end of the cable.
#[derive(Debug, Serialize)]
struct End {
    index: u32,
    name: String,
    /// The other end's index, in the other end's namespace.
    peer_index: Option<u32>,
    mac: String,
    mtu: u32,
    up: bool,
    state: String,
    /// The bridge that it is a port of.
    bridge: Option<String>,
    alias: Option<String>,
    addresses: Vec<String>,
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
    let mut kernel = Kernel::look(settings.log.clone())?;
    let row = Row::new(record, &Census::new()?, kernel.netlink())?;
    let host_end = match &record.host_interface {
        Some(name) => end(kernel.netlink(), name.as_str())?,
        None => None,
    };
    let (mut container_end, mut routes) = (None, Vec::new());
    // A namespace that outlived its process is alive, but there is no way in by the pid.
    if let Ok((netns, found)) = process::open(record.process.pid, id)
        && found == record.process
    {
        kernel.enter(netns, record.process.pid)?;
        let inside = kernel.inside_netlink()?;
        container_end = end(inside, record.interface.as_str())?;
        routes = routes_of(inside)?;
    }
    let inspection = Inspection {
        row,
        host_end,
        container_end,
        routes,
        rules: iptables::rules_of(&record.id)?,
        steps: record.steps.iter().flat_map(|step| lines(&step.to_string())).collect(),
        failures: failures::recall(&settings.state_dir, Some(id)),
    };
    if json {
        let text = serde_json::to_string_pretty(&inspection).doing(|| "write JSON")?;
        return print(&format!("{text}\n"));
    }
    print(&text(&inspection, record))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn end(netlink: &Netlink, name: &str) -> Result<Option<End>> {
    let operation = || format!("look at link {name}");
    let Some(link) = netlink.link(name).doing(operation)? else {
        return Ok(None);
    };
    let LinkSeen { index, mtu, up, peer, alias, state, .. } = link;
    let addresses = netlink.addresses(index).doing(operation)?;
    let bridge = match link.master {
        Some(master) => netlink.names().doing(operation)?.remove(&master),
        None => None,
    };
    let octets: Vec<String> = link.address.iter().map(|octet| format!("{octet:02x}")).collect();
    Ok(Some(End {
        index,
        name: link.name,
        peer_index: peer,
        mac: octets.join(":"),
        mtu,
        up,
        state,
        bridge,
        alias,
        addresses: addresses.iter().map(ToString::to_string).collect(),
    }))
}

fn routes_of(netlink: &Netlink) -> Result<Vec<String>> {
    let operation = || "look at the container's routes";
    let names = netlink.names().doing(operation)?;
    let text = netlink.routes().doing(operation)?.into_iter().map(|route| {
        let to = match route.destination.prefix() {
            0 => "default".to_owned(),
            _ => route.destination.to_string(),
        };
        let via = route.gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
        let link = route.link.and_then(|index| names.get(&index));
        let dev = link.map_or_else(String::new, |name| format!(" dev {name}"));
        format!("{to}{via}{dev}")
    });
    Ok(text.collect())
}

fn text(inspection: &Inspection, record: &Record) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    let row = &inspection.row;
    line("container", &record.id);
    line("bundle", &record.bundle.display().to_string());
    line("pid", &record.process.pid.to_string());
    line("status", row.status);
    line("since", &row.since);
    for lease in &record.addresses {
        match &record.bridge {
            Some(bridge) => line("lease", &format!("{lease} on {bridge}")),
            None => line("address", &lease.to_string()),
        }
    }
    for nic in &row.nics {
        line("nic", &format!("{} of the host, {} inside", nic.name, nic.interface));
    }
    if let Some(gateway) = record.gateway {
        line("gateway", &gateway.to_string());
    }
    let host_end = record.bridge.is_some().then_some(("host end", &inspection.host_end));
    for (name, end) in host_end.into_iter().chain([("inside", &inspection.container_end)]) {
        line(name, &end.as_ref().map_or_else(|| "not there".to_owned(), describe));
    }
    for (name, values) in
        [("route", &inspection.routes), ("rule", &inspection.rules), ("failure", &inspection.failures)]
    {
        values.iter().for_each(|value| line(name, value));
    }
    for published in &record.published {
        line("published", &published.to_string());
    }
    text
}

fn describe(end: &End) -> String {
    let peer = end.peer_index.map_or_else(String::new, |index| format!("@if{index}"));
    let mut text =
        format!("{}: {}{peer} {} mtu {} state {}", end.index, end.name, end.mac, end.mtu, end.state);
    if let Some(bridge) = &end.bridge {
        let _ = write!(text, " port of {bridge}");
    }
    for address in &end.addresses {
        let _ = write!(text, " {address}");
    }
    text
}
