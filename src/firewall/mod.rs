//! What the firewall is to do for us, in words that no backend owns.
//!
//! A [`Rule`] says what, never how: [`iptables`] turns it into tables, chains and matches, and
//! another backend would turn the same three kinds into its own. Nothing here runs a program.

pub mod iptables;

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::config::publish::{Protocol, Published};
use crate::config::value::Iface;

/// One reversible wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// What all networks share: our chains, the ways into them, and the guard of the host's
    /// loopback addresses against packets that came over a wire.
    Base,
    /// What one network needs, whoever is on it: its containers reach the world under the
    /// host's address and each other past any FORWARD policy; nobody else's packets get in
    /// unless a published port let them.
    Network {
        /// The network's bridge.
        bridge: Iface,
        /// The network's subnet.
        subnet: IpNetwork,
    },
    /// A place for the published ports of one protocol from `256 * block` on, 256 of them: with
    /// all ports in one place, each coming, going and new connection would cost more the more
    /// there are.
    Block {
        /// Which protocol's ports.
        protocol: Protocol,
        /// Which of the 256 blocks.
        block: u8,
    },
    /// A published port or range leads to a container.
    Publish {
        /// The container's id.
        owner: String,
        /// The host's side and the container's.
        published: Published,
        /// The container's address.
        to: IpAddr,
    },
}

impl Rule {
    /// The place of a published port or range; `None` for a range that is in several, which
    /// has its place beside them.
    pub fn block_of(published: &Published) -> Option<Self> {
        let [first, _] = published.host.first.to_be_bytes();
        let [last, _] = published.host.last.to_be_bytes();
        (first == last).then_some(Self::Block { protocol: published.protocol, block: first })
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
