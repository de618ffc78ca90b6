//! The links that we create, and their lines in `ip(8)`.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sandbox::Netns;
use super::value::{Iface, Mac};

/// The second byte of a bridge's MAC address.
pub const BRIDGE_MAC: u8 = 0x62;
/// The second byte of the MAC address of a veth pair's host end.
pub const HOST_MAC: u8 = 0x76;
/// The second byte of the MAC address of a veth pair's container end.
pub const CONTAINER_MAC: u8 = 0x6e;
/// The second byte of the MAC address of an intermediate functional block.
pub const IFB_MAC: u8 = 0x69;

/// What the name of every host end of ours begins with.
pub const HOST_END: &str = "netnsv0-";
/// What the name of every intermediate functional block of ours begins with: as long, so that it
/// ends like that of its host end.
pub const IFB: &str = "netnsi0-";

/// The name of the intermediate functional block that goes with a host end.
pub fn ifb_of(host_end: &Iface) -> Option<Iface> {
    format!("{IFB}{}", host_end.as_str().strip_prefix(HOST_END)?).parse().ok()
}

/// Its address, which goes with that of the host end.
pub fn ifb_mac(host_end: Mac) -> Mac {
    let Mac([first, _, tail @ ..]) = host_end;
    let [a, b, c, d] = tail;
    Mac([first, IFB_MAC, a, b, c, d])
}

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

/// A veth pair as we create it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The host end's name.
    pub name: Iface,
    /// The host end's address: with the name, it tells our veth pair from a stranger's from the
    /// moment that it exists.
    pub mac: Mac,
    /// The bridge that the host end is a port of.
    pub bridge: Iface,
    /// The other end's name, inside the container.
    pub peer: Iface,
    /// The other end's address.
    pub peer_mac: Mac,
    /// The container's network namespace.
    pub netns: Netns,
    /// Of both ends, in bytes.
    pub mtu: u32,
}

impl fmt::Display for Veth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, mac, bridge, peer, peer_mac, netns, mtu } = self;
        let netns = netns.name();
        write!(
            f,
            "ip link add {name} address {mac} mtu {mtu} master {bridge} up \
             type veth peer name {peer} address {peer_mac} mtu {mtu} netns {netns}"
        )
    }
}

/// An intermediate functional block as we create it: a link that sends what comes in by a host
/// end, so that it can wait there. It outlives the veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ifb {
    /// Its name; see [`ifb_of`].
    pub name: Iface,
    /// Its address: with the name, it tells ours from a stranger's.
    pub mac: Mac,
}

impl fmt::Display for Ifb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ip link add {} address {} up type ifb", self.name, self.mac)
    }
}
