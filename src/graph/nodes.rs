//! A picture as nodes and edges, for the languages in which a program does the drawing.

use super::{Container, End, Link, NO_UPLINK, Namespace, Outside, Picture, Place, default_routes};
use crate::model::bounded::more;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uplink,
    Bridge,
    /// Another link.
    Link,
    Container,
    Dead,
}

#[derive(Debug)]
pub(super) struct Node {
    /// Letters and digits.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) lines: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) label: String,
    /// Packets do not pass as they should, or only by routing.
    pub(super) dashed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Nodes {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// Takes a picture apart.
pub(super) fn nodes(picture: &Picture) -> Nodes {
    let mut all = Nodes::default();
    for (at, uplink) in picture.uplinks.iter().enumerate() {
        let mut lines = about(&uplink.link);
        lines.push(default_routes(uplink));
        all.node(format!("uplink{at}"), Kind::Uplink, lines);
    }
    if picture.uplinks.is_empty() {
        all.node("uplink0".to_owned(), Kind::Uplink, vec![NO_UPLINK.to_owned()]);
    }
    let uplinks = picture.uplinks.len().max(1);
    for (at, bridge) in picture.bridges.iter().enumerate() {
        all.node(format!("bridge{at}"), Kind::Bridge, about(&bridge.link));
        for uplink in 0..uplinks {
            all.edge(format!("uplink{uplink}"), format!("bridge{at}"), String::new(), true);
        }
        for (nth, stranger) in bridge.strangers.iter().enumerate() {
            let name = format!("stranger{at}x{nth}");
            let mut lines = about(stranger);
            lines.extend(stranger.alias.clone());
            all.node(name.clone(), Kind::Link, lines);
            all.edge(format!("bridge{at}"), name, String::new(), false);
        }
    }
    for (at, namespace) in picture.namespaces.iter().enumerate() {
        let kind = if namespace.is_dead() { Kind::Dead } else { Kind::Container };
        all.node(format!("netns{at}"), kind, contents(namespace));
        if namespace.ends.is_empty()
            && let Some(bridge) = bridge(picture, &namespace.bridge)
        {
            all.edge(bridge, format!("netns{at}"), super::NO_VETH.to_owned(), true);
        }
        for (nth, end) in namespace.ends.iter().enumerate() {
            all.connect(picture, at, nth, end);
        }
    }
    all
}

impl Nodes {
    fn node(&mut self, name: String, kind: Kind, lines: Vec<String>) {
        self.nodes.push(Node { name, kind, lines });
    }

    fn edge(&mut self, from: String, to: String, label: String, dashed: bool) {
        self.edges.push(Edge { from, to, label, dashed });
    }

    fn connect(&mut self, picture: &Picture, at: usize, nth: usize, end: &End) {
        let Some(outside) = &end.outside else { return };
        let inside = end.inside.as_ref().map_or_else(|| "?".to_owned(), Link::title);
        let to = format!("netns{at}");
        let from = match (&outside.place, &outside.bridge) {
            (Place::Host, Some(name)) => bridge(picture, name),
            (Place::Container(id), _) => match inhabited(picture, id) {
                Some(other) if other == at => return,
                // Seen from both sides, and drawn from one.
                Some(other) if other > at && sees(&picture.namespaces[other], end) => return,
                other => other.map(|other| format!("netns{other}")),
            },
            _ => None,
        };
        let from = from.unwrap_or_else(|| {
            let name = format!("link{at}x{nth}");
            self.node(name.clone(), Kind::Link, vec![outside.title()]);
            name
        });
        let dashed = !outside.is_fine();
        self.edge(from, to, format!("{} - {inside}", label(outside)), dashed);
    }
}

fn label(outside: &Outside) -> String {
    let name = outside.name.as_deref().unwrap_or("link");
    format!("{name} ({})", outside.index)
}

fn bridge(picture: &Picture, name: &str) -> Option<String> {
    let at = picture.bridges.iter().position(|bridge| bridge.link.name == name)?;
    Some(format!("bridge{at}"))
}

fn inhabited(picture: &Picture, id: &str) -> Option<usize> {
    let lives = |namespace: &Namespace| namespace.containers.iter().any(|container| container.id == id);
    picture.namespaces.iter().position(lives)
}

/// Whether a namespace has the other end of `end`.
fn sees(namespace: &Namespace, end: &End) -> bool {
    let (Some(inside), Some(outside)) = (&end.inside, &end.outside) else { return false };
    namespace.ends.iter().any(|other| {
        let index = other.inside.as_ref().map(|link| link.index);
        let leads = other.outside.as_ref().map(|back| back.index);
        (index, leads) == (Some(outside.index), Some(inside.index))
    })
}

fn about(link: &Link) -> Vec<String> {
    let trouble = link.trouble().map_or_else(String::new, |trouble| format!(" {trouble}"));
    let mut lines = vec![format!("{}{trouble}", link.title())];
    lines.extend(link.addresses.iter().map(ToString::to_string));
    lines
}

fn contents(namespace: &Namespace) -> Vec<String> {
    let mut lines = Vec::new();
    for Container { id, status, published, .. } in &namespace.containers {
        lines.push(format!("{id} {status}"));
        lines.extend(published.iter().map(ToString::to_string));
    }
    for link in namespace.ends.iter().filter_map(|end| end.inside.as_ref()) {
        let kind = if link.kind == "veth" { String::new() } else { format!(" {}", link.kind) };
        lines.push(format!("{} {}{kind}", link.title(), link.addresses()));
    }
    lines.extend(more(namespace.more_interfaces));
    if namespace.ends.is_empty() {
        let leases = namespace.containers.iter().flat_map(|container| &container.leases);
        lines.extend(leases.map(|lease| format!("{lease} leased")));
    }
    lines
}
