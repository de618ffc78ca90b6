//! What one container is to get.

use std::net::IpAddr;
use std::path::PathBuf;

use super::container::ContainerId;
use super::dns::Names;
use super::host_device::HostDevice;
use super::network::NetworkSpec;
use super::port::Publish;
use super::sandbox::NetnsRef;
use super::value::Iface;

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
}

/// One network that a container is to be attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRequest {
    /// The network.
    pub network: NetworkSpec,
    /// The interface's name inside.
    pub interface: Iface,
    /// The one address that it must have; `None` leases one.
    pub static_ip: Option<IpAddr>,
    /// Of its own veth pair and of what is sent to it, in bytes; `None` means the network's.
    pub mtu: Option<u32>,
}
