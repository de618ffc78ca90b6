//! The host: its links, routes, parameters and rules; and its side of containers.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::{parents, rules};
use crate::config::Settings;
use crate::doctor::facts::{Container, Facts, Host, Parameters, Probe, Stale, Switch};
use crate::error::{Doing, Error, Result};
use crate::kernel::conntrack::{self, Lead};
use crate::kernel::listeners;
use crate::kernel::netlink::Netlink;
use crate::kernel::sysctl::Sysctl;
use crate::model::limits::{Limits, Queue};
use crate::model::network::{Network, NetworkName, NetworkSpec};
use crate::model::observed::{Link, Links};
use crate::model::port::PortMapping;
use crate::model::record::{Attachment, Record};
use crate::model::step::Step;
use crate::model::value::Iface;
use crate::operations::status::{Status, Statuses};
use crate::operations::{self, Unrecorded};
use crate::rootfs::resolver;
use crate::store::Records;

/// How long a queue is watched.
const MOMENT: Duration = Duration::from_millis(300);

/// Everything but what is inside of containers.
pub(super) fn observe(settings: &Settings, records: &Records) -> Result<Facts> {
    let netlink = Netlink::open()?;
    let published: Vec<PortMapping> =
        records.containers.iter().flat_map(|record| record.ports.iter().cloned()).collect();
    let mut host = host(&netlink, &published)?;
    let steps = records.containers.iter().flat_map(|record| &record.steps);
    host.limits = netlink.limits(steps, &host.links).doing(|| "look at rates")?;
    host.overflow = overflow(&netlink, &host.limits).doing(|| "look at rates")?;
    let wanted = operations::wanted_rules(records);
    let flows = conntrack::astray(&netlink, &wanted).unwrap_or_default();
    let statuses = Statuses::new(records)?;
    let mut containers = Vec::new();
    let stale = |record: &Record| -> Result<Option<Stale>> {
        if records.incomplete.contains(&record.key()) {
            return Ok(Some(Stale::Interrupted));
        }
        Ok((statuses.of(record, &netlink)? == Status::Dead).then_some(Stale::Dead))
    };
    for record in &records.containers {
        let stale = stale(record)?;
        let of = Observer { netlink: &netlink, host: &host, record, stale, flows: &flows };
        containers.extend(of.containers());
    }
    let unrecorded = operations::unrecorded(records, &netlink)?;
    Ok(Facts {
        netns: "netns".to_owned(),
        firewall: rules::observe(&settings.log, &wanted),
        networks: records.networks.iter().filter(|network| network.parent.is_none()).cloned().collect(),
        parents: parents::observe(records, stale)?,
        containers,
        strangers: strangers(records, &host.links, &unrecorded),
        unrecorded,
        host,
        mistake: settings.mistake().map(told),
        unread_subnets: settings.unread_subnets().iter().map(told).collect(),
        changed: changed(&settings.networks().unwrap_or_default(), records),
    })
}

/// Why, and what to do.
fn told(error: &Error) -> (String, Option<String>) {
    let told = error.to_string();
    match told.split_once("\n  hint: ") {
        Some((why, hint)) => (why.to_owned(), Some(hint.to_owned())),
        None => (told, None),
    }
}

/// The networks with containers that are not as they are defined now.
fn changed(defined: &[NetworkSpec], records: &Records) -> Vec<(NetworkName, String)> {
    let is_used = |name: &NetworkName| {
        records.containers.iter().any(|record| record.networks().any(|network| network == name))
    };
    let used = records.networks.iter().filter(|network| is_used(&network.name));
    let changed = used.filter_map(|known| {
        let spec = defined.iter().find(|spec| spec.name == known.name && !spec.subnets.is_empty())?;
        let differences = spec.differences(known);
        let why = format!("{} has changed: {}", spec.said_by(), differences.join("; "));
        (!differences.is_empty()).then(|| (known.name.clone(), why))
    });
    changed.collect()
}

/// How many packets more find each queue full within a moment. Only those are looked at again that
/// have ever been full.
fn overflow(netlink: &Netlink, limits: &Limits) -> io::Result<HashMap<u32, u32>> {
    if limits.queues.values().all(|queue| queue.dropped == 0) {
        return Ok(HashMap::new());
    }
    std::thread::sleep(MOMENT);
    let more = |(link, now): (u32, Queue)| {
        Some((link, now.dropped.saturating_sub(limits.queues.get(&link)?.dropped)))
    };
    Ok(netlink.queues()?.into_iter().filter_map(more).collect())
}

fn host(netlink: &Netlink, published: &[PortMapping]) -> Result<Host> {
    let operation = || "look at the host";
    let sysctl = Sysctl::default();
    let is_on = |key: &str| Ok(sysctl.read(key).doing(operation)?.as_deref() == Some("1"));
    let links = netlink.links_in_full().doing(operation)?;
    let is_absent = |address: &IpAddr| !listeners::has_address(*address);
    let (ipv4, router) = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding");
    // Since Linux 6.17: the parameter of each link, and not that of all, counts.
    let forced = "net/ipv6/conf/all/force_forwarding";
    let is_router = is_on(router)?;
    let ipv6 = match sysctl.read(forced).doing(operation)? {
        Some(value) => Switch { key: forced, on: is_router || value == "1" },
        None => Switch { key: router, on: is_router },
    };
    let parameters = |link: &Link| (link.index, parameters(&sysctl, link, is_router));
    Ok(Host {
        forwarding: [Switch { key: ipv4, on: is_on(ipv4)? }, ipv6],
        bridge_netfilter: [
            is_on("net/bridge/bridge-nf-call-iptables")?,
            is_on("net/bridge/bridge-nf-call-ip6tables")?,
        ],
        parameters: links.0.iter().map(parameters).collect(),
        routes: netlink.routes(&links).doing(operation)?,
        links,
        resolver: resolver::of_host()?,
        absent: published.iter().filter_map(|mapping| mapping.host_ip).filter(is_absent).collect(),
        listeners: listeners::in_the_way(published),
        ..Host::default()
    })
}

/// Ports of bridges that we made, other than the host ends of containers that we know of.
fn strangers(records: &Records, links: &Links, unrecorded: &[Unrecorded]) -> Vec<(Iface, String)> {
    let ours = |network: &&Network| network.steps.iter().any(|step| matches!(step, Step::AddBridge(_)));
    let bridges: Vec<&Iface> = records.networks.iter().filter(ours).map(|network| &network.bridge).collect();
    let recorded = records.containers.iter().flat_map(Record::host_interfaces).map(Iface::as_str);
    let unrecorded = unrecorded.iter().flat_map(|one| &one.links).map(|link| link.name.as_str());
    let known: HashSet<&str> = recorded.chain(unrecorded).collect();
    let stranger = |link: &Link| {
        let bridge = links.bridge_of(link)?;
        let bridge = bridges.iter().find(|name| name.as_str() == bridge.name)?;
        let is_stranger = link.kind.as_deref() == Some("veth") && !known.contains(link.name.as_str());
        is_stranger.then(|| ((*bridge).clone(), link.name.clone()))
    };
    links.0.iter().filter_map(stranger).collect()
}

fn parameters(sysctl: &Sysctl, link: &Link, is_router: bool) -> Parameters {
    let number = |link: &str, key: &str| {
        let value = sysctl.read(&format!("net/{link}/{key}")).ok().flatten();
        value.and_then(|value| value.parse::<u8>().ok()).unwrap_or_default()
    };
    let [ipv4, ipv6] = ["ipv4", "ipv6"].map(|family| format!("{family}/conf/{}", link.name));
    let larger = |key: &str| number("ipv4/conf/all", key).max(number(&ipv4, key));
    Parameters {
        forwarding: [number(&ipv4, "forwarding") == 1, is_router || number(&ipv6, "force_forwarding") == 1],
        rp_filter: larger("rp_filter"),
        route_localnet: larger("route_localnet") == 1,
    }
}

/// What the host knows of one container.
struct Observer<'a> {
    netlink: &'a Netlink,
    host: &'a Host,
    record: &'a Record,
    stale: Option<Stale>,
    flows: &'a [(Lead, String)],
}

impl Observer<'_> {
    /// One for each of its attachments to a bridge.
    fn containers(&self) -> Vec<Container> {
        let all = self.record.attachments.iter();
        let mut containers: Vec<Container> =
            all.filter_map(|attachment| self.container(attachment)).collect();
        if let Some(first) = containers.first_mut() {
            first.first = true;
            let mine = self.flows.iter().filter(|(lead, _)| self.is_mine(lead));
            first.flows = mine.map(|(_, command)| command.clone()).collect();
        }
        containers
    }

    fn container(&self, attachment: &Attachment) -> Option<Container> {
        let bridge = attachment.bridge.clone()?;
        let address = attachment.addresses.first().map(|address| address.ip());
        let sent_by = match address {
            Some(address @ IpAddr::V4(_)) => self.sent_by(address),
            _ => Ok(self.host.link(&bridge).map(|link| link.name.clone())),
        };
        Some(Container {
            record: self.record.clone(),
            attachment: attachment.clone(),
            first: false,
            bridge,
            host_end: attachment.host_interface.clone()?,
            gateway: attachment.gateways.first().copied()?,
            stale: self.stale,
            inside: None,
            listeners: None,
            sent_by,
            flows: Vec::new(),
            probe: Probe::default(),
        })
    }

    /// The link by which the kernel would send a packet to `address`.
    fn sent_by(&self, address: IpAddr) -> std::result::Result<Option<String>, String> {
        let found = self.netlink.way_to(address).map_err(|error| error.to_string())?;
        let link = found.and_then(|index| self.host.links.by_index(index));
        Ok(link.map(|link| link.name.clone()))
    }

    fn is_mine(&self, (mapping, to): &Lead) -> bool {
        self.record.ports.contains(mapping) && self.record.addresses().any(|address| address.ip() == *to)
    }
}
