//! What the kernel has of ours that no record tells of: the state directory was lost, or somebody
//! uses another one. The alias of a host end is the container's id, its MAC address the lease.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;

use super::run::Run;
use crate::error::{Doing, Error, Kind, Result};
use crate::kernel::namespaces;
use crate::kernel::netlink::Netlink;
use crate::model::container::{Key, check_id};
use crate::model::link::{BRIDGE_MAC, CONTAINER_MAC, HOST_END, HOST_MAC, IFB, IFB_MAC, ifb_mac, ifb_of};
use crate::model::network::{NetworkName, NetworkSpec};
use crate::model::observed::{Link, Links};
use crate::model::sandbox::NetnsRef;
use crate::model::step::{NETNS_DIRECTORY, Step};
use crate::model::value::{self, Mac};
use crate::store::Records;

/// A container that host ends of ours lead to, and no record tells of.
#[derive(Debug, Clone)]
pub struct Unrecorded {
    /// Its id.
    pub id: String,
    /// Its host ends; or a link that outlived one.
    pub links: Vec<Link>,
    /// Where its network namespace is; `None` where nobody lives in it.
    pub(super) netns: Option<NetnsRef>,
}

impl Unrecorded {
    /// Its leases.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.links.iter().flat_map(|link| link.addresses.iter().map(|address| address.ip()))
    }

    /// That it is there, for whoever may take it for gone.
    pub(super) fn tell(&self, operation: impl std::fmt::Display) -> Error {
        let addresses: Vec<String> = self.addresses().map(|address| address.to_string()).collect();
        let cause = format!(
            "container {} ({}) is attached, and no record tells of it",
            self.id,
            addresses.join(", ")
        );
        let hint = "`netns gc --adopt` makes a record of what the kernel knows of it";
        Error::new(operation.to_string(), cause).of(Kind::Conflict).hint(hint)
    }
}

/// The leases that a host end was made for: those addresses that the host was told of with the
/// one of IPv4 that it has its own from, or with the address that a container end has that goes with it.
fn leases(link: &Link, told: &[(u32, IpAddr, Vec<u8>)]) -> Vec<IpNetwork> {
    let Ok([_, _, tail @ ..]) = <[u8; 6]>::try_from(link.address.as_slice()) else { return Vec::new() };
    let first = IpAddr::from(tail);
    let here = || told.iter().filter(|(on, ..)| Some(*on) == link.master);
    let usual = [&[0x02, CONTAINER_MAC], &tail[..]].concat();
    let mac = here().find(|(_, address, _)| *address == first).map_or(&usual, |(.., mac)| mac);
    let leases: Vec<IpNetwork> =
        here().filter(|(.., of)| of == mac).map(|(_, address, _)| (*address).into()).collect();
    if leases.is_empty() { vec![first.into()] } else { leases }
}

fn is_host_end(link: &Link) -> bool {
    let id = link.alias.as_deref().unwrap_or_default();
    let is_veth = link.name.starts_with(HOST_END) && link.kind.as_deref() == Some("veth");
    is_veth && link.address.starts_with(&[0x02, HOST_MAC]) && check_id(id).is_ok()
}

/// Whether it is a link that what a container sends waits on, and the host end that it goes with
/// is gone.
fn is_left_alone(link: &Link, links: &Links) -> bool {
    let Some(ending) = link.name.strip_prefix(IFB) else { return false };
    let ours = link.kind.as_deref() == Some("ifb") && link.address.starts_with(&[0x02, IFB_MAC]);
    ours && links.by_name(&format!("{HOST_END}{ending}")).is_none_or(|end| !is_host_end(end))
}

/// Those who live and whom no record tells of; by their ids.
///
/// # Errors
/// The kernel does not answer.
pub fn unrecorded(records: &Records, netlink: &Netlink) -> Result<Vec<Unrecorded>> {
    let mut all = living_or_not(records, netlink)?;
    all.retain(|one| one.netns.is_some());
    Ok(all)
}

fn living_or_not(records: &Records, netlink: &Netlink) -> Result<Vec<Unrecorded>> {
    let steps = records.containers.iter().flat_map(|record| &record.steps);
    let recorded: HashSet<_> = steps
        .filter_map(|step| match step {
            Step::AddVeth(veth) => Some(veth.mac.0.to_vec()),
            Step::AddIfb(ifb) => Some(ifb.mac.0.to_vec()),
            _ => None,
        })
        .collect();
    let mut links = netlink.links().doing(|| "look at links")?;
    links.0.retain(|link| !recorded.contains(&link.address));
    let alone = links.0.iter().filter(|link| is_left_alone(link, &links));
    let id = |link: &Link| link.alias.clone().unwrap_or_default();
    let mut all: Vec<Unrecorded> =
        alone.map(|link| Unrecorded { id: id(link), links: vec![link.clone()], netns: None }).collect();
    let Links(mut ends) = links;
    ends.retain(is_host_end);
    let numbers: Vec<i32> = ends.iter().filter_map(|link| link.peer_netns).collect();
    // A name that we have given keeps nobody alive.
    let names = ends.iter().filter_map(|link| link.alias.as_deref());
    let names: Vec<PathBuf> = names.map(|id| Path::new(NETNS_DIRECTORY).join(id)).collect();
    if ends.is_empty() {
        return Ok(all);
    }
    let told = netlink.told_neighbours().doing(|| "look at neighbours")?;
    ends.iter_mut().for_each(|link| link.addresses = leases(link, &told));
    let keepers =
        namespaces::keepers(netlink, &numbers, &names).doing(|| "look who lives in which namespace")?;
    for link in ends {
        let id = id(&link);
        let netns = link.peer_netns.and_then(|number| keepers.get(&number)).cloned();
        match all.iter_mut().find(|one| one.id == id && one.netns == netns) {
            Some(one) => one.links.push(link),
            None => all.push(Unrecorded { id, links: vec![link], netns }),
        }
    }
    all.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(all)
}

impl Run<'_> {
    /// Those whom no record tells of and who live.
    pub(super) fn living_unrecorded(&self, records: &Records) -> Result<Vec<Unrecorded>> {
        let netlink = self.machine.kernel.netlink();
        let mut all = unrecorded(records, netlink)?;
        if !all.is_empty() {
            let links = netlink.links().doing(|| "look at links")?;
            let elsewhere = |link: &Link| {
                links.bridge_of(link).is_some_and(|bridge| self.other_state_dir(bridge).is_some())
            };
            all.retain(|one| !one.links.iter().any(elsewhere));
        }
        Ok(all)
    }

    /// Whether somebody uses another state directory on this host.
    pub(super) fn is_shared_host(&self) -> Result<bool> {
        let links = self.machine.kernel.netlink().links().doing(|| "look at links")?;
        Ok(links.0.iter().any(|link| self.other_state_dir(link).is_some()))
    }

    /// Those of them that are on a network.
    pub(super) fn unrecorded_on(&self, name: &NetworkName) -> Result<Vec<Unrecorded>> {
        let bridge = match self.network(name)? {
            Some(network) if network.parent.is_none() => {
                self.machine.kernel.netlink().link(network.bridge.as_str())
            }
            _ => return Ok(Vec::new()),
        };
        let bridge = bridge.doing(|| format!("look at network {name}"))?.map(|bridge| bridge.index);
        let mut all = self.living_unrecorded(&self.store.records()?)?;
        all.retain(|one| one.links.iter().any(|link| link.master == bridge));
        Ok(all)
    }

    /// Deletes the veth pairs of containers that have no record, and what goes with them.
    pub(super) fn delete_host_ends(&self, all: &[Unrecorded]) -> Result<()> {
        for link in all.iter().flat_map(|one| &one.links) {
            if let (Ok(name), Ok(mac)) = (link.name.parse(), link.address.as_slice().try_into().map(Mac)) {
                let other = ifb_of(&name).map(|other| (other, ifb_mac(mac)));
                for (name, mac) in std::iter::once((name, mac)).chain(other) {
                    let deleted = self.machine.kernel.netlink().delete(&name, mac);
                    deleted.doing(|| format!("ip link del {name}"))?;
                }
            }
        }
        Ok(())
    }

    /// Containers whose host ends are there, and who are gone.
    pub(super) fn dead_unrecorded(&self, records: &Records) -> Result<Vec<Unrecorded>> {
        let claiming = self.keys_without_record(records)?;
        let mut all = living_or_not(records, self.machine.kernel.netlink())?;
        all.retain(|one| one.netns.is_none() && !claiming.iter().any(|key| key.id() == one.id));
        Ok(all)
    }

    /// Bridges of ours that have no record and no port but those of the dead.
    pub(super) fn unneeded_bridges(&self, records: &Records, dead: &[Unrecorded]) -> Result<Vec<Link>> {
        let links = self.machine.kernel.netlink().links().doing(|| "look at links")?;
        let dead: Vec<u32> = dead.iter().flat_map(|one| &one.links).map(|link| link.index).collect();
        let has_ports = |bridge: &Link| {
            links.0.iter().any(|link| link.master == Some(bridge.index) && !dead.contains(&link.index))
        };
        let mut bridges = self.unrecorded_bridges(records)?;
        bridges.retain(|bridge| !has_ports(bridge));
        Ok(bridges)
    }

    /// Whether anything of a network is in the kernel, or rules of ours where there is no network.
    pub(super) fn has_traces(&self, spec: &NetworkSpec) -> Result<bool> {
        // Without its programs a firewall has no rules that we could ask for.
        let rules = || self.machine.firewall.unowned(&[], &|_| false).unwrap_or_default();
        let nothing = self.store.records()?.networks.is_empty() && !self.is_shared_host()?;
        Ok(self.lost_bridge(spec)?.is_some() || nothing && !rules().is_empty())
    }

    /// The bridge of a network that has no record, if it is one of ours.
    pub(super) fn lost_bridge(&self, spec: &NetworkSpec) -> Result<Option<Link>> {
        if self.network(&spec.name)?.is_some() {
            return Ok(None);
        }
        let bridges = self.unrecorded_bridges(&self.store.records()?)?;
        Ok(bridges.into_iter().find(|bridge| bridge.name == spec.bridge.as_str()))
    }

    /// Bridges that have the MAC address that we give to one with their address, and no record.
    pub(super) fn unrecorded_bridges(&self, records: &Records) -> Result<Vec<Link>> {
        let netlink = self.machine.kernel.netlink();
        let mut unrecorded = Vec::new();
        for mut bridge in netlink.links().doing(|| "look at links")?.0 {
            let ours =
                bridge.address.starts_with(&[0x02, BRIDGE_MAC]) && self.other_state_dir(&bridge).is_none();
            let recorded = records.networks.iter().any(|network| {
                let mac = network.subnets.first().map(|first| value::mac(BRIDGE_MAC, first.ip()).0.to_vec());
                network.bridge.as_str() == bridge.name || mac.as_ref() == Some(&bridge.address)
            });
            if recorded || !ours || bridge.kind.as_deref() != Some("bridge") {
                continue;
            }
            bridge.addresses =
                netlink.addresses(bridge.index).doing(|| format!("look at bridge {}", bridge.name))?;
            let first = bridge
                .addresses
                .iter()
                .copied()
                .find(|ip| bridge.address == value::mac(BRIDGE_MAC, ip.ip()).0);
            if let Some(first) = first {
                // What the other family has is not told by any name.
                let second = bridge.addresses.iter().find(|ip| ip.is_ipv4() != first.is_ipv4());
                bridge.addresses = [first].into_iter().chain(second.copied()).collect();
                unrecorded.push(bridge);
            }
        }
        Ok(unrecorded)
    }

    /// Containers that claims name, and that have no record.
    pub(super) fn keys_without_record(&self, records: &Records) -> Result<BTreeSet<Key>> {
        let claiming = self.store.all_links()?.into_iter().filter_map(|(_, owner)| owner.container());
        let is_known = |key: &Key| records.containers.iter().any(|record| record.key() == *key);
        Ok(claiming.filter(|key| !is_known(key) && !records.incomplete.contains(key)).collect())
    }
}
