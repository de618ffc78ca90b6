//! The list of networks: those that the configuration file defines, and those that are there.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::ls::table;
use crate::config::Settings;
use crate::error::{Doing, Result};
use crate::graph::written_json;
use crate::kernel::netlink::Netlink;
use crate::log::print;
use crate::model::network::{Isolation, Mode, Network, NetworkSpec, written};
use crate::model::parent::Parent;
use crate::model::route::RouteSpec;
use crate::model::rule::Backend;
use crate::model::value::Iface;
use crate::operations::warn_of_damage;
use crate::store::Records;

/// A network as `networks --json` shows it. Fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// `bridge`, `macvlan` or `ipvlan`.
    driver: &'static str,
    /// On a parent what the host's own interface is called, or would be.
    bridge: String,
    /// The link of the host that it is on, in place of a bridge.
    parent: Option<String>,
    subnets: Vec<IpNetwork>,
    mode_ipv4: Mode,
    mode_ipv6: Mode,
    internal: bool,
    isolate: Isolation,
    inter_container: bool,
    mtu: Option<u32>,
    firewall: Option<Backend>,
    routes: Vec<RouteSpec>,
    dns: Vec<IpAddr>,
    subnet_from: Option<PathBuf>,
    trusted_interfaces: Vec<Iface>,
    no_masquerade_to: Vec<IpNetwork>,
    /// Whether the configuration file defines it.
    defined: bool,
    /// `up`, `down` (its bridge or its parent is gone), `changed` (the definition says otherwise), or `absent`.
    status: &'static str,
    /// How the definition differs.
    differences: Vec<String>,
    /// The ids of those that are on it.
    containers: Vec<String>,
}

/// Prints every network, as a table or as a JSON array.
///
/// # Errors
/// The configuration file or the records cannot be read, or the kernel does not answer.
pub fn networks(settings: &Settings, json: bool) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    warn_of_damage(&settings.log, &records);
    settings.unread_subnets().iter().for_each(|error| settings.log.warn(error));
    let (defined, netlink) = (settings.networks()?, Netlink::open()?);
    let mut rows = Vec::new();
    for spec in &defined {
        let known = records.networks.iter().find(|network| network.name == spec.name);
        rows.push(row(spec, known, &records, &netlink)?);
    }
    let is_defined = |network: &Network| defined.iter().any(|spec| spec.name == network.name);
    for network in records.networks.iter().filter(|network| !is_defined(network)) {
        rows.push(row(&network.spec(), Some(network), &records, &netlink)?);
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    if json {
        return print(&written_json(&rows)?);
    }
    let head = ["NETWORK", "LINK", "SUBNETS", "MODE", "STATUS", "CONTAINERS"].map(str::to_owned);
    let cells = rows.into_iter().map(|row| {
        let mut modes = vec![row.mode_ipv4, row.mode_ipv6];
        modes.dedup();
        let mode = modes.iter().map(written).collect::<Vec<_>>().join(",");
        let mode = if row.internal { format!("{mode},internal") } else { mode };
        let count = row.containers.len().to_string();
        let (link, mode) = match row.parent {
            Some(parent) => (parent, row.driver.to_owned()),
            None => (row.bridge, mode),
        };
        let subnets = row.subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        [row.name, link, subnets, mode, row.status.to_owned(), count]
    });
    print(&table(&[head].into_iter().chain(cells).collect::<Vec<_>>()))
}

fn row(spec: &NetworkSpec, known: Option<&Network>, records: &Records, netlink: &Netlink) -> Result<Row> {
    // As it was, where the file that says how it is to be cannot be read.
    let mut shown = known.filter(|_| spec.subnets.is_empty()).map_or_else(|| spec.clone(), Network::spec);
    if let Some(known) = known {
        // What was chosen once stays.
        if spec.lent {
            shown.subnets.clone_from(&known.subnets);
        }
        (shown.mtu, shown.firewall) = (Some(known.mtu), Some(known.firewall));
    }
    let differences = known.map_or_else(Vec::new, |known| shown.differences(known));
    let parent = known.map_or(&shown.parent, |known| &known.parent).as_ref();
    let link = parent.map_or(known.map_or(&shown.bridge, |known| &known.bridge), Parent::lower);
    let there = netlink.link(link.as_str()).doing(|| format!("look at link {link}"))?.is_some();
    let status = match known {
        None => "absent",
        Some(_) if !differences.is_empty() => "changed",
        Some(_) if there => "up",
        Some(_) => "down",
    };
    let on = records.containers.iter().filter(|record| record.networks().any(|name| *name == spec.name));
    Ok(Row {
        name: shown.name.to_string(),
        driver: parent.map_or("bridge", |parent| parent.kind.driver()),
        parent: parent.map(|parent| parent.lower().to_string()),
        bridge: shown.bridge.to_string(),
        subnets: shown.subnets,
        mode_ipv4: shown.reach.mode_ipv4,
        mode_ipv6: shown.reach.mode_ipv6,
        internal: shown.reach.internal,
        isolate: shown.reach.isolate,
        inter_container: shown.reach.inter_container,
        mtu: shown.mtu,
        firewall: shown.firewall,
        routes: shown.routes,
        dns: shown.dns,
        subnet_from: spec.subnet_from.clone(),
        trusted_interfaces: shown.peers.trusted_interfaces,
        no_masquerade_to: shown.peers.no_masquerade_to,
        defined: spec.defined,
        status,
        differences,
        containers: on.map(|record| record.id().to_owned()).collect(),
    })
}
