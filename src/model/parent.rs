//! Networks without a bridge: containers have interfaces of their own on a link of the host, and
//! by that on its wire.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::network::written;
use super::sandbox::Netns;
use super::value::{Iface, Mac};

/// The link of the host that the interfaces of a network's containers are made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The link that is named in the definition.
    pub link: Iface,
    /// The VLAN whose link on that one is taken in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    /// What is made on it.
    pub kind: ChildKind,
    /// Whether the host has an interface there too.
    #[serde(default)]
    pub host_access: bool,
    /// Whether containers heed routers on the wire.
    #[serde(default)]
    pub router_advertisements: bool,
}

impl Parent {
    /// The link that interfaces are made on: that of the VLAN, if there is one.
    pub fn lower(&self) -> &Iface {
        self.vlan.as_ref().map_or(&self.link, |vlan| &vlan.name)
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.lower())?;
        if self.host_access {
            f.write_str(" with host-access")?;
        }
        if self.router_advertisements {
            f.write_str(" with router-advertisements")?;
        }
        Ok(())
    }
}

/// What is made on a parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildKind {
    /// An interface with an address of the link layer of its own.
    Macvlan(MacvlanMode),
    /// One with the address of its parent.
    Ipvlan(IpvlanMode),
}

impl ChildKind {
    /// As `ip link` calls it, and a definition.
    pub fn driver(self) -> &'static str {
        match self {
            Self::Macvlan(_) => "macvlan",
            Self::Ipvlan(_) => "ipvlan",
        }
    }

    /// Whether each interface has an address of its own, by which it is known; the others have that
    /// of their parent.
    pub fn has_own_mac(self) -> bool {
        matches!(self, Self::Macvlan(mode) if mode != MacvlanMode::Passthru)
    }

    /// Whether containers find neighbours and routers on the wire: the others know no next hop.
    pub fn has_neighbours(self) -> bool {
        matches!(self, Self::Macvlan(_) | Self::Ipvlan(IpvlanMode::L2))
    }
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self {
            Self::Macvlan(mode) => written(mode),
            Self::Ipvlan(mode) => written(mode),
        };
        write!(f, "{} mode {mode}", self.driver())
    }
}

/// Whom a macvlan interface reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacvlanMode {
    /// The others on its parent too.
    #[default]
    Bridge,
    /// None of them.
    Private,
    /// Them by the switch, if that sends back what it gets.
    Vepa,
    /// It is alone, and has all that its parent has.
    Passthru,
}

/// What an ipvlan interface does with packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpvlanMode {
    /// As a neighbour on the wire.
    #[default]
    L2,
    /// The host routes them, and nobody else's rules see them.
    L3,
    /// As `L3`, by the rules of the host.
    L3s,
}

/// The link of a VLAN as we create it, up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// Its name: `PARENT.ID`.
    pub name: Iface,
    /// The link that it is on.
    pub parent: Iface,
    /// From 1 to 4094.
    pub id: u16,
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, parent, id } = self;
        write!(f, "ip link add link {parent} name {name} up type vlan id {id}")
    }
}

/// An interface on a parent as we create it, in the namespace that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Its name.
    pub name: Iface,
    /// The link that it is made on.
    pub parent: Iface,
    /// What it is.
    pub kind: ChildKind,
    /// Its address of the link layer, if it has one of its own.
    pub mac: Option<Mac>,
    /// Its first address: by that it is known where it has no other.
    pub address: IpAddr,
    /// In bytes.
    pub mtu: u32,
    /// The namespace that it is made in.
    pub netns: Netns,
    /// The inode of that, if it is a container's: it is looked for there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, parent, kind, mac, mtu, .. } = self;
        write!(f, "ip link add link {parent} name {name}")?;
        mac.iter().try_for_each(|mac| write!(f, " address {mac}"))?;
        write!(f, " mtu {mtu}")?;
        if self.inode.is_some() {
            write!(f, " netns {}", self.netns.name())?;
        }
        write!(f, " type {kind}")
    }
}
