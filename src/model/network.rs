//! A network: a bridge, its subnets, and what all containers on it share.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::route::RouteSpec;
use super::rule::{Backend, Family, Passage};
use super::step::Step;
use super::value::Iface;
use crate::error::Error;

/// The longest name of a network, in bytes.
const MAX_NAME: usize = 63;

/// A network's name: a file's name, so one of letters, digits and `_ . - @`. One that is
/// described by flags has its bridge's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

impl NetworkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Iface> for NetworkName {
    fn from(bridge: &Iface) -> Self {
        Self(bridge.to_string())
    }
}

impl FromStr for NetworkName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self, Error> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"_.-@".contains(&b);
        let starts = |name: &str| !name.starts_with(['-', '.']);
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fine) && starts(name) {
            return Ok(Self(name.to_owned()));
        }
        let shown: String = name.chars().take(MAX_NAME).collect();
        let cause = format!("it must be 1 to {MAX_NAME} letters, digits and _ . - @");
        Err(Error::new(format!("network name '{shown}'"), cause))
    }
}

impl TryFrom<String> for NetworkName {
    type Error = Error;
    fn try_from(name: String) -> Result<Self, Error> {
        name.parse()
    }
}

impl From<NetworkName> for String {
    fn from(name: NetworkName) -> Self {
        name.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

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
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            mode_ipv4: Mode::default(),
            mode_ipv6: Mode::default(),
            internal: false,
            isolate: Isolation::default(),
            inter_container: true,
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
        Passage { mode: self.mode(family), internal: self.internal, open }
    }
}

/// A network as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: NetworkName,
    /// Its bridge.
    pub bridge: Iface,
    /// The bridge's addresses, each with the subnet that leases come from.
    pub subnets: Vec<IpNetwork>,
    /// Who reaches its containers, and whom they reach.
    #[serde(default)]
    pub reach: Reach,
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
        self.subnets.iter().map(IpNetwork::ip).collect()
    }

    /// As it would be asked for.
    pub fn spec(&self) -> NetworkSpec {
        NetworkSpec {
            name: self.name.clone(),
            bridge: self.bridge.clone(),
            subnets: self.subnets.clone(),
            lent: false,
            defined: false,
            reach: self.reach,
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
    /// The bridge to create or reuse.
    pub bridge: Iface,
    /// The bridge's addresses, each with the subnet that leases come from.
    pub subnets: Vec<IpNetwork>,
    /// Whether nobody asked for these: a bridge that is there lends its own.
    pub lent: bool,
    /// Whether the configuration file defines it.
    pub defined: bool,
    /// Who reaches its containers, and whom they reach.
    pub reach: Reach,
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
        let (reach, before) = (&self.reach, &known.reach);
        [
            say("bridge", &self.bridge, &known.bridge, |name: &Iface| name.to_string()),
            say("subnets", &self.subnets[..], &known.subnets[..], list),
            say("mode-ipv4", &reach.mode_ipv4, &before.mode_ipv4, written),
            say("mode-ipv6", &reach.mode_ipv6, &before.mode_ipv6, written),
            say("internal", &reach.internal, &before.internal, |yes: &bool| yes.to_string()),
            say("isolate", &reach.isolate, &before.isolate, written),
            say("inter-container", &reach.inter_container, &before.inter_container, |yes: &bool| {
                yes.to_string()
            }),
            say("routes", &self.routes[..], &known.routes[..], list),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// One that is described by its bridge alone.
    pub fn described(bridge: Iface, subnets: Vec<IpNetwork>) -> Self {
        Self {
            name: NetworkName::from(&bridge),
            bridge,
            subnets,
            lent: false,
            defined: false,
            reach: Reach::default(),
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
