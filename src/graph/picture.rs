//! What is drawn.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

use super::json;
use crate::model::bounded::more;
use crate::model::observed;
use crate::model::port::PortMapping;

/// The networks of this host, from the uplinks to the containers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Picture {
    /// The links that default routes leave by.
    pub uplinks: Vec<Uplink>,
    /// The bridge of each network, in the order of names.
    pub bridges: Vec<Bridge>,
    /// The network namespace of each container, or of several that share one.
    pub namespaces: Vec<Namespace>,
}

/// A link of any namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its number in its namespace; 0 where there is no such link.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// As `ip link show type` would take it, or `physical`.
    pub kind: String,
    /// `up`, `down`, `lowerlayerdown`…; `missing` where there is no such link.
    pub state: String,
    /// The link-layer address; empty where there is none.
    pub mac: String,
    /// In bytes.
    pub mtu: u32,
    /// Its addresses; of a link that is missing those that it should have.
    pub addresses: Vec<IpNetwork>,
    /// How many more it has: a container may have any number of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_addresses: usize,
    /// What somebody has written beside it.
    pub alias: Option<String>,
}

/// A link that a default route leaves by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Uplink {
    /// The link.
    #[serde(flatten)]
    pub link: Link,
    /// Next hops.
    pub gateways: Vec<IpAddr>,
}

/// A network's bridge, or the link of the host that it is on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// The bridge itself.
    #[serde(flatten)]
    pub link: Link,
    /// Those of its ports that lead to no container of ours.
    pub strangers: Vec<Link>,
}

/// A network namespace with containers in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// The network that its containers were attached to.
    pub bridge: String,
    /// The containers that share it.
    pub containers: Vec<Container>,
    /// Every interface in it but loopback. Of a namespace that cannot be entered any more only
    /// what is seen from the host.
    pub ends: Vec<End>,
    /// How many more interfaces there are: a container may have any number of them.
    #[serde(skip_serializing_if = "is_zero")]
    pub more_interfaces: usize,
}

/// A container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its bundle's path, with which alone the id is unique; empty where there is none.
    pub bundle: String,
    /// Its first process; `None` where its namespace was given by a path.
    pub pid: Option<i32>,
    /// `running`, `dead` or `incomplete`.
    pub status: String,
    /// Its leases.
    pub leases: Vec<IpNetwork>,
    /// Its ports.
    #[serde(serialize_with = "json::ports")]
    pub published: Vec<PortMapping>,
}

/// An interface in a container, and where it leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct End {
    /// The interface; `None` where the namespace cannot be entered.
    pub inside: Option<Link>,
    /// The other end of its veth pair, or the link below it; a device of the host has none.
    pub outside: Option<Outside>,
}

/// What an interface in a container leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Outside {
    /// In whose namespace it is.
    pub place: Place,
    /// Its number there.
    pub index: u32,
    /// Its name, if it can be seen.
    pub name: Option<String>,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
    /// What that bridge does with the port: `forwarding`…
    pub port: Option<String>,
}

/// In whose namespace a link is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The host's.
    Host,
    /// A container's, by its id; also the one that the interface itself is in.
    Container(String),
    /// One that we know nothing of.
    #[default]
    Elsewhere,
}

impl Picture {
    /// The namespaces that belong to `bridge`.
    pub(super) fn on<'a>(&'a self, bridge: &'a str) -> impl Iterator<Item = &'a Namespace> {
        self.namespaces.iter().filter(move |namespace| namespace.bridge == bridge)
    }

    /// The same with every text that somebody else may have chosen spelled anew.
    pub(super) fn spelled(mut self, spell: impl Fn(&str) -> String) -> Self {
        let bridges =
            self.bridges.iter_mut().flat_map(|bridge| bridge.strangers.iter_mut().chain([&mut bridge.link]));
        let ends = self.namespaces.iter_mut().flat_map(|namespace| {
            namespace.bridge = spell(&namespace.bridge);
            &mut namespace.ends
        });
        let mut links: Vec<&mut Link> =
            self.uplinks.iter_mut().map(|uplink| &mut uplink.link).chain(bridges).collect();
        for End { inside, outside } in ends {
            links.extend(inside);
            for text in
                outside.iter_mut().flat_map(|outside| [&mut outside.name, &mut outside.bridge]).flatten()
            {
                *text = spell(text);
            }
        }
        for link in links {
            link.name = spell(&link.name);
            link.kind = spell(&link.kind);
            link.alias = link.alias.as_deref().map(&spell);
        }
        self
    }

    /// The namespaces that belong to no bridge of ours.
    pub(super) fn apart(&self) -> impl Iterator<Item = &Namespace> {
        let known = |name: &str| self.bridges.iter().any(|bridge| bridge.link.name == name);
        self.namespaces.iter().filter(move |namespace| !known(&namespace.bridge))
    }
}

impl Namespace {
    /// Whether none of its containers is alive.
    pub(super) fn is_dead(&self) -> bool {
        self.containers.iter().all(|container| container.status == "dead")
    }

    /// What stands beside the other end of an interface: its bridge, if that is another, and what
    /// is wrong with it.
    pub(super) fn label(&self, end: &End) -> String {
        let Some(outside) = &end.outside else { return String::new() };
        let other = outside.bridge.as_ref().filter(|_| !self.is_on_bridge(end));
        let other = other.map_or_else(String::new, |bridge| format!("{bridge}: "));
        let trouble = if outside.is_fine() { "" } else { outside.port.as_deref().unwrap_or_default() };
        format!("{other}{} {trouble}", outside.title()).trim_end().to_owned()
    }

    /// Whether an interface leads to the namespace's bridge.
    pub(super) fn is_on_bridge(&self, end: &End) -> bool {
        let is_it = |name: &Option<String>| name.as_deref() == Some(&self.bridge);
        end.outside.as_ref().is_some_and(|outside| {
            // What is made on a link of the host leads to that itself.
            is_it(&outside.bridge) || outside.place == Place::Host && is_it(&outside.name)
        })
    }
}

impl From<&observed::Link> for Link {
    fn from(link: &observed::Link) -> Self {
        Self {
            index: link.index,
            name: link.name.clone(),
            kind: link.kind_name().to_owned(),
            state: link.state.clone(),
            mac: link.mac(),
            mtu: link.mtu,
            addresses: link.addresses.clone(),
            more_addresses: 0,
            alias: link.alias.clone(),
        }
    }
}

impl Link {
    /// `eth0 (2)`.
    pub(super) fn title(&self) -> String {
        if self.index == 0 { self.name.clone() } else { format!("{} ({})", self.name, self.index) }
    }

    pub(super) fn addresses(&self) -> String {
        let addresses = self.addresses.iter().map(ToString::to_string);
        addresses.chain(more(self.more_addresses)).collect::<Vec<_>>().join(" ")
    }

    /// What is worth a word because it is not as usual: `down`, `missing`.
    pub(super) fn trouble(&self) -> Option<&str> {
        // A tunnel and the like never say more than `unknown`.
        (!["up", "unknown"].contains(&self.state.as_str())).then_some(self.state.as_str())
    }
}

impl Outside {
    /// Whether no bridge keeps packets from it.
    pub(super) fn is_fine(&self) -> bool {
        self.port.as_deref().is_none_or(|port| port == "forwarding")
    }

    /// `netnsv0-42 (5)`, and whose it is unless it is the host's.
    pub(super) fn title(&self) -> String {
        let name = self.name.as_deref().unwrap_or("link");
        match &self.place {
            Place::Host => format!("{name} ({})", self.index),
            Place::Container(id) => format!("{name} ({}) of {id}", self.index),
            Place::Elsewhere => format!("{name} ({}) elsewhere", self.index),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
