//! The whole cabling as one neutral value, [`Picture`], and a file for each way to draw it.
//!
//! Pure: who collects a picture looks at records and kernel, and whoever draws it looks at
//! nothing else. Names and aliases may come from anybody, so every format escapes what it is
//! given.

mod dot;
mod json;
mod mermaid;
mod nodes;
mod svg;
mod text;

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Serialize;

use crate::config::publish::Published;
pub use dot::dot;
pub use json::json;
pub(crate) use json::{Port, written as written_json};
pub use mermaid::mermaid;
pub use svg::svg;
pub use text::{Style, text};

/// The networks of this host, from the way out to the containers.
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

/// A network's bridge.
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
    pub status: &'static str,
    /// Its leases.
    pub leases: Vec<IpNetwork>,
    /// Its ports.
    #[serde(serialize_with = "json::ports")]
    pub published: Vec<Published>,
}

/// An interface in a container, and where it leads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct End {
    /// The interface; `None` where nobody can look.
    pub inside: Option<Link>,
    /// The other end of the cable, or the link that it sits on; a NIC has none.
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
    /// A container's, by its id; also the very one that is being looked at.
    Container(String),
    /// One that we know nothing of.
    #[default]
    Elsewhere,
}

impl Picture {
    /// The namespaces whose home is `bridge`.
    fn on<'a>(&'a self, bridge: &'a str) -> impl Iterator<Item = &'a Namespace> {
        self.namespaces.iter().filter(move |namespace| namespace.bridge == bridge)
    }

    /// The same with every text that somebody else may have chosen spelled anew.
    fn spelled(mut self, spell: impl Fn(&str) -> String) -> Self {
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

    /// The namespaces that are at home on no bridge of ours.
    fn apart(&self) -> impl Iterator<Item = &Namespace> {
        let known = |name: &str| self.bridges.iter().any(|bridge| bridge.link.name == name);
        self.namespaces.iter().filter(move |namespace| !known(&namespace.bridge))
    }
}

impl Namespace {
    /// Whether none of its containers is alive.
    fn is_dead(&self) -> bool {
        self.containers.iter().all(|container| container.status == "dead")
    }

    /// What stands beside the host's side of a cable: where it is, if it is not at home, and what
    /// is wrong with it.
    fn label(&self, end: &End) -> String {
        let Some(outside) = &end.outside else { return String::new() };
        let away = outside.bridge.as_ref().filter(|_| !self.is_home(end));
        let away = away.map_or_else(String::new, |bridge| format!("{bridge}: "));
        let trouble = if outside.is_fine() { "" } else { outside.port.as_deref().unwrap_or_default() };
        format!("{away}{} {trouble}", outside.title()).trim_end().to_owned()
    }

    /// Whether an end is a cable to the bridge that is its home.
    fn is_home(&self, end: &End) -> bool {
        end.outside.as_ref().is_some_and(|outside| outside.bridge.as_deref() == Some(&self.bridge))
    }
}

impl Link {
    /// `eth0 (2)`.
    fn title(&self) -> String {
        if self.index == 0 { self.name.clone() } else { format!("{} ({})", self.name, self.index) }
    }

    fn addresses(&self) -> String {
        self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// What is worth a word because it is not as usual: `down`, `missing`.
    fn trouble(&self) -> Option<&str> {
        // A tunnel and the like never say more than `unknown`.
        (!["up", "unknown"].contains(&self.state.as_str())).then_some(self.state.as_str())
    }
}

impl Outside {
    /// Whether no bridge keeps packets from it.
    fn is_fine(&self) -> bool {
        self.port.as_deref().is_none_or(|port| port == "forwarding")
    }

    /// `netnsv0-42 (5)`, and whose it is unless it is the host's.
    fn title(&self) -> String {
        let name = self.name.as_deref().unwrap_or("link");
        match &self.place {
            Place::Host => format!("{name} ({})", self.index),
            Place::Container(id) => format!("{name} ({}) of {id}", self.index),
            Place::Elsewhere => format!("{name} ({}) elsewhere", self.index),
        }
    }
}

/// What is said where there is nothing of ours to draw.
const NOTHING: &str = "no network yet: `netns create` or the first container makes one";

/// What stands where there is no way out.
const NO_UPLINK: &str = "no default route";

/// What stands for a cable that is not there.
const NO_CABLE: &str = "no cable";

/// `default via 10.0.0.2`.
fn way_out(uplink: &Uplink) -> String {
    let gateways: Vec<String> = uplink.gateways.iter().map(|ip| format!("default via {ip}")).collect();
    if gateways.is_empty() { "default".to_owned() } else { gateways.join(", ") }
}
