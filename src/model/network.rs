//! A network: a bridge, its subnets, and what all containers on it share.

mod name;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

pub use self::name::NetworkName;
use super::parent::Parent;
use super::peers::Peers;
use super::range::LeaseRange;
use super::route::{RouteSpec, Target};
use super::rule::{Backend, Family, Passage};
use super::step::Step;
use super::value::Iface;
use crate::error::Error;

/// A word as it is written in a file.
pub fn written<T: Serialize>(word: &T) -> String {
    serde_json::to_value(word).ok().and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default()
}

/// What happens to the packets of a family between a network and the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They leave under the host's address; published ports are the host's.
    #[default]
    Nat,
    /// They leave under the container's own address; published ports are that address's own, and
    /// nobody from outside reaches any other.
    Routed,
    /// None leaves, and none comes in.
    Isolated,
}

/// How far a network is from the others on this host. A published port is reached all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// No other network is reached, and none reaches it.
    #[default]
    Strict,
    /// It and others that are not strict reach each other, unless one is internal or isolated.
    Normal,
    /// As normal, though it may be internal or isolated itself.
    None,
}

/// Who reaches a network's containers, and whom they reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Reach {
    /// Of IPv4.
    pub mode_ipv4: Mode,
    /// Of IPv6.
    pub mode_ipv6: Mode,
    /// No route leads out; ports may be published to the host itself.
    pub internal: bool,
    /// From the other networks here.
    pub isolate: Isolation,
    /// Whether its containers reach each other.
    pub inter_container: bool,
    /// Whether nothing is masqueraded and nobody kept out who has a route: CNI's `ipMasq` is false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unmasqueraded: bool,
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            mode_ipv4: Mode::default(),
            mode_ipv6: Mode::default(),
            internal: false,
            isolate: Isolation::default(),
            inter_container: true,
            unmasqueraded: false,
        }
    }
}

impl Reach {
    /// That of a family.
    pub fn mode(&self, family: Family) -> Mode {
        match family {
            Family::Ipv4 => self.mode_ipv4,
            Family::Ipv6 => self.mode_ipv6,
        }
    }

    /// Whether containers have a way out by it.
    pub fn leads_out(&self, family: Family) -> bool {
        !self.internal && self.mode(family) != Mode::Isolated
    }

    /// What a firewall has to know of it.
    pub fn passage(&self, family: Family) -> Passage {
        let open = match self.isolate {
            Isolation::Strict => false,
            Isolation::Normal => self.leads_out(family),
            Isolation::None => true,
        };
        let (mode, unmasqueraded) = (self.mode(family), self.unmasqueraded);
        Passage { mode, internal: self.internal, open, apart: !self.inter_container, unmasqueraded }
    }
}

/// A network as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: NetworkName,
    /// Its bridge; on a parent the host's own interface there, if it has one.
    pub bridge: Iface,
    /// On which link of the host its containers have their interfaces; `None`: they are on the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The containers' next hops, which are the bridge's addresses or those of routers on the parent's
    /// wire, each with the subnet that leases come from.
    pub subnets: Vec<IpNetwork>,
    /// From which addresses to lease; of a subnet without any, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<LeaseRange>,
    /// Who reaches its containers, and whom they reach.
    #[serde(default)]
    pub reach: Reach,
    /// The other hosts that it goes on to.
    #[serde(default, skip_serializing_if = "Peers::are_none")]
    pub peers: Peers,
    /// Routes that each of its containers gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    /// The name servers of its containers; none means those of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Of the bridge, in bytes.
    pub mtu: u32,
    /// Who takes the rules of containers to come; those that are here have their own choice.
    #[serde(default)]
    pub firewall: Backend,
    /// The boot that it was made in.
    pub boot_id: String,
    /// Every step that was taken for it, in that order. They are undone backwards; one that
    /// another network has too is left to the last of them.
    pub steps: Vec<Step>,
}

impl Network {
    /// The containers' next hops.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let has_neighbours = self.parent.as_ref().is_none_or(|parent| parent.kind.has_neighbours());
        self.subnets.iter().map(IpNetwork::ip).filter(|_| has_neighbours).collect()
    }

    /// Whether the host has a link of its own on it.
    pub fn has_host_link(&self) -> bool {
        self.parent.as_ref().is_none_or(|parent| parent.host_access)
    }

    /// Where the containers' default route of a family leads, if they get one.
    pub fn way_out(&self, family: Family) -> Option<Target> {
        let has_subnet = self.subnets.iter().any(|subnet| Family::of(subnet.ip()) == family);
        let gateways = self.gateways();
        let gateway = gateways.iter().find(|gateway| Family::of(**gateway) == family);
        let leads_out = has_subnet && self.reach.leads_out(family);
        leads_out.then(|| gateway.map_or(Target::Link, |gateway| Target::Via(*gateway)))
    }

    /// As it would be asked for.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec {
            name: self.name.clone(),
            bridge: self.bridge.clone(),
            parent: self.parent.clone(),
            subnets: self.subnets.clone(),
            ranges: self.ranges.clone(),
            lent: false,
            defined: false,
            reach: self.reach,
            subnet_from: None,
            peers: self.peers.clone(),
            routes: self.routes.clone(),
            dns: self.dns.clone(),
            mtu: Some(self.mtu),
            firewall: Some(self.firewall),
        }
    }
}

/// A network as it is asked for, every question answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: NetworkName,
    /// The bridge to create or reuse; on a parent what the host's own interface there is called.
    pub bridge: Iface,
    /// On which link of the host its containers have their interfaces; `None`: they are on the bridge.
    pub parent: Option<Parent>,
    /// The containers' next hops, each with the subnet that leases come from.
    pub subnets: Vec<IpNetwork>,
    /// From which addresses to lease; of a subnet without any, all.
    pub ranges: Vec<LeaseRange>,
    /// Whether nobody asked for these: a bridge that is there lends its own.
    pub lent: bool,
    /// Whether the configuration file defines it.
    pub defined: bool,
    /// Who reaches its containers, and whom they reach.
    pub reach: Reach,
    /// The file that says which subnets it has, and more; see `config`.
    pub subnet_from: Option<PathBuf>,
    /// The other hosts that it goes on to.
    pub peers: Peers,
    /// Routes that each of its containers gets.
    pub routes: Vec<RouteSpec>,
    /// The name servers of its containers; none means those of the host.
    pub dns: Vec<IpAddr>,
    /// In bytes; `None` means that of the default route's link.
    pub mtu: Option<u32>,
    /// Who takes its rules; `None` means who has those of the network that is there, or else the default.
    pub firewall: Option<Backend>,
}

impl NetworkSpec {
    /// What is otherwise than it was recorded, in words: what all on the network rely on, and
    /// `create` cannot change.
    pub fn differences(&self, known: &Network) -> Vec<String> {
        fn say<T: PartialEq + Copy>(
            what: &str,
            wanted: T,
            known: T,
            text: impl Fn(T) -> String,
        ) -> Option<String> {
            let differs = wanted != known;
            differs.then(|| format!("{what} {}, which was {}", text(wanted), text(known)))
        }
        fn list<T: fmt::Display>(all: &[T]) -> String {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(" and ") }
        }
        fn driver(parent: &Option<Parent>) -> String {
            parent.as_ref().map_or_else(|| "bridge".to_owned(), ToString::to_string)
        }
        let (reach, before) = (&self.reach, &known.reach);
        let (peers, known_peers) = (&self.peers, &known.peers);
        [
            say("bridge", &self.bridge, &known.bridge, |name: &Iface| name.to_string()),
            say("driver", &self.parent, &known.parent, driver),
            // What was chosen once stays.
            say("subnets", if self.lent { &known.subnets } else { &self.subnets }, &known.subnets, |all| {
                list(all)
            }),
            say("lease-ranges", &self.ranges[..], &known.ranges[..], list),
            say("mode-ipv4", &reach.mode_ipv4, &before.mode_ipv4, written),
            say("mode-ipv6", &reach.mode_ipv6, &before.mode_ipv6, written),
            say("internal", &reach.internal, &before.internal, |yes: &bool| yes.to_string()),
            say("isolate", &reach.isolate, &before.isolate, written),
            say("inter-container", &reach.inter_container, &before.inter_container, |yes: &bool| {
                yes.to_string()
            }),
            say(
                "trusted-interfaces",
                &peers.trusted_interfaces[..],
                &known_peers.trusted_interfaces[..],
                list,
            ),
            say("no-masquerade-to", &peers.no_masquerade_to[..], &known_peers.no_masquerade_to[..], list),
            say("FLANNEL_IPMASQ", peers.others_masquerade, known_peers.others_masquerade, |yes| {
                yes.to_string()
            }),
            say("routes", &self.routes[..], &known.routes[..], list),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What says how it is to be.
    pub fn said_by(&self) -> String {
        let file = self.subnet_from.as_ref();
        file.map_or_else(
            || "its definition".to_owned(),
            |file| format!("its definition or {}", file.display()),
        )
    }

    /// One that is described by its bridge alone.
    pub fn described(bridge: Iface, subnets: Vec<IpNetwork>) -> Self {
        Self {
            name: NetworkName::from(&bridge),
            bridge,
            parent: None,
            subnets,
            ranges: Vec::new(),
            lent: false,
            defined: false,
            reach: Reach::default(),
            subnet_from: None,
            peers: Peers::default(),
            routes: Vec::new(),
            dns: Vec::new(),
            mtu: None,
            firewall: None,
        }
    }

    /// The families that it has a subnet of.
    pub fn families(&self) -> impl Iterator<Item = Family> {
        let has = |family: &Family| self.subnets.iter().any(|subnet| Family::of(subnet.ip()) == *family);
        Family::ALL.into_iter().filter(has)
    }

    /// Refuses two subnets of one family.
    ///
    /// # Errors
    /// There are.
    pub fn check_subnets(&self) -> Result<(), Error> {
        let alike = |(at, one): (usize, &IpNetwork)| {
            let other = self.subnets[..at].iter().find(|other| other.is_ipv4() == one.is_ipv4());
            other.map(|other| format!("{other} and {one}"))
        };
        self.subnets.iter().enumerate().find_map(alike).map_or(Ok(()), |both| {
            let cause = "a network has one subnet of IPv4 at most, and one of IPv6";
            Err(Error::new(format!("use {both} for network {}", self.name), cause))
        })
    }

    /// Who takes the rules of containers to come, where `known` is what is recorded of it.
    pub fn backend(&self, known: Option<&Network>) -> Backend {
        self.firewall.or(known.map(|known| known.firewall)).unwrap_or_default()
    }
}
