//! What is remembered of an attached container.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::container::{ContainerId, Key};
use super::device::MovedDevice;
use super::network::NetworkName;
use super::parent::Child;
use super::port::PortMapping;
use super::rule::Rule;
use super::sandbox::Sandbox;
use super::step::Step;
use super::value::{Iface, Mac};

/// An attached container: who it is, what it has, and every step that was taken for it. It is
/// written once, before the first step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What its runtime calls it.
    #[serde(flatten)]
    pub container: ContainerId,
    /// Its network namespace.
    pub sandbox: Sandbox,
    /// Its interfaces that we made or gave it, the first one first.
    pub attachments: Vec<Attachment>,
    /// Its published ports.
    pub ports: Vec<PortMapping>,
    /// What else its caller knows of it, as a pod's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was attached, in seconds since 1970.
    pub since: u64,
    /// Every step, in the order of taking. They are undone backwards; one that another record
    /// has too is left to the last of them.
    pub steps: Vec<Step>,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The network; `None` for a device of the host.
    pub network: Option<NetworkName>,
    /// The network's bridge.
    pub bridge: Option<Iface>,
    /// The link of the host that the interface inside is made on, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Iface>,
    /// The interface inside.
    pub interface: Iface,
    /// The other end of its veth pair.
    pub host_interface: Option<Iface>,
    /// The address of the interface inside, if it has one.
    pub mac: Option<Mac>,
    /// Its leases; of a device of the host the addresses that it was given.
    pub addresses: Vec<IpNetwork>,
    /// Its next hops.
    pub gateways: Vec<IpAddr>,
}

impl Record {
    /// The name of its files.
    pub fn key(&self) -> Key {
        self.container.key()
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.container.id
    }

    /// The attachment that it publishes its ports on and is shown by.
    pub fn first(&self) -> Option<&Attachment> {
        self.attachments.first()
    }

    /// The networks that it is on, in the order of its interfaces.
    pub fn networks(&self) -> impl Iterator<Item = &NetworkName> {
        self.attachments.iter().filter_map(|attachment| attachment.network.as_ref())
    }

    /// All its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpNetwork> {
        self.attachments.iter().flat_map(|attachment| attachment.addresses.iter().copied())
    }

    /// The host ends of its veth pairs.
    pub fn host_interfaces(&self) -> impl Iterator<Item = &Iface> {
        self.attachments.iter().filter_map(|attachment| attachment.host_interface.as_ref())
    }

    /// What those have in common who share a network namespace. Its number alone may be another
    /// namespace's by now; the host end's name tells.
    pub fn namespace(&self) -> (&str, u64, Option<&Iface>) {
        (&self.sandbox.boot_id, self.sandbox.netns, self.host_interfaces().next())
    }

    /// The bridge that it is on, if it is on one.
    pub fn bridge(&self) -> Option<&Iface> {
        self.first().and_then(|attachment| attachment.bridge.as_ref())
    }

    /// The devices of the host that it was given.
    pub fn devices(&self) -> impl Iterator<Item = &MovedDevice> {
        self.steps.iter().filter_map(|step| match step {
            Step::MoveDevice(device) => Some(&**device),
            _ => None,
        })
    }

    /// Its interfaces that are made on links of the host.
    pub fn children(&self) -> impl Iterator<Item = &Child> {
        self.steps.iter().filter_map(|step| if let Step::AddChild(child) = step { Some(child) } else { None })
    }

    /// What its neighbours call it: its id, its hostname, its aliases, where they can be names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let lines = self.steps.iter().filter_map(|step| match step {
            Step::AddHost { line, .. } => Some(line),
            _ => None,
        });
        lines.flat_map(|line| line.split(' ').skip(1))
    }

    /// Its rules.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.steps.iter().filter_map(Step::rule)
    }
}
