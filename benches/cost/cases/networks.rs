//! What a second family costs, and a second network.

use super::{NETWORKS, thousands};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ours, Peer, Ports};
use crate::cost::race::{fill, measure};
use crate::cost::table::{Figure, Table, Unit};

/// The rows, and what the networks are called.
const KINDS: [(&str, &str); 3] = [
    ("one network, IPv4", "front"),
    ("one network, both families", "both"),
    ("two networks, IPv4", "front;back"),
];

/// How many containers are up besides at the most.
const MANY: usize = 300;

pub fn run(scale: &Scale) -> Vec<Table> {
    let ours = |(_, networks)| -> [Box<dyn Peer>; 2] {
        let without_bundle = false;
        [
            Box::new(Ours::<false> { without_bundle, networks }),
            Box::new(Ours::<true> { without_bundle, networks }),
        ]
    };
    let mut lanes: Vec<Lane> = KINDS.into_iter().flat_map(ours).map(Lane::new).collect();
    let note = "One container more, with one published port, is set up and taken down again.";
    let head = ["", "netns", "netns, nftables", "take down", "take down, nftables"];
    let mut table = Table::new(NETWORKS, note, head);
    for size in [1, scale.ports_of.min(MANY)] {
        eprintln!("  {} containers up", thousands(size));
        fill(&mut lanes, size, |n| Ports::one(10_000 + n));
        let costs = measure(&mut lanes, scale.rounds, Ports::one(40_000));
        for ((name, _), costs) in KINDS.into_iter().zip(costs.chunks(2)) {
            let times = costs.iter().map(|cost| &cost.up).chain(costs.iter().map(|cost| &cost.down));
            let figures = times.map(|times| Some(Figure::times(Unit::Millis, times))).collect();
            table.row(format!("{name}, {} up", thousands(size)), figures);
        }
    }
    vec![table]
}
