//! One row a container.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use super::reap::lives;
use super::{Settings, census_of, print, warn_of_damage};
use crate::error::{Doing, Result};
use crate::failures;
use crate::graph::Port;
use crate::kernel::netlink::Netlink;
use crate::kernel::nic;
use crate::kernel::process::Census;
use crate::link::physical::Physical;
use crate::plan::Step;
use crate::store::Records;
use crate::store::index::Entry;
use crate::store::record::Record;

/// A container as `ls --json` and `inspect --json` show it. Fields are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    id: String,
    bundle: PathBuf,
    pid: Option<i32>,
    /// Where its network namespace was found, if it was not by a process.
    netns: Option<PathBuf>,
    pub(super) status: &'static str,
    interface: String,
    host_interface: Option<String>,
    bridge: Option<String>,
    mac: Option<String>,
    addresses: Vec<String>,
    gateway: Option<String>,
    published: Vec<Port>,
    pub(super) since: String,
    pub(super) nics: Vec<Nic>,
}

/// An interface of the host that is inside.
#[derive(Debug, Serialize)]
pub(super) struct Nic {
    /// Its name on the host.
    pub(super) name: String,
    /// Its name inside.
    pub(super) interface: String,
    /// What it was given inside.
    addresses: Vec<String>,
}

impl Row {
    /// What the record says, and what the kernel says to it.
    pub(super) fn new(record: &Record, census: &Census, netlink: &Netlink) -> Result<Self> {
        Ok(Self {
            id: record.id.clone(),
            bundle: record.bundle.clone(),
            pid: record.process.pid(),
            netns: record.process.path.clone(),
            status: status(record, census, netlink)?,
            interface: record.interface.to_string(),
            host_interface: record.host_interface.as_ref().map(ToString::to_string),
            bridge: record.bridge.as_ref().map(ToString::to_string),
            mac: record.mac.map(|mac| mac.to_string()),
            addresses: record.addresses.iter().map(ToString::to_string).collect(),
            gateway: record.gateway.map(|gateway| gateway.to_string()),
            published: record.published.iter().map(Port::of).collect(),
            since: humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(record.since))
                .to_string(),
            nics: nics(record).map(|nic| Nic::new(nic, record)).collect(),
        })
    }
}

fn nics(record: &Record) -> impl Iterator<Item = &Physical> {
    record.steps.iter().filter_map(|step| match step {
        Step::MoveNic(nic) => Some(&**nic),
        _ => None,
    })
}

impl Nic {
    fn new(nic: &Physical, record: &Record) -> Self {
        let own = record.steps.iter().filter_map(|step| match step {
            Step::AddAddress { link, address, pid: Some(_) } if *link == nic.inside => {
                Some(address.to_string())
            }
            _ => None,
        });
        Self { name: nic.name.to_string(), interface: nic.inside.to_string(), addresses: own.collect() }
    }
}

/// `dead` is to be reaped by the next run; `incomplete` was interrupted half way, or has lost
/// its cable, its bridge or an interface.
pub(super) fn status(record: &Record, census: &Census, netlink: &Netlink) -> Result<&'static str> {
    let entry = Entry::from(record);
    if !lives(&entry, census, netlink, false)? {
        return Ok("dead");
    }
    let mut whole = record.done && hangs(record, netlink)?;
    for nic in nics(record) {
        whole = whole && nic::is_inside(netlink, nic)?;
    }
    Ok(if whole { "running" } else { "incomplete" })
}

/// Whether the container's cable, if it has one, is there and on the bridge.
fn hangs(record: &Record, netlink: &Netlink) -> Result<bool> {
    let (Some(name), Some(bridge)) = (&record.host_interface, &record.bridge) else {
        return Ok(true);
    };
    let operation = || format!("look at link {name}");
    let cable = netlink.link(name.as_str()).doing(operation)?;
    let bridge = netlink.link(bridge.as_str()).doing(operation)?.map(|bridge| bridge.index);
    Ok(cable.is_some_and(|cable| cable.master.is_some() && cable.master == bridge))
}

/// Prints every container, as a table or as a JSON array.
///
/// # Errors
/// The records cannot be read, or the kernel does not answer.
pub fn ls(settings: &Settings, json: bool) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    warn_of_damage(&settings.log, &records.damaged);
    let (census, netlink) = (census_of(&records)?, Netlink::open()?);
    let rows = records.containers.iter().map(|record| Row::new(record, &census, &netlink));
    let rows = rows.collect::<Result<Vec<_>>>()?;
    if json {
        let text = serde_json::to_string_pretty(&rows).doing(|| "write JSON")?;
        return print(&format!("{text}\n"));
    }
    let head = ["IP", "LOCAL VETH", "PID", "STATUS", "CONTAINER", "PORTS"].map(str::to_owned);
    let ports =
        |record: &Record| record.published.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let cells = rows.into_iter().zip(&records.containers).map(|(row, record)| {
        let ips: Vec<String> = record.addresses.iter().map(|a| a.ip().to_string()).collect();
        let [ip, pid] = [ips.join(","), row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())];
        let veth = row.host_interface.unwrap_or_else(|| "-".to_owned());
        [ip, veth, pid, row.status.to_owned(), row.id, ports(record)]
    });
    print(&table(&[head].into_iter().chain(cells).collect::<Vec<_>>()))?;
    let failures = failures::recall(&settings.state_dir, None);
    if let Some(last) = failures.last() {
        let file = failures::file(&settings.state_dir);
        settings.log.note(&format!("{} failures in {}, last: {last}", failures.len(), file.display()));
    }
    Ok(())
}

/// Left-aligned columns, two spaces apart.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
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
