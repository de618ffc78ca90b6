//! The cable: a veth pair between the bridge and the container.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use serde::{Deserialize, Serialize};

use crate::config::value::{Iface, Mac};

/// The second byte of the host end's MAC address.
pub const HOST_MAC_KIND: u8 = 0x76;
/// The second byte of the container end's MAC address.
pub const PEER_MAC_KIND: u8 = 0x6e;

/// A veth pair as we create it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The host end's name.
    pub name: Iface,
    /// The host end's address: with the name, it tells our cable from a stranger's from the
    /// moment of its birth.
    pub mac: Mac,
    /// The bridge that the host end is a port of.
    pub bridge: Iface,
    /// The other end's name, inside the container.
    pub peer: Iface,
    /// The other end's address.
    pub peer_mac: Mac,
    /// A process in the container's network namespace; 0 where there is none, but a path.
    pub pid: i32,
    /// Of both ends, in bytes.
    pub mtu: u32,
}

impl fmt::Display for Veth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, mac, bridge, peer, peer_mac, pid, mtu } = self;
        let netns = if *pid == 0 { "$NETNS".to_owned() } else { pid.to_string() };
        write!(
            f,
            "ip link add {name} address {mac} mtu {mtu} master {bridge} up \
             type veth peer name {peer} address {peer_mac} mtu {mtu} netns {netns}"
        )
    }
}

impl Veth {
    /// The one `RTM_NEWLINK` of the whole cable: the host end born up and on the bridge, the
    /// other end born under its last name in its last namespace. Moving and renaming it would
    /// cost three more round trips with grace periods.
    ///
    /// `netns` must stay open until the message is sent.
    pub fn message(&self, bridge_index: u32, netns: BorrowedFd<'_>) -> LinkMessage {
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
