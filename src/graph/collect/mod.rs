//! From records and kernel to a [`Picture`].

mod inside;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Bridge, Container, End, Link, Namespace, Outside, Picture, Place, Uplink};
use crate::error::{Doing, Result};
use crate::kernel::netlink::Netlink;
use crate::kernel::{Kernel, process};
use crate::model::network::Network;
use crate::model::observed::{self, Links};
use crate::model::parent::Parent;
use crate::model::record::Record;
use crate::model::step::Step;
use crate::operations::status::Statuses;
use crate::store::Records;
use inside::Inside;

/// Observes everything.
pub(super) fn picture(kernel: &mut Kernel, records: &Records) -> Result<Picture> {
    let host = links_of(kernel.netlink())?;
    let statuses = Statuses::new(records)?;
    let mut namespaces = Vec::new();
    for group in groups(&records.containers) {
        let mut namespace = Namespace {
            bridge: group
                .iter()
                .find_map(|record| record.bridge().or(record.first()?.parent.as_ref()))
                .map_or_else(String::new, ToString::to_string),
            ..Namespace::default()
        };
        for record in &group {
            let status = statuses.of(record, kernel.netlink())?.to_string();
            namespace.containers.push(container(record, status));
        }
        ends(&mut namespace, kernel, &host, records, &group)?;
        namespaces.push(namespace);
    }
    name_each_other(&mut namespaces);
    let mut bridges: Vec<Bridge> = Vec::new();
    for network in &records.networks {
        let bridge = bridge(&host, network, &namespaces);
        // Several networks may be on one parent.
        if !bridges.contains(&bridge) {
            bridges.push(bridge);
        }
    }
    Ok(Picture { bridges, uplinks: uplinks(kernel.netlink(), &host)?, namespaces })
}

fn links_of(netlink: &Netlink) -> Result<Links> {
    netlink.links_in_full().doing(|| "look at links and addresses")
}

/// Those that share a network namespace, the one first that its veth pair was made for.
fn groups(records: &[Record]) -> Vec<Vec<&Record>> {
    let mut groups: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
    for record in records {
        groups.entry(record.namespace()).or_default().push(record);
    }
    let mut groups: Vec<Vec<&Record>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_by_key(|record| (!has_veth_of_its_own(record), record.since, record.id()));
    }
    groups
        .sort_by_key(|group| group.first().map(|first| (first.addresses().collect::<Vec<_>>(), first.id())));
    groups
}

/// Whether a veth pair has the name that is made of its pid.
fn has_veth_of_its_own(record: &Record) -> bool {
    let Some(pid) = record.sandbox.pid() else { return false };
    let ending = format!("-{pid}");
    record.host_interfaces().any(|name| name.as_str().ends_with(&ending))
}

fn container(record: &Record, status: String) -> Container {
    let on_networks = record.attachments.iter().filter(|attachment| attachment.network.is_some());
    Container {
        id: record.id().to_owned(),
        bundle: record.container.bundle.display().to_string(),
        pid: record.sandbox.pid(),
        status,
        leases: on_networks.flat_map(|attachment| attachment.addresses.iter().copied()).collect(),
        published: record.ports.clone(),
    }
}

fn uplinks(netlink: &Netlink, host: &Links) -> Result<Vec<Uplink>> {
    let mut uplinks: Vec<Uplink> = Vec::new();
    for route in netlink.default_routes(host).doing(|| "look at the host's routes")? {
        let Some(link) = route.link.and_then(|index| host.by_index(index)) else { continue };
        match uplinks.iter_mut().find(|known| known.link.index == link.index) {
            Some(known) => known.gateways.extend(route.gateway),
            None => uplinks.push(Uplink { link: link.into(), gateways: route.gateway.into_iter().collect() }),
        }
    }
    Ok(uplinks)
}

fn bridge(host: &Links, network: &Network, namespaces: &[Namespace]) -> Bridge {
    let name = network.parent.as_ref().map_or(&network.bridge, Parent::lower).as_str();
    let Some(link) = host.by_name(name) else {
        let (name, state) = (name.to_owned(), "missing".to_owned());
        let link = Link { name, state, addresses: network.subnets.clone(), ..Link::default() };
        return Bridge { link, strangers: Vec::new() };
    };
    let ours: HashSet<u32> = namespaces
        .iter()
        .flat_map(|namespace| &namespace.ends)
        .filter_map(|end| end.outside.as_ref())
        .filter(|outside| outside.place == Place::Host)
        .map(|outside| outside.index)
        .collect();
    let strange = |port: &&observed::Link| port.master == Some(link.index) && !ours.contains(&port.index);
    Bridge { link: link.into(), strangers: host.0.iter().filter(strange).map(Link::from).collect() }
}

/// The interfaces in the namespace that the containers of `group` share.
fn ends(
    namespace: &mut Namespace,
    kernel: &mut Kernel,
    host: &Links,
    records: &Records,
    group: &[&Record],
) -> Result<()> {
    let mut opened = group.iter().filter_map(|record| {
        let netns = process::reopen(&record.sandbox, record.id()).ok()?;
        Some((netns, record.id()))
    });
    let Some((netns, id)) = opened.next() else {
        namespace.ends = from_the_host(host, group);
        return Ok(());
    };
    kernel.enter(netns, 0)?;
    let (ends, more) = Inside::new(kernel.inside_netlink()?, id, host, records)?.ends(group)?;
    namespace.ends = ends;
    namespace.more_interfaces = more;
    Ok(())
}

/// A link of the host as the other end of an interface.
fn on_host(host: &Links, index: u32) -> Outside {
    let link = host.by_index(index);
    Outside {
        place: Place::Host,
        index,
        name: link.map(|link| link.name.clone()),
        bridge: link.and_then(|link| host.bridge_of(link)).map(|bridge| bridge.name.clone()),
        port: link.and_then(|link| link.port.as_ref()).map(|port| port.state.clone()),
    }
}

/// The veth pairs, as they are seen from the host, of a namespace that has no process of ours in
/// it any more.
fn from_the_host(host: &Links, group: &[&Record]) -> Vec<End> {
    let mut ends: Vec<End> = Vec::new();
    for step in group.iter().flat_map(|record| &record.steps) {
        let Step::AddVeth(veth) = step else { continue };
        let link = host.by_name(veth.name.as_str()).filter(|link| link.address == veth.mac.0);
        let end = link.map(|link| End { inside: None, outside: Some(on_host(host, link.index)) });
        ends.extend(end.filter(|end| !ends.contains(end)));
    }
    ends
}

/// Finds the names of those ends that are in other containers.
fn name_each_other(namespaces: &mut [Namespace]) {
    let mut names: HashMap<(String, u32), String> = HashMap::new();
    for namespace in namespaces.iter() {
        for link in namespace.ends.iter().filter_map(|end| end.inside.as_ref()) {
            for container in &namespace.containers {
                names.insert((container.id.clone(), link.index), link.name.clone());
            }
        }
    }
    let outsides = namespaces.iter_mut().flat_map(|namespace| &mut namespace.ends);
    for outside in outsides.filter_map(|end| end.outside.as_mut()) {
        if let Place::Container(id) = &outside.place {
            outside.name = names.get(&(id.clone(), outside.index)).cloned();
        }
    }
}
