//! The bridge that a network's containers hang on.

use std::fmt;

use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{LinkBridge, LinkMessageBuilder};
use serde::{Deserialize, Serialize};

use crate::config::value::{Iface, Mac};

/// The second byte of a bridge's MAC address.
pub const MAC_KIND: u8 = 0x62;

/// A bridge as we create it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its name.
    pub name: Iface,
    /// Its address, pinned: otherwise it would follow the lowest port's, and containers would
    /// lose their gateway whenever that changes.
    pub mac: Mac,
    /// In bytes. Set, and not only given at birth, it no longer follows the ports' either.
    pub mtu: u32,
}

impl fmt::Display for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ip link add {} address {} mtu {} type bridge", self.name, self.mac, self.mtu)
    }
}

impl Bridge {
    /// The `RTM_NEWLINK` that creates it, down, with the usual MTU: the kernel takes one for
    /// chosen, and keeps it when the last port goes, only if it is changed later.
    pub fn message(&self) -> LinkMessage {
        LinkMessageBuilder::<LinkBridge>::new(self.name.as_str()).address(self.mac.0.to_vec()).build()
    }
}
