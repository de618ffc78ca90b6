//! What is known of a container whose record is lost or damaged: its claims, and the kernel.
//! The alias of a link carries the id, its MAC address the lease, a rule the owner.

use std::net::IpAddr;
use std::path::Path;

use super::rules::{all_rules, is_of};
use super::run::Run;
use crate::error::{Doing, Error, Result};
use crate::model::container::Key;
use crate::model::link::{CONTAINER_MAC, HOST_MAC, ifb_mac};
use crate::model::network::{Network, NetworkName};
use crate::model::parent::Child;
use crate::model::rule::Change;
use crate::model::sandbox::Netns;
use crate::model::step::{JOINED, Step};
use crate::model::value::{self, Mac};
use crate::plan;
use crate::rootfs;
use crate::store::Owner;

impl Run<'_> {
    /// Undoes what can be found of a container without its record, and forgets it. The lock of
    /// everything is held: it seldom happens.
    ///
    /// # Errors
    /// Something cannot be looked at or undone; what is left stays claimed.
    pub(super) fn salvage(&mut self, key: &Key) -> Result<()> {
        let links = self.store.links_of(key)?;
        let mut failures = Vec::new();
        for step in links.iter().flat_map(|link| self.steps_behind(link, key)) {
            self.log.debug(&format!("undo {step}"));
            let undone =
                if rootfs::owns(&step) { rootfs::undo(&step) } else { self.machine.kernel.undo(&step) };
            failures.extend(undone.err());
        }
        for address in links.iter().filter_map(|link| leased(link)) {
            failures.extend(self.delete_host_end(address).err());
        }
        for link in &links {
            self.store.remove_link(link)?;
        }
        failures.extend(self.remove_unowned_rules(Some(key)).err());
        if failures.is_empty() {
            return self.store.forget_key(key);
        }
        self.given_up.push(key.clone());
        Error::merge(failures).map_or(Ok(()), Err)
    }

    /// What must have been done for the sake of a claim.
    fn steps_behind(&self, link: &Path, key: &Key) -> Vec<Step> {
        let parts: Vec<&str> = link.iter().filter_map(|part| part.to_str()).collect();
        match parts[..] {
            ["slots", network, slot] => {
                let (Ok(network), Ok(slot)) = (network.parse::<NetworkName>(), slot.parse()) else {
                    return Vec::new();
                };
                let path = plan::hosts_file(self.state_dir(), &network);
                let hash = key.as_str().rsplit('@').next().unwrap_or_default();
                let own = plan::directory(self.state_dir(), &network).join(format!("{hash}.conf"));
                vec![
                    // Whatever it says: nobody else has this line.
                    Step::AddHost { path, slot, line: String::new() },
                    Step::WriteResolver { path: own, contents: String::new(), shared: false },
                ]
            }
            ["leases", network, address] => {
                let network = network.parse().ok().and_then(|name| self.network(&name).ok()?);
                let (Some(network), Ok(address)) = (network, address.parse()) else { return Vec::new() };
                let mac = value::mac(CONTAINER_MAC, address);
                let own = self.child_behind(&network, address, mac, key);
                let link = network.bridge;
                let neighbour = Step::AddNeighbour { address, mac, link: link.clone() };
                let on_link = [neighbour, Step::AddHostRoute { address, link, mtu: 0 }];
                on_link.into_iter().chain(own).collect()
            }
            ["netns", inode, _] => {
                let (Ok(inode), name) = (inode.parse(), key.id().to_owned()) else { return Vec::new() };
                vec![Step::NameNetns { name, netns: Netns::Path, inode }]
            }
            ["shared", name, _] if name.contains("route_localnet") && self.is_last(name, key) => {
                vec![plan::switched_on(&name.replace(':', "/"))]
            }
            ["shared", name, _] if self.is_last(name, key) => {
                let dir = name.strip_prefix(JOINED).map(|dir| self.state_dir().join("names").join(dir));
                dir.map(|dir| Step::JoinNames { dir, networks: Vec::new(), lines: Vec::new() })
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// The interface that was made on the parent of a network for an address.
    fn child_behind(&self, network: &Network, address: IpAddr, mac: Mac, key: &Key) -> Option<Step> {
        let parent = network.parent.as_ref()?;
        let links = self.store.links_of(key).ok()?;
        let mut namespaces = links.iter().filter_map(|link| link.strip_prefix("netns").ok());
        let inode = namespaces.find_map(|link| link.iter().next()?.to_str()?.parse().ok())?;
        Some(Step::AddChild(Child {
            name: network.bridge.clone(),
            parent: parent.lower().clone(),
            kind: parent.kind,
            mac: parent.kind.has_own_mac().then_some(mac),
            address,
            mtu: network.mtu,
            netns: Netns::Path,
            inode: Some(inode),
        }))
    }

    fn is_last(&self, name: &str, key: &Key) -> bool {
        let sharers = self.store.sharers(name).unwrap_or_default();
        sharers.iter().all(|owner| matches!(owner, Owner::Container(other) if other == key))
    }

    /// Deletes the host end of the veth pair that was made for an address, and what goes with it.
    fn delete_host_end(&self, address: IpAddr) -> Result<()> {
        let netlink = self.machine.kernel.netlink();
        let mac = value::mac(HOST_MAC, address);
        let ours = [(mac, "veth"), (ifb_mac(mac), "ifb")];
        for link in netlink.links().doing(|| "look at links")?.0 {
            let found = ours.iter().find(|(mac, kind)| link.address == mac.0 && link.kind_name() == *kind);
            if let Some((mac, _)) = found {
                let name = link.name.parse()?;
                netlink.delete(&name, *mac).doing(|| format!("ip link del {name}"))?;
            }
        }
        Ok(())
    }

    /// Removes every rule of ours that belongs to nobody, and those of `except`, whose record is
    /// lost. What other runs are adding now has a record.
    pub(super) fn remove_unowned_rules(&mut self, except: Option<&Key>) -> Result<()> {
        self.share_rules(&[])?;
        let records = self.store.records()?;
        let wanted = all_rules(&records);
        let mut unread = self.unread(&records)?;
        unread.retain(|id| except.is_none_or(|key| key.id() != id));
        if self.machine.firewall.remove_unowned(&wanted, &|owner| is_of(&unread, owner))? {
            self.machine.forget_flows(Change::Add, &wanted);
        }
        Ok(())
    }
}

/// The address of a lease's link.
fn leased(link: &Path) -> Option<IpAddr> {
    if !link.starts_with("leases") {
        return None;
    }
    link.file_name()?.to_str()?.parse().ok()
}
