//! A network: a bridge, its subnets, and what all containers on it share.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::rule::Backend;
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

/// A network as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its name.
    pub name: NetworkName,
    /// Its bridge.
    pub bridge: Iface,
    /// The bridge's addresses, each with the subnet that leases come from.
    pub subnets: Vec<IpNetwork>,
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
    /// In bytes; `None` means that of the default route's link.
    pub mtu: Option<u32>,
    /// Who takes its rules; `None` means who has those of the network that is there, or else the default.
    pub firewall: Option<Backend>,
}

impl NetworkSpec {
    /// Who takes the rules of containers to come, where `known` is what is recorded of it.
    pub fn backend(&self, known: Option<&Network>) -> Backend {
        self.firewall.or(known.map(|known| known.firewall)).unwrap_or_default()
    }
}
