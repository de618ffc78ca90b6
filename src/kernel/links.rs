//! The netlink messages that create our links.

use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, IpVlanMode, LinkMessage, MacVlanMode,
};
use rtnetlink::{LinkBridge, LinkIfb, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan};

use crate::model::link::{Bridge, Ifb, Veth};
use crate::model::parent::{Child, ChildKind, IpvlanMode, MacvlanMode, Vlan};

impl Bridge {
    /// The `RTM_NEWLINK` that creates it, down, with an MTU that is not its own: the kernel takes
    /// one for chosen, and keeps it whatever its ports have, only if it is changed later.
    pub(super) fn message(&self) -> LinkMessage {
        let link = LinkMessageBuilder::<LinkBridge>::new(self.name.as_str());
        link.address(self.mac.0.to_vec()).mtu(self.mtu ^ 1).build()
    }
}

impl Veth {
    /// The one `RTM_NEWLINK` of the whole veth pair: the host end made up and on the bridge, the
    /// container end made under its last name in its last namespace. Moving and renaming it would
    /// cost three more round trips with grace periods.
    ///
    /// `netns` must stay open until the message is sent.
    pub(super) fn message(&self, bridge_index: u32, netns: BorrowedFd<'_>) -> LinkMessage {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(self.peer.as_str())
            .address(self.peer_mac.0.to_vec())
            .mtu(self.mtu)
            .setns_by_fd(netns.as_raw_fd())
            .build();
        LinkMessageBuilder::<LinkVeth>::new(self.name.as_str(), self.peer.as_str())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .address(self.mac.0.to_vec())
            .mtu(self.mtu)
            .controller(bridge_index)
            .up()
            .build()
    }
}

impl Ifb {
    /// The `RTM_NEWLINK` that creates it, up.
    pub(super) fn message(&self) -> LinkMessage {
        LinkMessageBuilder::<LinkIfb>::new(self.name.as_str()).address(self.mac.0.to_vec()).up().build()
    }
}

impl Vlan {
    /// The `RTM_NEWLINK` that creates it, up.
    pub(super) fn message(&self, parent_index: u32) -> LinkMessage {
        LinkMessageBuilder::<LinkVlan>::new(self.name.as_str()).id(self.id).link(parent_index).up().build()
    }
}

impl Child {
    /// The one `RTM_NEWLINK` that creates it, down, under its name and in the namespace `netns`, or in
    /// this one. That must stay open until the message is sent.
    pub(super) fn message(&self, parent_index: u32, netns: Option<BorrowedFd<'_>>) -> LinkMessage {
        let (kind, data) = match self.kind {
            ChildKind::Macvlan(mode) => {
                let mode = match mode {
                    MacvlanMode::Bridge => MacVlanMode::Bridge,
                    MacvlanMode::Private => MacVlanMode::Private,
                    MacvlanMode::Vepa => MacVlanMode::Vepa,
                    MacvlanMode::Passthru => MacVlanMode::Passthrough,
                };
                (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]))
            }
            ChildKind::Ipvlan(mode) => {
                let mode = match mode {
                    IpvlanMode::L2 => IpVlanMode::L2,
                    IpvlanMode::L3 => IpVlanMode::L3,
                    IpvlanMode::L3s => IpVlanMode::L3S,
                };
                (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]))
            }
        };
        let mut link = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind)
            .name(self.name.as_str())
            .link(parent_index)
            .mtu(self.mtu)
            .set_info_data(data);
        if let Some(mac) = self.mac {
            link = link.address(mac.0.to_vec());
        }
        if let Some(netns) = netns {
            link = link.setns_by_fd(netns.as_raw_fd());
        }
        link.build()
    }
}
