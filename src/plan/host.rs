//! The kernel as the plan finds it.

use ipnetwork::IpNetwork;

use super::names::{Files, Slots};
use crate::config::publish::{Ports, Published};
use crate::config::value::Iface;
use crate::link::physical::Before;
use crate::names::resolver::Resolver;

/// The kernel as the plan finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The link that has the bridge's name.
    pub bridge: Option<Link>,
    /// Routes of the main table; read only where the bridge still needs its address.
    pub routes: Vec<Route>,
    /// The MTU of the default route's link; read only where the bridge is still to be made.
    pub uplink_mtu: Option<u32>,
    /// Whether the host end's usual name is taken.
    pub host_interface_taken: bool,
    /// `net/ipv4/ip_forward`.
    pub ip_forward: String,
    /// `net/ipv4/conf/BRIDGE/route_localnet`, if there is a bridge.
    pub route_localnet: Option<String>,
    /// Whether the kernel has IPv6 at all.
    pub ipv6: bool,
    /// Who of the host listens where a port is to be published.
    pub listeners: Vec<Listener>,
    /// Who has the name that the container's namespace is to get, if it is.
    pub name: Name,
    /// Free ports of the host, one range for each request that names none, in their order.
    pub free_ports: Vec<Ports>,
    /// What a container can use of the host's `resolv.conf`.
    pub resolver: Resolver,
    /// What the bridge's `resolv.conf` says, if there is one.
    pub resolv_conf: Option<String>,
    /// What is known of the container's files.
    pub files: Files,
    /// Which slots of the bridge's `hosts` file are free.
    pub slots: Slots,
    /// Those interfaces that the container asks for and that are there.
    pub interfaces: Vec<Interface>,
}

/// An interface of the host that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
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
pub enum Name {
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

/// A link of the host as the plan needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// As `ip link show type` would take it; `None` for hardware.
    pub kind: Option<String>,
    /// In bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its IPv4 addresses.
    pub addresses: Vec<IpNetwork>,
}

/// A process of the host that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Where, as if it were published.
    pub at: Published,
    /// Who, for an error.
    pub who: String,
}

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it leads to.
    pub destination: IpNetwork,
    /// The link that it leaves by.
    pub link: String,
}
