//! What the state directory remembers of a container and of a network.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::index::Entry;
use crate::config::publish::Published;
use crate::config::value::{Iface, Mac};
use crate::error::Error;
use crate::kernel::process::Process;
use crate::plan::Step;

/// One attached container: who it is, what it has, and every step that was taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The container's id, unique only together with `bundle`.
    pub id: String,
    /// The bundle's absolute path; empty where none was given.
    pub bundle: PathBuf,
    /// Its first process.
    pub process: Process,
    /// Its network, by the name of the bridge, if it is on one.
    pub bridge: Option<Iface>,
    /// The interface inside; without a bridge, the first that was moved there.
    pub interface: Iface,
    /// The other end of its cable, on the host, if it has one.
    pub host_interface: Option<Iface>,
    /// The address of the interface inside, if it has one.
    pub mac: Option<Mac>,
    /// Its leases; without a bridge, the addresses that it was given.
    pub addresses: Vec<IpNetwork>,
    /// The next hop of the interface inside, if there is one.
    pub gateway: Option<IpAddr>,
    /// Its ports.
    pub published: Vec<Published>,
    /// When it was attached, in seconds since 1970.
    pub since: u64,
    /// Every step, in the order of taking. At detach they are undone backwards; one that
    /// another record has too is left to the last of them.
    pub steps: Vec<Step>,
    /// False from before the first step until after the last.
    pub done: bool,
}

/// One network: the bridge and what is shared by all containers on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The bridge's name.
    pub bridge: Iface,
    /// The bridge's address.
    pub gateway: IpNetwork,
    /// In bytes.
    pub mtu: u32,
    /// The address that was leased last.
    pub cursor: Option<IpAddr>,
    /// As in [`Record`].
    pub steps: Vec<Step>,
    /// As in [`Record`].
    pub done: bool,
}

/// What is remembered of all, as far as planning one needs it, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every network, in the order of names.
    pub networks: Vec<Network>,
    /// Every container.
    pub containers: Vec<Entry>,
    /// The files that are no records, and why.
    pub damaged: Vec<(PathBuf, Error)>,
}

impl Survey {
    /// The network on `bridge`.
    pub fn network(&self, bridge: &Iface) -> Option<&Network> {
        self.networks.iter().find(|network| network.bridge == *bridge)
    }

    /// The container `id` in `bundle`.
    pub fn container(&self, id: &str, bundle: &Path) -> Option<&Entry> {
        self.containers.iter().find(|entry| entry.id == id && entry.bundle == bundle)
    }

    /// The container that lives in the network namespace with this inode.
    pub fn inhabitant(&self, netns: u64) -> Option<&Entry> {
        self.containers.iter().find(|entry| netns != 0 && entry.process.netns == netns)
    }

    /// All steps that anybody holds and others may share.
    pub fn held(&self) -> impl Iterator<Item = &Step> {
        let networks = self.networks.iter().flat_map(|network| &network.steps);
        networks.chain(self.containers.iter().flat_map(|entry| &entry.shared))
    }

    /// Whether anybody holds `step`.
    pub fn holds(&self, step: &Step) -> bool {
        step.may_be_shared() && self.held().any(|held| held == step)
    }

    /// The steps of `steps` that nobody in this survey holds: what is to be undone when their
    /// owner, who must be gone from the survey, goes.
    pub fn unshared(&self, steps: &[Step]) -> Vec<Step> {
        steps.iter().filter(|step| !self.holds(step)).cloned().collect()
    }

    /// The container that `address` is leased to on `bridge`.
    pub fn lessee(&self, bridge: &Iface, address: IpAddr) -> Option<&Entry> {
        let has = |entry: &&Entry| entry.addresses.iter().any(|taken| taken.ip() == address);
        self.containers.iter().filter(|entry| entry.bridge.as_ref() == Some(bridge)).find(has)
    }
}
