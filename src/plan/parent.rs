//! A network on a link of the host, without a bridge: the VLAN's link, the host's own interface,
//! and those of containers. No rule is taken for it, and nothing is forwarded.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::lease::host_address;
use super::steps::Steps;
use super::veth::has_ipv6;
use crate::error::{Error, Kind, Result};
use crate::model::link::{BRIDGE_MAC, CONTAINER_MAC};
use crate::model::network::{Network, NetworkSpec};
use crate::model::observed::{Link, ObservedNetwork};
use crate::model::parent::{Child, ChildKind, Parent};
use crate::model::record::{Attachment, Record};
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value;

/// What a link is that the kernel takes no Ethernet interface on lacks, in bytes.
const ETHERNET: usize = 6;

/// The link that interfaces are made on, as it is; `None` where the VLAN's is still to be made.
///
/// # Errors
/// Nothing can be made on it.
pub(super) fn check<'a>(
    spec: &NetworkSpec,
    parent: &Parent,
    observed: &'a ObservedNetwork,
) -> Result<Option<&'a Link>> {
    let refuse = |link: &dyn std::fmt::Display, cause: String, hint: String| {
        let operation = format!("use parent {link} for network {}", spec.name);
        Err(Error::new(operation, cause).of(Kind::Conflict).hint(hint))
    };
    let Some(link) = &observed.parent.link else {
        let hint = "`ip -brief link` shows those that it has".to_owned();
        return refuse(&parent.link, "the host has no such link".to_owned(), hint);
    };
    if link.loopback || link.address.len() != ETHERNET {
        let cause = format!("it is a {} link, and no Ethernet", link.kind_name());
        return refuse(&parent.link, cause, "name one that leads to a wire, or a bridge".to_owned());
    }
    if link.master.is_some() {
        let cause = "it is a port of a bridge or a bond, which takes all that it receives".to_owned();
        return refuse(&parent.link, cause, "name the bridge or the bond as parent".to_owned());
    }
    if let (true, ChildKind::Macvlan(_)) = (observed.parent.wireless, parent.kind) {
        let cause = "it is wireless, and an access point takes one address only from it".to_owned();
        return refuse(&parent.link, cause, "write driver = \"ipvlan\"".to_owned());
    }
    if !link.up {
        return refuse(&parent.link, "it is down".to_owned(), format!("ip link set {} up", parent.link));
    }
    let found = match (&parent.vlan, &observed.parent.vlan) {
        (None, _) => Some(link),
        (Some(_), found) => found.as_ref(),
    };
    if let (Some(vlan), Some(found)) = (&parent.vlan, found) {
        if found.kind.as_deref() != Some("vlan") || found.peer != Some(link.index) {
            let cause = format!("it is a {} link, and none of a VLAN on {}", found.kind_name(), link.name);
            return refuse(&vlan.name, cause, "rename it: the link of the VLAN has this name".to_owned());
        }
        if !found.up {
            return refuse(&vlan.name, "it is down".to_owned(), format!("ip link set {} up", vlan.name));
        }
    }
    let most = found.unwrap_or(link).mtu;
    if let Some(mtu) = spec.mtu.filter(|mtu| *mtu > most) {
        let cause = format!("it takes packets of {most} bytes at most, and mtu is {mtu}");
        return refuse(parent.lower(), cause, format!("write mtu = {most} or less"));
    }
    Ok(found)
}

impl Steps<'_> {
    /// The link of the VLAN and the host's own interface.
    ///
    /// # Errors
    /// Those of [`check`]; another link has the name of the host's interface.
    pub(super) fn parent(
        &mut self,
        spec: &NetworkSpec,
        parent: &Parent,
        observed: &ObservedNetwork,
        (mtu, ipv6): (u32, bool),
    ) -> Result<()> {
        let found = check(spec, parent, observed)?;
        if let Some(vlan) = parent.vlan.clone().map(Step::AddVlan) {
            let shared = vlan.shared_name().is_some_and(|name| self.claimed.shared.contains(&name));
            match found {
                None => self.make(vlan),
                Some(_) if shared => self.hold(vlan),
                // The administrator's.
                Some(_) => {}
            }
        }
        self.host_end(spec, parent, observed, (mtu, ipv6))
    }

    /// The host's own interface, if it is to have one.
    fn host_end(
        &mut self,
        spec: &NetworkSpec,
        parent: &Parent,
        observed: &ObservedNetwork,
        (mtu, ipv6): (u32, bool),
    ) -> Result<()> {
        let addresses: Vec<IpAddr> =
            spec.subnets.iter().filter_map(|subnet| host_address(spec, *subnet)).collect();
        let Some(first) = addresses.first() else { return Ok(()) };
        let child = Child {
            name: spec.bridge.clone(),
            parent: parent.lower().clone(),
            kind: parent.kind,
            mac: Some(value::mac(BRIDGE_MAC, *first)),
            address: *first,
            mtu,
            netns: Netns::Host,
            inode: None,
        };
        let link = &child.name;
        let ours = |found: &&Link| {
            found.kind.as_deref() == Some("macvlan") && child.mac.is_some_and(|mac| found.address == mac.0)
        };
        let there = observed.bridge.as_ref();
        if let Some(stranger) = there.filter(|found| !ours(found)) {
            let cause = format!("the host has a {} link of this name", stranger.kind_name());
            let error = Error::new(format!("make interface {link} of network {}", spec.name), cause);
            return Err(error.of(Kind::Conflict).hint("rename it, or the network"));
        }
        if there.is_none() {
            self.make(Step::AddChild(child.clone()));
            if has_ipv6(ipv6, mtu) {
                self.ipv6(Netns::Host, link, addresses.iter().any(IpAddr::is_ipv6));
            }
        } else {
            self.hold(Step::AddChild(child.clone()));
        }
        for address in addresses.into_iter().map(IpNetwork::from) {
            if !there.is_some_and(|found| found.addresses.contains(&address)) {
                self.make(Step::own_address(Netns::Host, link.clone(), address));
            }
        }
        if there.is_none_or(|found| !found.up) {
            self.make(Step::SetUp { netns: Netns::Host, link: link.clone() });
            // Of those who are there: gone with the link, or with its being down.
            let of_link = |step: &&Step| matches!(step, Step::AddHostRoute { link: by, .. } if by == link);
            self.taken.extend(self.claimed.restored.iter().filter(of_link).cloned());
        }
        Ok(())
    }

    /// A container's interface on a parent, if the network has one, with its addresses, and the way to it of the host's own.
    pub(super) fn child(
        &mut self,
        record: &Record,
        attachment: &Attachment,
        network: &Network,
        (mtu, ipv6): (u32, bool),
    ) {
        let (Some(parent), Some(address)) = (&network.parent, attachment.addresses.first()) else { return };
        let (netns, name) = (record.sandbox.netns(), attachment.interface.clone());
        let own = || attachment.mac.unwrap_or_else(|| value::mac(CONTAINER_MAC, address.ip()));
        self.make(Step::AddChild(Child {
            name: name.clone(),
            parent: parent.lower().clone(),
            kind: parent.kind,
            mac: parent.kind.has_own_mac().then(own),
            address: address.ip(),
            mtu,
            netns,
            inode: Some(record.sandbox.netns),
        }));
        let has_subnet = attachment.addresses.iter().any(IpNetwork::is_ipv6);
        if has_ipv6(ipv6, mtu) {
            self.ipv6(netns, &name, has_subnet || parent.router_advertisements);
            if parent.router_advertisements {
                let key = format!("net/ipv6/conf/{name}/accept_ra");
                self.make(Step::Sysctl { netns, key, value: "1".to_owned(), before: None });
            }
        }
        self.inside(record, attachment, has_subnet);
        if parent.host_access {
            self.host_routes(attachment, &network.bridge, mtu);
        }
    }
}
