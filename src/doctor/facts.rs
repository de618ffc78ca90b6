//! What there is to know before anything is said.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::ruleset::Ruleset;
use super::shell::quoted;
use crate::kernel::probe::Answer;
use crate::model::limits::Limits;
use crate::model::network::{Network, NetworkName};
use crate::model::observed::{Link, Links, Listener, MAIN_TABLE, Route};
use crate::model::parent::Parent;
use crate::model::port::{PortMapping, Protocol};
use crate::model::record::{Attachment, Record};
use crate::model::resolver::Resolver;
use crate::model::rule::Family;
use crate::model::sandbox::FoundBy;
use crate::model::step::Step;
use crate::model::value::Iface;
use crate::operations::Unrecorded;

/// Everything that was observed.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// What a command of ours begins with.
    pub netns: String,
    /// The host.
    pub host: Host,
    /// All rules of the host.
    pub firewall: Firewall,
    /// The networks on bridges to examine.
    pub networks: Vec<Network>,
    /// Those on links of the host.
    pub parents: Vec<OnParent>,
    /// The containers to examine.
    pub containers: Vec<Container>,
    /// Those that live and that no record tells of.
    pub unrecorded: Vec<Unrecorded>,
    /// Veth pairs that somebody else has made ports of bridges that we made.
    pub strangers: Vec<(Iface, String)>,
    /// What is wrong with the configuration, and a hint.
    pub mistake: Option<(String, Option<String>)>,
    /// The same with files of other programs in which networks' subnets are.
    pub unread_subnets: Vec<(String, Option<String>)>,
    /// Networks in use that are to be otherwise: what says so, and how.
    pub changed: Vec<(NetworkName, String)>,
}

/// The host.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// By what it forwards packets of each family.
    pub forwarding: [Switch; 2],
    /// Whether bridged packets of each family pass the rules of netfilter.
    pub bridge_netfilter: [bool; 2],
    /// Its links.
    pub links: Links,
    /// What limits them.
    pub limits: Limits,
    /// How many packets more found the queue of a link full a moment later, by the links' numbers.
    pub overflow: HashMap<u32, u32>,
    /// Their parameters, by their numbers.
    pub parameters: HashMap<u32, Parameters>,
    /// Its routes, of every table but the kernel's own.
    pub routes: Vec<Route>,
    /// Resolvers of the host that containers reach, and the first that they do not.
    pub resolver: Resolver,
    /// Addresses that ports are published on, and that it does not have.
    pub absent: Vec<IpAddr>,
    /// Its programs that listen on published ports.
    pub listeners: Vec<Listener>,
}

/// A kernel parameter that is on or off.
#[derive(Debug, Clone, Copy, Default)]
pub struct Switch {
    /// Its name.
    pub key: &'static str,
    /// Whether it is on.
    pub on: bool,
}

/// What counts for a link of its own parameters below `net/ipv4/conf` or `net/ipv6/conf` and of
/// those for all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parameters {
    /// Whether packets of each family that come by it are forwarded.
    pub forwarding: [bool; 2],
    /// How strictly senders are checked: 1 is strict.
    pub rp_filter: u8,
    /// Whether loopback addresses are routed.
    pub route_localnet: bool,
}

impl Host {
    /// The link of this name.
    pub fn link(&self, name: &Iface) -> Option<&Link> {
        self.links.by_name(name.as_str())
    }

    /// The parameters of a link of the host.
    pub fn parameters(&self, link: &Link) -> Parameters {
        self.parameters.get(&link.index).copied().unwrap_or_default()
    }

    /// The links that the best default route for a family leaves by; several where it has several
    /// next hops.
    pub fn uplinks(&self, family: Family) -> impl Iterator<Item = &Link> {
        let is_default = move |route: &&Route| {
            let of_family = Family::of(route.destination.ip()) == family;
            route.table == MAIN_TABLE && of_family && route.destination.prefix() == 0
        };
        let all = self.routes.iter().filter(is_default);
        let best = all.clone().map(|route| route.metric).min();
        let best = all.filter(move |route| Some(route.metric) == best);
        best.filter_map(|route| self.links.by_index(route.link?))
    }

    /// The first of [`Self::uplinks`].
    pub fn uplink(&self, family: Family) -> Option<&Link> {
        self.uplinks(family).next()
    }
}

/// All rules of the host.
#[derive(Debug, Clone, Default)]
pub struct Firewall {
    /// Why they could not be read.
    pub unreadable: Option<String>,
    /// Those of ours that are gone.
    pub missing: Vec<String>,
    /// Those of all programs.
    pub ruleset: Ruleset,
    /// The other variant's programs in whose tables there are rules of ours.
    pub ours_in_other: Vec<&'static str>,
}

/// A container's attachment to a bridge. A container with several has one of these for each.
#[derive(Debug, Clone)]
pub struct Container {
    /// What is recorded of the container.
    pub record: Record,
    /// Which of its attachments.
    pub attachment: Attachment,
    /// Whether it is the first of them that are on a bridge: what is not about one attachment is
    /// told of this one.
    pub first: bool,
    /// The bridge.
    pub bridge: Iface,
    /// The host end of the veth pair.
    pub host_end: Iface,
    /// The next hop.
    pub gateway: IpAddr,
    /// Why it is to be garbage-collected, if it is.
    pub stale: Option<Stale>,
    /// The attachment within the container; `None` where there is no way in, or another
    /// container that shares it has been examined already.
    pub inside: Option<Inside>,
    /// Where programs in its namespace listen.
    pub listeners: Option<Vec<(Protocol, IpAddr, u16)>>,
    /// The link by which the host sends to it; an error says why it cannot.
    pub sent_by: Result<Option<String>, String>,
    /// UDP flows to its ports that lead elsewhere, each as the command that ends it.
    pub flows: Vec<String>,
    /// What answered when it was tried.
    pub probe: Probe,
}

/// A network on a link of the host.
#[derive(Debug, Clone)]
pub struct OnParent {
    /// What is recorded of it.
    pub network: Network,
    /// What it is on.
    pub parent: Parent,
    /// The containers on it.
    pub containers: Vec<OnWire>,
}

/// A container's place on such a network.
#[derive(Debug, Clone)]
pub struct OnWire {
    /// The container's name in findings.
    pub object: String,
    /// Its interface there.
    pub interface: Iface,
    /// Whether it has that.
    pub there: bool,
    /// Whether it is on no bridge besides.
    pub alone: bool,
    /// Why it is to be garbage-collected, if it is.
    pub stale: Option<Stale>,
}

/// Why a container is to be garbage-collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// It is dead.
    Dead,
    /// Its attach or detach was interrupted.
    Interrupted,
}

impl Container {
    /// Its name in findings.
    pub fn object(&self) -> String {
        self.record.container.to_string()
    }

    /// Its first address on the bridge.
    pub fn address(&self) -> Option<IpAddr> {
        self.attachment.addresses.first().map(IpNetwork::ip)
    }

    /// Its address of a family on the bridge.
    pub fn address_of(&self, family: Family) -> Option<IpAddr> {
        self.attachment.addresses.iter().map(IpNetwork::ip).find(|address| Family::of(*address) == family)
    }

    /// The port mappings that lead to this attachment.
    pub fn ports(&self) -> &[PortMapping] {
        if self.first { &self.record.ports } else { &[] }
    }

    /// What a command begins with that is run in its network namespace.
    pub fn enter(&self) -> String {
        match &self.record.sandbox.found_by {
            FoundBy::Process { pid, .. } => format!("nsenter -t {pid} -n"),
            FoundBy::Path(path) => format!("nsenter --net={}", quoted(path)),
        }
    }

    /// Steps as commands for a shell, which say `$NETNS` where there is no process.
    pub fn commands(&self, steps: &[Step]) -> String {
        let text = commands(steps);
        match self.record.sandbox.path() {
            Some(path) if text.contains("$NETNS") => format!("NETNS={} && {text}", quoted(path)),
            _ => text,
        }
    }
}

/// Steps as commands for a shell.
pub(super) fn commands(steps: &[Step]) -> String {
    steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(" && ")
}

/// An attachment as it is within the container, and the container's resolvers.
#[derive(Debug, Clone, Default)]
pub struct Inside {
    /// The interface that we gave it; of its addresses only those that we gave it too.
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
    /// Each port that was tried: the port mapping, the host's port, and what came of it.
    pub ports: Vec<(PortMapping, u16, Answer)>,
    /// The container's own rules, read where a port was silent.
    pub rules: Ruleset,
}
