//! One row a container.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use ipnetwork::IpNetwork;
use serde::Serialize;

use crate::config::Settings;
use crate::error::{Doing, Result};
use crate::failures;
use crate::graph::Port;
use crate::kernel::netlink::Netlink;
use crate::log::print;
use crate::model::device::MovedDevice;
use crate::model::hosts;
use crate::model::network::NetworkName;
use crate::model::record::{Attachment, Record};
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value::{Iface, Mac};
use crate::operations::status::Statuses;
use crate::operations::warn_of_damage;
use crate::store::Records;

/// A container as `ls --json` and `inspect --json` show it. Fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Row<'a> {
    id: &'a str,
    bundle: &'a Path,
    pid: Option<i32>,
    /// Where its network namespace was found, if it was not by a process.
    netns: Option<&'a Path>,
    pub(super) status: &'static str,
    interface: &'a str,
    host_interface: Option<&'a Iface>,
    bridge: Option<&'a Iface>,
    mac: Option<Mac>,
    addresses: Vec<IpNetwork>,
    gateway: Option<IpAddr>,
    published: Vec<Port>,
    pub(super) since: String,
    pub(super) nics: Vec<Device<'a>>,
    /// Every network that it is on; what stands above is of the first.
    networks: Vec<Place<'a>>,
    /// What else its caller knows of it, as a pod's name.
    labels: &'a BTreeMap<String, String>,
}

/// A container's place on a network.
#[derive(Debug, Serialize)]
struct Place<'a> {
    network: &'a NetworkName,
    interface: &'a Iface,
    host_interface: Option<&'a Iface>,
    bridge: Option<&'a Iface>,
    /// The link of the host that the interface is on, where there is no bridge.
    parent: Option<&'a Iface>,
    mac: Option<Mac>,
    addresses: &'a [IpNetwork],
    gateways: &'a [IpAddr],
}

impl<'a> Place<'a> {
    fn of(attachment: &'a Attachment) -> Option<Self> {
        let Attachment { network, bridge, parent, interface, host_interface, mac, addresses, gateways } =
            attachment;
        let (network, mac) = (network.as_ref()?, *mac);
        let [bridge, parent, host_interface] = [bridge, parent, host_interface].map(Option::as_ref);
        Some(Self { network, interface, host_interface, bridge, parent, mac, addresses, gateways })
    }
}

/// A device of the host that is inside.
#[derive(Debug, Serialize)]
pub(super) struct Device<'a> {
    /// Its name on the host.
    pub(super) name: &'a Iface,
    /// Its name inside.
    pub(super) interface: &'a Iface,
    /// What it was given inside.
    addresses: Vec<IpNetwork>,
}

impl<'a> Row<'a> {
    /// What the record says, and what the kernel says to it.
    pub(super) fn new(record: &'a Record, statuses: &Statuses<'_>, netlink: &Netlink) -> Result<Self> {
        let first = record.first();
        let since = UNIX_EPOCH + Duration::from_secs(record.since);
        Ok(Self {
            id: record.id(),
            bundle: &record.container.bundle,
            pid: record.sandbox.pid(),
            netns: record.sandbox.path(),
            status: statuses.of(record, netlink)?.as_str(),
            interface: first.map_or("", |first| first.interface.as_str()),
            host_interface: first.and_then(|first| first.host_interface.as_ref()),
            bridge: record.bridge(),
            mac: first.and_then(|first| first.mac),
            addresses: record.addresses().collect(),
            gateway: first.and_then(|first| first.gateways.first().copied()),
            published: record.ports.iter().map(Port::of).collect(),
            since: humantime::format_rfc3339_seconds(since).to_string(),
            networks: record.attachments.iter().filter_map(Place::of).collect(),
            nics: record.devices().map(|device| Device::new(device, record)).collect(),
            labels: &record.labels,
        })
    }
}

impl<'a> Device<'a> {
    fn new(device: &'a MovedDevice, record: &Record) -> Self {
        let own = record.steps.iter().filter_map(|step| match step {
            Step::AddAddress { netns: Netns::Host, .. } => None,
            Step::AddAddress { link, address, .. } => (*link == device.inside).then_some(*address),
            _ => None,
        });
        Self { name: &device.name, interface: &device.inside, addresses: own.collect() }
    }
}

/// Prints the ids of all containers, a line each.
///
/// # Errors
/// The records cannot be read.
pub fn ids(settings: &Settings) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    print(&records.containers.iter().map(|record| format!("{}\n", record.id())).collect::<String>())
}

/// Prints every container, as a JSON array or as a table: with the short form of the ids that
/// have one, unless they are wanted `whole`.
///
/// # Errors
/// The records cannot be read, or the kernel does not answer.
pub fn ls(settings: &Settings, json: bool, whole: bool) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    warn_of_damage(&settings.log, &records);
    let (statuses, netlink) = (Statuses::new(&records)?, Netlink::open()?);
    let rows = records.containers.iter().map(|record| Row::new(record, &statuses, &netlink));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    if json {
        let text = serde_json::to_string_pretty(&rows).doing(|| "write JSON")?;
        return print(&format!("{text}\n"));
    }
    let head = ["IP", "LOCAL VETH", "PID", "STATUS", "CONTAINER", "NETWORK", "PORTS"].map(str::to_owned);
    let ports = |record: &Record| record.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let cells = rows.into_iter().zip(&records.containers).map(|(row, record)| {
        let ips: Vec<String> = record.addresses().map(|address| address.ip().to_string()).collect();
        let [ip, pid] = [ips.join(","), row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())];
        let veths = record.host_interfaces().map(Iface::as_str).collect::<Vec<_>>().join(",");
        let veth = if veths.is_empty() { "-".to_owned() } else { veths };
        let id = hosts::short(row.id).filter(|_| !whole).unwrap_or(row.id).to_owned();
        let networks = record.attachments.iter().filter_map(|attachment| attachment.network.as_ref());
        let networks = networks.map(NetworkName::as_str).collect::<Vec<_>>().join(",");
        [ip, veth, pid, row.status.to_owned(), id, networks, ports(record)]
    });
    print(&table(&[head].into_iter().chain(cells).collect::<Vec<_>>()))?;
    let failures = failures::recall(&settings.state_dir, None);
    if let Some(last) = failures.last() {
        let all = "`netns failures` shows all, and with --clear forgets them";
        settings.log.note(&format!("{} hooks failed, last: {last}\n  hint: {all}", failures.len()));
    }
    Ok(())
}

/// Left-aligned columns, two spaces apart.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
