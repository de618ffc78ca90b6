//! What the state directory remembers of a container and of a network.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::index::Entry;
use super::rest::Rest;
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
    /// The address that was leased last; kept with the leases.
    #[serde(default, skip_serializing)]
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
    /// Every container; or, with a `rest`, those that matter to this run.
    pub containers: Vec<Entry>,
    /// The files that are no records, and why.
    pub damaged: Vec<(PathBuf, Error)>,
    /// What is known of all containers without reading of them; `None` if all are read.
    pub rest: Option<Rest>,
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

    /// All steps that anybody holds and others may share; of those who were not read, only
    /// kernel parameters.
    pub fn held(&self) -> impl Iterator<Item = &Step> {
        let networks = self.networks.iter().flat_map(|network| &network.steps);
        let containers = self.containers.iter().flat_map(|entry| &entry.shared);
        networks.chain(containers).chain(self.rest.iter().flat_map(|rest| rest.shares.parameters()))
    }

    /// Whether anybody holds `step`.
    pub fn holds(&self, step: &Step) -> bool {
        let rest = || self.rest.as_ref().is_some_and(|rest| rest.holds(step));
        step.may_be_shared() && (self.held().any(|held| held == step) || rest())
    }

    /// The steps of `steps` that nobody in this survey holds: what is to be undone when their
    /// owner, who must be gone from the survey, goes.
    pub fn unshared(&self, steps: &[Step]) -> Vec<Step> {
        steps.iter().filter(|step| !self.holds(step)).cloned().collect()
    }

    /// Tells which addresses are leased on `bridge`.
    pub fn leased(&self, bridge: &Iface) -> impl Fn(IpAddr) -> bool {
        let here = self.containers.iter().filter(|entry| entry.bridge.as_ref() == Some(bridge));
        let taken: HashSet<IpAddr> =
            here.flat_map(|entry| &entry.addresses).map(|lease| lease.ip()).collect();
        let rest = self.rest.as_ref().and_then(|rest| rest.leases.as_ref());
        move |address| taken.contains(&address) || rest.is_some_and(|rest| rest.has(address))
    }

    /// The last of the ports `wanted` that somebody publishes already.
    pub fn obstacle(&self, wanted: &Published) -> Option<u16> {
        let all = self.containers.iter().flat_map(|entry| &entry.published);
        let read = all.filter(|other| other.conflicts(wanted)).map(|other| other.host.last).max();
        read.max(self.rest.as_ref().and_then(|rest| rest.publishes(wanted)))
    }

    /// The container that `address` is leased to on `bridge`.
    pub fn lessee(&self, bridge: &Iface, address: IpAddr) -> Option<&Entry> {
        let has = |entry: &&Entry| entry.addresses.iter().any(|taken| taken.ip() == address);
        self.containers.iter().filter(|entry| entry.bridge.as_ref() == Some(bridge)).find(has)
    }
}
