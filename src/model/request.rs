//! What one container is to get.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::container::ContainerId;
use super::dns::{HostName, Names};
use super::host_device::HostDevice;
use super::network::NetworkSpec;
use super::publish::Publish;
use super::range::LeaseRange;
use super::rate::Rate;
use super::route::RouteSpec;
use super::sandbox::NetnsRef;
use super::value::{Iface, Mac};

/// What one container is to get, every question answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who it is.
    pub container: ContainerId,
    /// Where its network namespace is.
    pub netns: NetnsRef,
    /// The networks to attach it to, in the order of its interfaces.
    pub networks: Vec<NetworkRequest>,
    /// The devices of the host to move in, in the order they were given.
    pub devices: Vec<HostDevice>,
    /// The ports to publish, in the order they were given.
    pub publish: Vec<Publish>,
    /// Where the leased address is written; relative to the bundle.
    pub ipfile: PathBuf,
    /// What it is called, and whom it asks for others' names.
    pub names: Names,
    /// Whether `ip netns` is to show its network namespace.
    pub name_netns: bool,
    /// What else is known of it, for whoever lists containers.
    pub labels: BTreeMap<String, String>,
}

impl Request {
    /// A container that asks for nothing, and whose files are left alone.
    pub fn new(container: ContainerId, netns: NetnsRef) -> Self {
        Self {
            container,
            netns,
            networks: Vec::new(),
            devices: Vec::new(),
            publish: Vec::new(),
            ipfile: PathBuf::new(),
            names: Names { hands_off: true, ..Names::default() },
            name_netns: false,
            labels: BTreeMap::new(),
        }
    }

    /// Every port to publish, and which network's address it leads to if one is asked for: in the
    /// order in which they are chosen.
    pub fn published(&self) -> impl Iterator<Item = (&Publish, Option<usize>)> {
        let of_networks = self.networks.iter().enumerate();
        let of_networks = of_networks
            .flat_map(|(at, wanted)| wanted.publish.iter().map(move |publish| (publish, Some(at))));
        self.publish.iter().map(|publish| (publish, None)).chain(of_networks)
    }
}

/// One network that a container is to be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    /// The network.
    pub network: NetworkSpec,
    /// The interface's name inside.
    pub interface: Iface,
    /// The addresses that it must have, at most one a subnet; one is leased in each other subnet.
    pub static_ips: Vec<IpAddr>,
    /// From which addresses to lease; of a subnet without any, all.
    pub ranges: Vec<LeaseRange>,
    /// The interface's address; `None` derives it from its first IP address.
    pub mac: Option<Mac>,
    /// Whether the container's default routes may lead by this network.
    pub default_route: bool,
    /// Of those default routes: the lowest wins, and of equal ones the first network's.
    pub metric: Option<u32>,
    /// Routes besides those of the network.
    pub routes: Vec<RouteSpec>,
    /// Of its own veth pair and of what is sent to it, in bytes; `None` means the network's.
    pub mtu: Option<u32>,
    /// How fast it receives at most.
    pub rate_in: Option<Rate>,
    /// How fast it sends at most.
    pub rate_out: Option<Rate>,
    /// What neighbours on this network alone call it besides.
    pub aliases: Vec<HostName>,
    /// The ports that lead to its address here.
    pub publish: Vec<Publish>,
}

impl NetworkRequest {
    /// A place on a network with nothing particular about it.
    pub fn new(network: NetworkSpec, interface: Iface) -> Self {
        Self {
            ranges: network.ranges.clone(),
            network,
            interface,
            static_ips: Vec::new(),
            mac: None,
            default_route: true,
            metric: None,
            routes: Vec::new(),
            mtu: None,
            rate_in: None,
            rate_out: None,
            aliases: Vec::new(),
            publish: Vec::new(),
        }
    }

    /// The address that it must have in a subnet.
    pub fn static_ip(&self, subnet: IpNetwork) -> Option<IpAddr> {
        self.static_ips.iter().copied().find(|ip| subnet.contains(*ip))
    }
}
