//! This program as a CNI plugin, beside the chain of plugins in whose place it is.

use std::path::Path;

use super::{CNI_ADD, CNI_DEL, thousands, up_and_down};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{CNI_PLUGINS, Cni, Peer, Ports};
use crate::cost::race::{fill, measure};
use crate::cost::table::Table;

pub fn run(scale: &Scale) -> Vec<Table> {
    let is_there = |ours: &Option<&str>| ours.is_some() || Path::new(CNI_PLUGINS).exists();
    let plugins = [Some("iptables"), Some("nftables"), None].into_iter().filter(is_there);
    let peer = |ours| -> Box<dyn Peer> { Box::new(Cni::by(ours)) };
    let mut lanes: Vec<Lane> = plugins.map(peer).map(Lane::new).collect();
    let mut rows = Vec::new();
    for size in [1, scale.peers_up_to] {
        eprintln!("  {} pods up", thousands(size));
        fill(&mut lanes, size, |n| Ports::one(10_000 + n));
        rows.push((thousands(size), measure(&mut lanes, scale.rounds, Ports::one(40_000))));
    }
    let note = "One pod more, with one host port. CNI is bridge with host-local, portmap and firewall.";
    up_and_down([CNI_ADD, CNI_DEL], note, "pods up", &rows).into()
}
