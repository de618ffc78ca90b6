//! The netlink messages that create our links.

use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::{LinkBridge, LinkIfb, LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::model::link::{Bridge, Ifb, Veth};

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
