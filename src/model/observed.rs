//! What the kernel was seen to have. One type a kind of object, whoever asks: most of a
//! [`Link`] is empty where it was not asked for.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::bundle::Bundle;
use super::device::Before;
use super::dns::Told;
use super::port::PortMapping;
use super::resolver::Resolver;
use super::value::{Iface, Mac};

/// What planning a container has to know of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Whether it forwards IPv4.
    pub forwarding: Forwarding,
    /// Whether it forwards IPv6; read only where a network has a subnet of that.
    pub forwarding6: Forwarding,
    /// Whether bridged packets may pass iptables here.
    pub bridge_netfilter: bool,
    /// Whether the kernel has IPv6 at all.
    pub ipv6: bool,
    /// The networks that are asked for, in their order.
    pub networks: Vec<ObservedNetwork>,
    /// Which of the usual names of host ends are taken.
    pub taken: Vec<Iface>,
    /// The programs of the host that listen where a port may be published.
    pub listeners: Vec<Listener>,
    /// Who has the name that the container's namespace is to get, if it is.
    pub name: NameHolder,
    /// What a container can use of the host's `resolv.conf`.
    pub resolver: Resolver,
    /// What is known of the container's files.
    pub files: Files,
    /// Those devices that the container asks for and that are there.
    pub devices: Vec<Device>,
}

/// Whether the host forwards packets of a family between its links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// The parameter that makes it do so.
    pub key: String,
    /// What that is; 1 where the host forwards for another reason.
    pub value: String,
    /// Where it does not: what has to be set with it, and the parameters that the kernel changes
    /// with it and would not change back.
    pub with: Vec<Setting>,
}

/// A parameter of the kernel that is to be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Below `/proc/sys`, with slashes.
    pub key: String,
    /// What it is to be.
    pub value: String,
    /// What it is.
    pub before: String,
}

/// What planning a network has to know of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedNetwork {
    /// The link that has the bridge's name; or else a bridge of ours that had it.
    pub bridge: Option<Link>,
    /// Routes of the main table; read only where the bridge still needs its address.
    pub routes: Vec<Route>,
    /// The MTU of the default route's link; read only where the bridge is still to be made.
    pub uplink_mtu: Option<u32>,
    /// `net/ipv4/conf/BRIDGE/route_localnet`, if there is a bridge.
    pub route_localnet: Option<String>,
    /// What the network's own `resolv.conf` says, if there is one.
    pub resolv_conf: Option<String>,
    /// The parent as it is, where the network has one.
    pub parent: ObservedParent,
    /// Whether the host has iptables, which may filter what a network of another backend forwards.
    pub has_iptables: bool,
}

impl ObservedNetwork {
    /// Whether the bridge is gone or down: with that the host forgets whom it was told of there, and
    /// the ways to them.
    pub fn has_forgotten(&self) -> bool {
        self.bridge.as_ref().is_none_or(|bridge| !bridge.up)
    }
}

/// The link that a network is on instead of a bridge of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedParent {
    /// The link that the definition names, if it is there.
    pub link: Option<Link>,
    /// The link of the VLAN, if it is there.
    pub vlan: Option<Link>,
    /// Whether it is a wireless one.
    pub wireless: bool,
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// Its number, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// As `ip link show type` would take it; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// Whether it is a loopback interface.
    pub loopback: bool,
    /// The link-layer address; empty where there is none.
    pub address: Vec<u8>,
    /// In bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether the kernel considers it able to carry packets: `up`, `down`, `lowerlayerdown`…
    pub state: String,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The index of the other end, in the other end's namespace.
    pub peer: Option<u32>,
    /// The namespace of [`Self::peer`], by its number in this one; `None` where it is this one.
    pub peer_netns: Option<i32>,
    /// Its alias.
    pub alias: Option<String>,
    /// Its addresses, but for those that an interface gives itself (`fe80::/10`).
    pub addresses: Vec<IpNetwork>,
    /// What has passed it.
    pub counters: Counters,
    /// If it is a bridge's port.
    pub port: Option<BridgePort>,
}

impl Link {
    /// The link-layer address in hexadecimal, with colons.
    pub fn mac(&self) -> String {
        self.address.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
    }

    /// [`Self::kind`], or `loopback`, or `physical` for everything else that the kernel has no
    /// word for.
    pub fn kind_name(&self) -> &str {
        self.kind.as_deref().unwrap_or(if self.loopback { "loopback" } else { "physical" })
    }
}

/// What has passed a link since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// What it received: for a host end, what the container sent.
    pub rx: Counter,
    /// What it sent.
    pub tx: Counter,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// With the link layer's headers.
    pub bytes: u64,
    /// Those that are counted in `bytes`.
    pub packets: u64,
    /// Damaged ones.
    pub errors: u64,
    /// Those that nobody had room for, or nobody wanted.
    pub dropped: u64,
}

/// What a bridge knows of one of its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BridgePort {
    /// Its number on the bridge.
    pub number: u16,
    /// `forwarding` where all is well; else `disabled`, `listening`, `learning` or `blocking`.
    pub state: String,
    /// Whether a packet may leave by the port that it came in by.
    pub hairpin: bool,
    /// Whether it and other such ports are kept from each other.
    pub isolated: bool,
}

/// All links of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links(
    /// In the order of their numbers.
    pub Vec<Link>,
);

impl Links {
    /// The link with this number.
    pub fn by_index(&self, index: u32) -> Option<&Link> {
        self.0.iter().find(|link| link.index == index)
    }

    /// The link of this name.
    pub fn by_name(&self, name: &str) -> Option<&Link> {
        self.0.iter().find(|link| link.name == name)
    }

    /// The bridge with this address.
    pub fn bridge_with(&self, mac: Mac) -> Option<&Link> {
        self.0.iter().find(|link| link.kind.as_deref() == Some("bridge") && link.address == mac.0)
    }

    /// The bridge that a link is a port of.
    pub fn bridge_of(&self, link: &Link) -> Option<&Link> {
        self.by_index(link.master?)
    }
}

/// A route of any table but the kernel's own (`local`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it leads to; prefix length 0 for a default route.
    pub destination: IpNetwork,
    /// The next hop, if there is one.
    pub gateway: Option<IpAddr>,
    /// The index of the link that it leaves by, if it is one.
    pub link: Option<u32>,
    /// That link's name, where links were asked for too.
    pub link_name: Option<String>,
    /// The table's number; see [`MAIN_TABLE`].
    pub table: u32,
    /// The lower, the better.
    pub metric: u32,
    /// `blackhole`, `unreachable`, `prohibit`, `throw`; `None` for one that leads somewhere.
    pub kind: Option<&'static str>,
}

/// The number of the table `main`.
pub const MAIN_TABLE: u32 = 254;

/// A program of the host that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where, as if it were published.
    pub at: PortMapping,
    /// Who, for an error.
    pub who: String,
}

/// A device of the host that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: Iface,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether the kernel keeps it in its namespace.
    pub immovable: bool,
    /// Whether the host's default route needs it.
    pub uplink: bool,
    /// The kind of link that it is a part of.
    pub master_kind: Option<String>,
    /// All that it takes to bring it back.
    pub before: Before,
}

/// Who has a name that `ip netns` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NameHolder {
    /// Nobody.
    #[default]
    Free,
    /// What is left of one leads nowhere.
    Stale,
    /// The very namespace that is to have it.
    Same,
    /// Somebody else: who, for an error.
    Others(String),
}

/// What planning needs to know of a container's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// What its bundle says, if it has one.
    pub bundle: Option<Bundle>,
    /// What its engine tells of its names, if ours are to cover the engine's.
    pub told: Told,
    /// The inode of its mount namespace, unless that is the host's.
    pub mntns: Option<u64>,
    /// Whether its root directory is still the host's, as before `pivot_root(2)`.
    pub before_pivot: bool,
}
