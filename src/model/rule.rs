//! What a firewall is to do for us, in words that no firewall owns: a [`Rule`] says what, and
//! [`crate::firewall`] how.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::network::Mode;
use super::peers::Peers;
use super::port::{PortMapping, Protocol};
use super::value::Iface;
use crate::error::Error;

/// A version of the Internet protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// That of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// Its number in the kernel's messages: `AF_INET` or `AF_INET6`.
    pub fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    /// How long its addresses are, in bits.
    pub fn bits(self) -> u8 {
        match self {
            Self::Ipv4 => 32,
            Self::Ipv6 => 128,
        }
    }

    /// Its address that means any: `0.0.0.0` or `::`.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

/// A firewall that takes rules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// iptables, whichever variant the host has: a rule for each port or range.
    #[default]
    Iptables,
    /// nftables: an element of a map for each port.
    Nftables,
}

impl Backend {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::Iptables, Self::Nftables];
}

impl FromStr for Backend {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let named = Self::ALL.into_iter().find(|backend| backend.to_string() == text);
        named.ok_or_else(|| Error::new(format!("firewall '{text}'"), "it must be iptables or nftables"))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        })
    }
}

/// What is forwarded between a subnet and the rest. What is not said is as ever: see [`Mode::Nat`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Passage {
    /// Under whose address.
    pub mode: Mode,
    /// Nothing at all, but to and from other networks if it is open.
    pub internal: bool,
    /// Whether it and other networks that are open reach each other.
    pub open: bool,
    /// Whether its containers do not reach each other. That the bridge sees to; by way of the gateway
    /// they would all the same.
    pub apart: bool,
    /// Whether, of [`Mode::Nat`], published ports alone are left: what leaves keeps its address, and
    /// whoever has a route comes in.
    pub unmasqueraded: bool,
}

impl Passage {
    /// Whether nothing is forwarded to the world and from there.
    pub fn is_closed(self) -> bool {
        self.internal || self.mode == Mode::Isolated
    }

    /// Whether the world reaches what containers publish by their own addresses.
    pub fn is_routed(self) -> bool {
        self.mode == Mode::Routed && !self.is_closed()
    }

    /// Whether the world sees the containers' own addresses.
    pub fn is_seen(self) -> bool {
        self.is_routed() || self.unmasqueraded && !self.is_closed()
    }

    fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// One reversible demand on a firewall. What does not say which is for iptables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// What all networks of a family share: our chains, the ways into them, and the guard of
    /// the host's loopback addresses against packets that came over a wire.
    Base {
        /// For packets of this family.
        family: Family,
        /// Who takes it.
        #[serde(default)]
        backend: Backend,
    },
    /// The host forwards nothing but what a rule before this one accepts: it forwarded nothing
    /// at all until a network of ours switched that on. By iptables wherever there is any: only at
    /// the end of its `FORWARD` has everybody else had a say.
    OnlyOurs {
        /// Packets of this family.
        #[serde(default)]
        family: Family,
        /// Whether bridged packets pass the firewall too: those of others' bridges stay theirs.
        bridged: bool,
        /// Who takes it.
        #[serde(default)]
        backend: Backend,
    },
    /// What one subnet of a network needs, whoever is on it: its containers reach the world
    /// under the host's address and each other past any FORWARD policy, once the
    /// administrator's own chain has had its say; nobody else's packets get in unless a published
    /// port let them.
    Network {
        /// The network's bridge.
        bridge: Iface,
        /// The subnet.
        subnet: IpNetwork,
        /// What is forwarded.
        #[serde(default, skip_serializing_if = "Passage::is_usual")]
        passage: Passage,
        /// Who of other hosts is let in.
        #[serde(default, skip_serializing_if = "Peers::are_none")]
        peers: Peers,
        /// Who takes it.
        #[serde(default)]
        backend: Backend,
    },
    /// What a subnet of a network of nftables needs where iptables filters too: an `accept` in a
    /// table does not outvote a `drop` in another.
    Accept {
        /// The network's bridge.
        bridge: Iface,
        /// The subnet.
        subnet: IpNetwork,
        /// What is forwarded.
        #[serde(default, skip_serializing_if = "Passage::is_usual")]
        passage: Passage,
        /// Who of other hosts is let in.
        #[serde(default, skip_serializing_if = "Peers::are_none")]
        peers: Peers,
    },
    /// A place in iptables for the published ports of one protocol from `256 * block` on, 256 of them: with
    /// all ports in one place, each coming, going and new connection would cost more the more
    /// there are.
    Block {
        /// For packets of this family.
        family: Family,
        /// Which protocol's ports.
        protocol: Protocol,
        /// Which of the 256 blocks.
        block: u8,
    },
    /// A published port or range leads to a container; where the host's address is the
    /// container's own, it is let through to there.
    Publish {
        /// The container's id.
        owner: String,
        /// The host's side and the container's.
        mapping: PortMapping,
        /// The container's address.
        to: IpAddr,
        /// Who takes it.
        #[serde(default)]
        backend: Backend,
    },
}

impl Rule {
    /// These, with those that publish the same for several sources as one.
    pub fn merged(rules: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::new();
        for rule in rules {
            let same = merged.iter_mut().find(|other| other.differs_in_sources(&rule));
            match (same, rule) {
                (Some(Self::Publish { mapping, .. }), Self::Publish { mapping: more, .. }) => {
                    mapping.from.extend(more.from);
                }
                (_, rule) => merged.push(rule),
            }
        }
        merged
    }

    /// Whether both publish the same, each for some sources.
    fn differs_in_sources(&self, other: &Self) -> bool {
        let of_nobody = |rule: &Self| match rule {
            Self::Publish { owner, mapping, to, backend } if !mapping.from.is_empty() => {
                let mapping = PortMapping { from: Vec::new(), ..mapping.clone() };
                Some(Self::Publish { owner: owner.clone(), mapping, to: *to, backend: *backend })
            }
            _ => None,
        };
        of_nobody(self).is_some_and(|rule| of_nobody(other) == Some(rule))
    }

    /// The place of a port mapping that leads to an address; `None` for a range that is in several,
    /// which has its place beside them, and for what is only let through.
    pub fn block_of(mapping: &PortMapping, to: IpAddr) -> Option<Self> {
        let (family, protocol) = (Family::of(to), mapping.protocol);
        let (block, last) = mapping.host.blocks().into_inner();
        (block == last && !mapping.opens(to)).then_some(Self::Block { family, protocol, block })
    }

    /// The rules that say the same to a backend, on a host that has iptables or not. What
    /// only helps a rule in its backend stands before that there, too.
    pub fn on(&self, to: Backend, has_iptables: bool) -> Vec<Self> {
        match self.clone() {
            Self::Base { family, .. } => vec![Self::Base { family, backend: to }],
            Self::Network { bridge, subnet, passage, peers, .. } => {
                let accept = (to != Backend::Iptables && has_iptables).then(|| Self::Accept {
                    bridge: bridge.clone(),
                    subnet,
                    passage,
                    peers: peers.clone(),
                });
                let network = Self::Network { bridge, subnet, passage, peers, backend: to };
                [network].into_iter().chain(accept).collect()
            }
            Self::Publish { owner, mapping, to: address, .. } => {
                let block = Self::block_of(&mapping, address);
                let block = block.filter(|block| block.backend() == to);
                let publish = Self::Publish { owner, mapping, to: address, backend: to };
                block.into_iter().chain([publish]).collect()
            }
            Self::OnlyOurs { family, bridged, .. } => {
                let backend = if has_iptables { Backend::Iptables } else { to };
                vec![Self::OnlyOurs { family, bridged, backend }]
            }
            Self::Accept { .. } | Self::Block { .. } => Vec::new(),
        }
    }

    /// Whose packets it is about.
    pub fn family(&self) -> Family {
        match self {
            Self::Base { family, .. } | Self::Block { family, .. } | Self::OnlyOurs { family, .. } => *family,
            Self::Network { subnet, .. } | Self::Accept { subnet, .. } => Family::of(subnet.ip()),
            Self::Publish { to, .. } => Family::of(*to),
        }
    }

    /// Who takes it.
    pub fn backend(&self) -> Backend {
        match self {
            Self::Base { backend, .. } | Self::OnlyOurs { backend, .. } => *backend,
            Self::Network { backend, .. } | Self::Publish { backend, .. } => *backend,
            Self::Accept { .. } | Self::Block { .. } => Backend::Iptables,
        }
    }
}

/// Whether rules come or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Put the rules there. They are not there yet.
    Add,
    /// Take them away. One that is already gone is fine.
    Remove,
}
