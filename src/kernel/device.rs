//! The netlink messages that move a device of the host into a container and bring it back.

use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::link::{LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};

use super::netlink::describe;
use crate::model::device::{Identity, MovedDevice, Octets};

impl Identity {
    /// What the kernel says of a link.
    pub(super) fn of(link: &LinkMessage) -> Self {
        let mut identity = Self { index: link.header.index, ..Self::default() };
        let (mut bus, mut device) = (None, None);
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Address(address) => identity.address = Octets(address.clone()),
                LinkAttribute::PermAddress(address) => identity.permanent = Some(Octets(address.clone())),
                LinkAttribute::ParentDevBusName(name) => bus = Some(name),
                LinkAttribute::ParentDevName(name) => device = Some(name),
                LinkAttribute::LinkInfo(infos) => {
                    identity.kind = infos.iter().find_map(when!(LinkInfo::Kind(kind) => kind.to_string()));
                }
                _ => {}
            }
        }
        identity.device = bus.zip(device).map(|(bus, device)| format!("{bus}/{device}"));
        identity
    }
}

impl MovedDevice {
    /// Whether a link is this piece of hardware, wherever it is and whatever it is called there.
    pub(super) fn is(&self, link: &LinkMessage) -> bool {
        let (before, now) = (&self.before.identity, Identity::of(link));
        before.is_hardware() && (&before.permanent, &before.device) == (&now.permanent, &now.device)
    }

    /// The one `RTM_SETLINK` that moves it and makes it what it is to be inside. The kernel
    /// does so in this order: move, address, MTU, name, alias, up. What fails in the middle
    /// leaves it inside.
    ///
    /// `netns` must stay open until the message is sent.
    pub(super) fn message(&self, netns: BorrowedFd<'_>) -> LinkMessage {
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
    /// is open on, under `name` and with its number, if it is free there (`keep_index`), and with
    /// the mark.
    pub(super) fn returning(
        &self,
        index: u32,
        netns: BorrowedFd<'_>,
        name: &str,
        keep_index: bool,
    ) -> LinkMessage {
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
    pub(super) fn restoring(&self, link: &LinkMessage, master: Option<u32>) -> Option<LinkMessage> {
        let mut message: LinkMessageBuilder<LinkUnspec> = LinkUnspec::new_with_index(link.header.index);
        let mut differs = false;
        let now = describe(link);
        if now.name != self.name.as_str() {
            (message, differs) = (message.name(self.name.as_str()), true);
        }
        let address = &self.before.identity.address;
        if now.address != address.0 && !address.0.is_empty() {
            (message, differs) = (message.address(address.0.clone()), true);
        }
        if now.mtu != self.before.mtu {
            (message, differs) = (message.mtu(self.before.mtu), true);
        }
        if let Some(master) = master.filter(|master| now.master != Some(*master)) {
            (message, differs) = (message.controller(master), true);
        }
        differs.then(|| message.build())
    }
}

/// A link's alias.
pub(super) fn alias(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(when!(LinkAttribute::IfAlias(alias) => alias.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::device::Before;
    use crate::model::sandbox::Netns;
    use crate::model::value::Mac;

    fn link(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut link = LinkMessage::default();
        (link.header.index, link.attributes) = (index, attributes);
        link
    }

    fn moved(link: &LinkMessage) -> MovedDevice {
        MovedDevice {
            name: "ens6f0".parse().unwrap(),
            inside: "lan".parse().unwrap(),
            netns: Netns::Pid(42),
            inode: 7,
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
        let device = moved(&hardware(3, OWN, "0000:01:00.0"));
        assert!(device.before.identity.is_given_back());
        assert!(device.is(&hardware(9, [2, 0, 0, 0, 0, 5], "0000:01:00.0")), "whatever number and address");
        assert!(!device.is(&hardware(3, OWN, "0000:01:00.1")), "another slot");
        assert!(!device.is(&veth(3, OWN, "netns:ens6f0:web")), "not even with its mark");
        let device = moved(&veth(3, OWN, ""));
        assert!(!device.before.identity.is_given_back());
        assert!(!device.is(&veth(3, OWN, "netns:ens6f0:web")), "all of it can be forged");
    }

    #[test]
    fn what_is_as_it_was_is_left_alone() {
        let mut found = hardware(3, OWN, "0000:01:00.0");
        let mut device = moved(&found);
        device.name = "dev7".parse().unwrap();
        assert_eq!(device.restoring(&found, None), None);
        found.attributes.push(LinkAttribute::Controller(8));
        assert_eq!(device.restoring(&found, Some(8)), None);
        device.name = "ens6f0".parse().unwrap();
        let message = device.restoring(&found, Some(9)).unwrap();
        let name = LinkAttribute::IfName("ens6f0".to_owned());
        assert_eq!(message.attributes, [name, LinkAttribute::Controller(9)]);
    }
}
