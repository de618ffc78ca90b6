//! An interface of the host that moves into a container, and what it takes to bring it back.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::link::{LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use serde::{Deserialize, Serialize};

use super::saved::{Octets, SavedAddress, SavedRoute};
use crate::config::value::{Iface, Mac};

/// An interface that is moved. All of it is recorded before the move: whoever brings it back
/// has nothing else to go by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Physical {
    /// Its name on the host.
    pub name: Iface,
    /// Its name inside the container.
    pub inside: Iface,
    /// A process in the container's network namespace.
    pub pid: i32,
    /// The inode of that namespace.
    pub netns: u64,
    /// Another link-layer address while it is inside.
    pub mac: Option<Mac>,
    /// Another MTU while it is inside, in bytes.
    pub mtu: Option<u32>,
    /// Its alias while it is away: it tells ours from a stranger's that has got its name.
    pub mark: String,
    /// How it was found.
    pub before: Before,
}

/// What an interface of the host is and has, to be recognised by and given back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// What it is.
    pub identity: Identity,
    /// In bytes.
    pub mtu: u32,
    /// Whether it was administratively up.
    pub up: bool,
    /// Its alias.
    pub alias: Option<String>,
    /// The bridge that it was a port of.
    pub master: Option<String>,
    /// Its addresses, IPv4 and IPv6.
    pub addresses: Vec<SavedAddress>,
    /// The routes of all tables that went by it or from an address of it, IPv4 and IPv6.
    pub routes: Vec<SavedRoute>,
    /// Its parameters below `net/ipv4/conf` and `net/ipv6/conf` that are not the defaults:
    /// family, name, value.
    pub parameters: Vec<(String, String, String)>,
}

/// By what an interface can be known again under another name in another namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number on the host. A move keeps it where it is free.
    pub index: u32,
    /// As `ip link show type` would take it; `None` for hardware.
    pub kind: Option<String>,
    /// Its link-layer address.
    pub address: Octets,
    /// The address that the hardware was made with, which nobody can change.
    pub permanent: Option<Octets>,
    /// Its device, as `pci/0000:01:00.0`.
    pub device: Option<String>,
}

impl Identity {
    /// What the kernel says of a link.
    pub fn of(link: &LinkMessage) -> Self {
        let mut identity = Self { index: link.header.index, ..Self::default() };
        let (mut bus, mut device) = (None, None);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(address) => identity.address = Octets(address.clone()),
                LinkAttribute::PermAddress(address) => identity.permanent = Some(Octets(address.clone())),
                LinkAttribute::ParentDevBusName(name) => bus = Some(name),
                LinkAttribute::ParentDevName(name) => device = Some(name),
                LinkAttribute::LinkInfo(infos) => {
                    identity.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        identity.device = bus.zip(device).map(|(bus, device)| format!("{bus}/{device}"));
        identity
    }

    /// Whether the kernel gives it back to the host when the container's namespace dies. What
    /// has a kind is virtual, and is destroyed; some kinds of hardware (CAN) have one too.
    pub fn is_given_back(&self) -> bool {
        self.kind.is_none() || self.device.is_some()
    }
}

impl Physical {
    /// Whether a link is this one, wherever it is and whatever it is called there.
    ///
    /// Hardware is known by what is burnt into it. For everything else there is the mark,
    /// which comes and goes in the same message as the move; who has no mark was never moved,
    /// is back already, or has lost it by the container's hand.
    pub fn is(&self, link: &LinkMessage) -> bool {
        let (before, seen) = (&self.before.identity, Identity::of(link));
        if before.permanent.is_some() && before.device.is_some() {
            return (&before.permanent, &before.device) == (&seen.permanent, &seen.device);
        }
        let marked = alias(link).is_some_and(|alias| alias == self.mark);
        let wanted = self.mac.is_some_and(|mac| seen.address.0 == mac.0);
        let alike = seen.index == before.index && (seen.address == before.address || wanted);
        (marked || alike) && seen.kind == before.kind
    }

    /// The one `RTM_SETLINK` that moves it and makes it what it is to be inside. The kernel
    /// does so in this order: move, address, MTU, name, alias, up. What fails in the middle
    /// leaves it inside.
    ///
    /// `netns` must stay open until the message is sent.
    pub fn message(&self, netns: BorrowedFd<'_>) -> LinkMessage {
        let mut message = LinkUnspec::new_with_index(self.before.identity.index)
            .setns_by_fd(netns.as_raw_fd())
            .name(self.inside.as_str())
            .alias(&self.mark);
        if let Some(mac) = self.mac {
            message = message.address(mac.0.to_vec());
        }
        if let Some(mtu) = self.mtu {
            message = message.mtu(mtu);
        }
        message.up().build()
    }

    /// The `RTM_SETLINK` that brings the link with this number back to the host that `netns`
    /// is open on, under `name` and with its number, if it is free there (`keep_index`). It
    /// carries the mark until everything is as it was.
    pub fn homeward(&self, index: u32, netns: BorrowedFd<'_>, name: &str, keep_index: bool) -> LinkMessage {
        let mut message =
            LinkUnspec::new_with_index(index).setns_by_fd(netns.as_raw_fd()).name(name).alias(&self.mark);
        if let (true, Ok(index)) = (keep_index, self.before.identity.index.try_into()) {
            message = message.append_extra_attribute(LinkAttribute::NewIfIndex(index));
        }
        message.build()
    }

    /// The `RTM_SETLINK` that gives a link of the host its name, address and MTU again, and
    /// its place on the bridge with the number `master`; `None` where it has all of them. It
    /// is down afterwards: an interface that is up takes no other name.
    pub fn restoring(&self, link: &LinkMessage, master: Option<u32>) -> Option<LinkMessage> {
        let mut message: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(link.header.index);
        let mut differs = false;
        let seen = Seen::of(link);
        if seen.name != self.name.as_str() {
            (message, differs) = (message.name(self.name.as_str()), true);
        }
        let address = &self.before.identity.address;
        if seen.address != address.0 && !address.0.is_empty() {
            (message, differs) = (message.address(address.0.clone()), true);
        }
        if seen.mtu != self.before.mtu {
            (message, differs) = (message.mtu(self.before.mtu), true);
        }
        if let Some(master) = master.filter(|master| seen.master != Some(*master)) {
            (message, differs) = (message.controller(master), true);
        }
        differs.then(|| message.build())
    }
}

impl fmt::Display for Physical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, inside, pid, mark, .. } = self;
        write!(f, "ip link set {name} netns {pid} name {inside} alias {mark}")?;
        self.mac.iter().try_for_each(|mac| write!(f, " address {mac}"))?;
        self.mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
        f.write_str(" up")
    }
}

/// What [`Physical::restoring`] compares.
struct Seen {
    name: String,
    address: Vec<u8>,
    mtu: u32,
    master: Option<u32>,
}

impl Seen {
    fn of(link: &LinkMessage) -> Self {
        let mut seen = Self { name: String::new(), address: Vec::new(), mtu: 0, master: None };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => seen.name.clone_from(name),
                LinkAttribute::Address(address) => seen.address.clone_from(address),
                LinkAttribute::Mtu(mtu) => seen.mtu = *mtu,
                LinkAttribute::Controller(index) => seen.master = Some(*index),
                _ => {}
            }
        }
        seen
    }
}

/// A link's alias.
pub fn alias(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        (link.header.index, link.attributes) = (index, attributes);
        link
    }

    fn moved(link: &LinkMessage) -> Physical {
        Physical {
            name: "ens6f0".parse().unwrap(),
            inside: "lan".parse().unwrap(),
            pid: 42,
            netns: 7,
            mac: Some(Mac([2, 0, 0, 0, 0, 5])),
            mtu: None,
            mark: "netns:ens6f0:web".to_owned(),
            before: Before { identity: Identity::of(link), ..Before::default() },
        }
    }

    const OWN: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];

    fn hardware(index: u32, address: [u8; 6], slot: &str) -> LinkMessage {
        let attributes = vec![
            LinkAttribute::IfName("dev7".to_owned()),
            LinkAttribute::Address(address.to_vec()),
            LinkAttribute::PermAddress(OWN.to_vec()),
            LinkAttribute::ParentDevName(slot.to_owned()),
            LinkAttribute::ParentDevBusName("pci".to_owned()),
        ];
        link(index, attributes)
    }

    fn veth(index: u32, address: [u8; 6], alias: &str) -> LinkMessage {
        let kind = LinkInfo::Kind(rtnetlink::packet_route::link::InfoKind::Veth);
        let attributes = vec![
            LinkAttribute::Address(address.to_vec()),
            LinkAttribute::IfAlias(alias.to_owned()),
            LinkAttribute::LinkInfo(vec![kind]),
        ];
        link(index, attributes)
    }

    #[test]
    fn hardware_is_known_by_what_nobody_can_change() {
        let nic = moved(&hardware(3, OWN, "0000:01:00.0"));
        assert!(nic.before.identity.is_given_back());
        assert!(nic.is(&hardware(9, [2, 0, 0, 0, 0, 5], "0000:01:00.0")), "whatever number and address");
        assert!(!nic.is(&hardware(3, OWN, "0000:01:00.1")), "another slot");
        assert!(!nic.is(&veth(3, OWN, "netns:ens6f0:web")), "not even with its mark");
    }

    #[test]
    fn a_virtual_one_is_known_by_its_mark_or_by_number_and_address() {
        let nic = moved(&veth(3, OWN, ""));
        assert!(!nic.before.identity.is_given_back());
        assert!(nic.is(&veth(9, [2, 0, 0, 0, 0, 9], "netns:ens6f0:web")));
        assert!(nic.is(&veth(3, OWN, "")) && nic.is(&veth(3, [2, 0, 0, 0, 0, 5], "")));
        assert!(!nic.is(&veth(4, OWN, "")), "made again with the same address");
        assert!(!nic.is(&veth(3, [2, 0, 0, 0, 0, 9], "")), "the number alone is nobody's");
        assert!(!nic.is(&hardware(3, OWN, "0000:01:00.0")), "another kind");
    }

    #[test]
    fn what_is_as_it_was_is_left_alone() {
        let mut found = hardware(3, OWN, "0000:01:00.0");
        let mut nic = moved(&found);
        nic.name = "dev7".parse().unwrap();
        assert_eq!(nic.restoring(&found, None), None);
        found.attributes.push(LinkAttribute::Controller(8));
        assert_eq!(nic.restoring(&found, Some(8)), None);
        nic.name = "ens6f0".parse().unwrap();
        let message = nic.restoring(&found, Some(9)).unwrap();
        let name = LinkAttribute::IfName("ens6f0".to_owned());
        assert_eq!(message.attributes, [name, LinkAttribute::Controller(9)]);
    }
}
