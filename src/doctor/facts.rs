//! What there is to know before anything is said.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::ruleset::Ruleset;
use crate::config::publish::{Protocol, Published};
use crate::config::value::Iface;
use crate::kernel::probe::Answer;
use crate::store::record::{Network, Record};

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What a command of ours begins with.
    pub netns: String,
    /// The host.
    pub host: Host,
    /// All rules of the host.
    pub firewall: Firewall,
    /// The networks to look at.
    pub networks: Vec<Network>,
    /// The containers to look at.
    pub containers: Vec<Container>,
}

/// The host.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// `net/ipv4/ip_forward`.
    pub ip_forward: bool,
    /// Whether bridged packets pass the rules of netfilter.
    pub bridge_netfilter: bool,
    /// Its links.
    pub links: Vec<Link>,
    /// Its routes, of every table but the kernel's own.
    pub routes: Vec<Route>,
    /// Resolvers of the host that are on no loopback address.
    pub resolvers: Vec<IpAddr>,
}

impl Host {
    /// The link of this name.
    pub fn link(&self, name: &Iface) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name.as_str())
    }

    /// The link that the best default route leaves by.
    pub fn uplink(&self) -> Option<&Link> {
        let main = self.routes.iter().filter(|route| route.table == MAIN && route.destination.prefix() == 0);
        let name = main.min_by_key(|route| route.metric)?.link.as_ref()?;
        self.links.iter().find(|link| link.name == *name)
    }
}

/// The number of the table `main`.
pub const MAIN: u32 = 254;

/// A link of the host, or of a container.
#[derive(Debug, Clone, Default)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// As `ip link show type` would take it; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// In bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Its IPv4 addresses.
    pub addresses: Vec<IpNetwork>,
    /// Whether it is a bridge's port that somebody has disabled.
    pub disabled: bool,
    /// Whether packets that come by it are forwarded.
    pub forwarding: bool,
    /// What counts for it of `conf/all/rp_filter` and its own.
    pub rp_filter: u8,
    /// What counts for it of `conf/all/route_localnet` and its own.
    pub route_localnet: bool,
}

/// A route.
#[derive(Debug, Clone)]
pub struct Route {
    /// The table's number.
    pub table: u32,
    /// Where it leads.
    pub destination: IpNetwork,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The link that it leaves by.
    pub link: Option<String>,
    /// The lower, the better.
    pub metric: u32,
    /// `blackhole` and the like.
    pub kind: Option<&'static str>,
}

/// All rules of the host.
#[derive(Debug, Clone, Default)]
pub struct Firewall {
    /// Why they could not be read.
    pub unreadable: Option<String>,
    /// Those of ours that are gone.
    pub missing: Vec<String>,
    /// Everybody's, of all tools.
    pub ruleset: Ruleset,
    /// The other variant's program, if there are rules of ours in its tables.
    pub ours_in_other: Option<&'static str>,
}

/// A container on a bridge.
#[derive(Debug, Clone)]
pub struct Container {
    /// What is remembered of it.
    pub record: Record,
    /// Its bridge.
    pub bridge: Iface,
    /// The host's end of its cable.
    pub cable: Iface,
    /// Its default route's next hop.
    pub gateway: IpAddr,
    /// Whether it is dead or was attached half way only.
    pub dead: bool,
    /// What it looks like; `None` where there is no way in, or another that lives there has been
    /// looked at already.
    pub inside: Option<Inside>,
    /// Where programs in its namespace listen.
    pub listeners: Option<Vec<(Protocol, IpAddr, u16)>>,
    /// The link by which the host sends to it; an error says why it cannot.
    pub way: Result<Option<String>, String>,
    /// UDP flows to its ports that lead elsewhere, each as the command that ends it.
    pub flows: Vec<String>,
    /// What answered when it was tried.
    pub probe: Probe,
}

impl Container {
    /// Its name in findings.
    pub fn object(&self) -> String {
        format!("container {}", self.record.id)
    }

    /// Its first address.
    pub fn address(&self) -> Option<IpAddr> {
        self.record.addresses.first().map(IpNetwork::ip)
    }

    /// What a command begins with that is run in its network namespace.
    pub fn enter(&self) -> String {
        format!("nsenter -t {} -n", self.record.process.pid)
    }
}

/// A container's network namespace, and its resolvers.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    /// The interface that we gave it.
    pub link: Option<Link>,
    /// Whether there is any default route.
    pub default_route: bool,
    /// The resolvers of its `resolv.conf`; `None` if it has none.
    pub resolvers: Option<Vec<IpAddr>>,
}

/// What answered.
#[derive(Debug, Clone, Default)]
pub struct Probe {
    /// Whether the gateway answered to ARP.
    pub gateway: Option<bool>,
    /// Each port that was tried: what is published, the host's port, and what came of it.
    pub ports: Vec<(Published, u16, Answer)>,
    /// The container's own rules, read where a port was silent.
    pub rules: Ruleset,
}
