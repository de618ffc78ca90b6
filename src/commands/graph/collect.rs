//! From records and kernel to a [`Picture`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::os::fd::AsFd;

use ipnetwork::IpNetwork;

use crate::commands::{census_of, links_of, ls, room};
use crate::error::{Doing, Result};
use crate::graph::{Bridge, Container, End, Link, Namespace, Outside, Picture, Place, Uplink};
use crate::kernel::Kernel;
use crate::kernel::netlink::{LinkDetail, Links, Netlink};
use crate::kernel::process::{self, Census};
use crate::plan::Step;
use crate::store::Records;
use crate::store::record::Record;

/// See [`is_fallback`]; `net.core.fb_tunnels_only_for_init_net` is about the same.
const FALLBACKS: [&str; 9] =
    ["tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"];

fn link(links: &Links, detail: &LinkDetail) -> Link {
    Link {
        index: detail.seen.index,
        name: detail.seen.name.clone(),
        kind: detail.kind.clone(),
        state: detail.seen.state.clone(),
        mac: detail.seen.mac(),
        mtu: detail.seen.mtu,
        addresses: links.addresses_of(detail).to_vec(),
        alias: detail.seen.alias.clone(),
    }
}

/// A link of the host as the other end of a cable.
fn outside(host: &Links, index: u32) -> Outside {
    let link = host.by_index(index);
    Outside {
        place: Place::Host,
        index,
        name: link.map(|link| link.seen.name.clone()),
        bridge: link.and_then(|link| host.bridge_of(link)),
        port: link.and_then(|link| link.port.as_ref()).map(|port| port.state.clone()),
    }
}

/// Looks at everything.
pub(super) fn picture(kernel: &mut Kernel, records: &Records) -> Result<Picture> {
    let host = links_of(kernel.netlink())?;
    let census = census_of(records)?;
    let mut rooms: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
    for record in &records.containers {
        rooms.entry(room(record)).or_default().push(record);
    }
    let mut rooms: Vec<Vec<&Record>> = rooms.into_values().collect();
    for room in &mut rooms {
        // The one first that the cable was made for.
        let joined = |record: &Record| {
            let of_its_own = format!("-{}", record.process.pid);
            record.host_interface.as_ref().is_none_or(|name| !name.as_str().ends_with(&of_its_own))
        };
        room.sort_by_key(|record| (joined(record), record.since, record.id.clone()));
    }
    rooms.sort_by_key(|room| room.first().map(|first| (first.addresses.clone(), first.id.clone())));
    let mut namespaces = Vec::new();
    for room in &rooms {
        namespaces.push(namespace(kernel, &census, &host, records, room)?);
    }
    name_each_other(&mut namespaces);
    let bridges = records.networks.iter().map(|network| {
        let name = network.bridge.as_str();
        bridge(&host, name, network.gateway, &namespaces)
    });
    Ok(Picture { bridges: bridges.collect(), uplinks: uplinks(kernel.netlink(), &host)?, namespaces })
}

fn uplinks(netlink: &Netlink, host: &Links) -> Result<Vec<Uplink>> {
    let mut uplinks: Vec<Uplink> = Vec::new();
    for way in netlink.ways_out().doing(|| "look at the host's routes")? {
        let Some(detail) = host.by_index(way.link) else { continue };
        match uplinks.iter_mut().find(|known| known.link.index == way.link) {
            Some(known) => known.gateways.extend(way.gateway),
            None => {
                uplinks.push(Uplink { link: link(host, detail), gateways: way.gateway.into_iter().collect() })
            }
        }
    }
    Ok(uplinks)
}

fn bridge(host: &Links, name: &str, gateway: IpNetwork, namespaces: &[Namespace]) -> Bridge {
    let Some(detail) = host.by_name(name) else {
        let state = "missing".to_owned();
        let link = Link { name: name.to_owned(), state, addresses: vec![gateway], ..Link::default() };
        return Bridge { link, strangers: Vec::new() };
    };
    let ours: HashSet<u32> = namespaces
        .iter()
        .flat_map(|namespace| &namespace.ends)
        .filter_map(|end| end.outside.as_ref())
        .filter(|outside| outside.place == Place::Host)
        .map(|outside| outside.index)
        .collect();
    let ports = host.all.iter().filter(|link| link.seen.master == Some(detail.seen.index));
    let strangers = ports.filter(|port| !ours.contains(&port.seen.index)).map(|port| link(host, port));
    Bridge { link: link(host, detail), strangers: strangers.collect() }
}

/// The namespace that the containers of `room` share.
fn namespace(
    kernel: &mut Kernel,
    census: &Census,
    host: &Links,
    records: &Records,
    room: &[&Record],
) -> Result<Namespace> {
    let mut namespace = Namespace::default();
    for record in room {
        namespace.bridge = record.bridge.as_ref().map_or_else(String::new, ToString::to_string);
        namespace.containers.push(Container {
            id: record.id.clone(),
            bundle: record.bundle.display().to_string(),
            pid: record.process.pid(),
            status: ls::status(record, census, kernel.netlink())?,
            leases: record.addresses.clone(),
            published: record.published.clone(),
        });
    }
    let open = |record: &&Record| {
        let netns = process::reopen(&record.process, &record.id).ok()?;
        Some((netns, record.process.pid, record.id.clone()))
    };
    let Some((netns, pid, id)) = room.iter().find_map(open) else {
        namespace.ends = from_the_host(host, room);
        return Ok(namespace);
    };
    kernel.enter(netns, pid)?;
    let inside = kernel.inside_netlink()?;
    let scene = links_of(inside)?;
    let way_back = number_of_host(inside)?;
    for detail in scene.all.iter().filter(|detail| detail.kind != "loopback" && !is_fallback(detail)) {
        let outside = match (detail.seen.peer.filter(|index| *index != 0), detail.peer_netns) {
            (None, _) => None,
            (Some(index), None) => {
                Some(Outside { place: Place::Container(id.clone()), index, ..Outside::default() })
            }
            (Some(index), number) if number == way_back => Some(outside(host, index)),
            (Some(index), number) => {
                let place = elsewhere(inside, records, number);
                Some(Outside { place, index, ..Outside::default() })
            }
        };
        namespace.ends.push(End { inside: Some(link(&scene, detail)), outside });
    }
    Ok(namespace)
}

/// Whether it is one of those that the kernel puts into every new namespace where certain
/// tunnels are loaded, and nobody uses.
fn is_fallback(detail: &LinkDetail) -> bool {
    !detail.seen.up && FALLBACKS.contains(&detail.seen.name.as_str())
}

/// What can be seen of the cables of a namespace that has no process of ours in it any more.
fn from_the_host(host: &Links, room: &[&Record]) -> Vec<End> {
    let mut ends: Vec<End> = Vec::new();
    for step in room.iter().flat_map(|record| &record.steps) {
        let Step::AddVeth(veth) = step else { continue };
        let cable = host.by_name(veth.name.as_str());
        let Some(cable) = cable.filter(|cable| cable.seen.address == veth.mac.0) else { continue };
        let end = End { inside: None, outside: Some(outside(host, cable.seen.index)) };
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    ends
}

fn number_of_host(inside: &Netlink) -> Result<Option<i32>> {
    let operation = || "look for the way back to the host";
    let own = File::open("/proc/thread-self/ns/net").doing(operation)?;
    inside.number_of(own.as_fd()).doing(operation)
}

/// The container in whose namespace a link's other end is, if it is one of ours.
fn elsewhere(inside: &Netlink, records: &Records, number: Option<i32>) -> Place {
    let there = |record: &&Record| {
        let opened = process::reopen(&record.process, &record.id).ok();
        let known = opened.and_then(|netns| inside.number_of(netns.as_fd()).ok().flatten());
        known.is_some() && known == number
    };
    let found = records.containers.iter().find(there);
    found.map_or(Place::Elsewhere, |record| Place::Container(record.id.clone()))
}

/// Finds the names of those ends of cables that are in other containers.
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
