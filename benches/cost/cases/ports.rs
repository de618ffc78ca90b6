//! What ports cost a second container.

use super::{PORTS_DOWN, PORTS_UP, up_and_down};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ports, floor_and_ours, others};
use crate::cost::race::{fill, measure};
use crate::cost::table::Table;

/// The rows.
pub const KINDS: [(&str, Ports); 5] = [
    ("none", Ports::None),
    ("1", Ports::Each { first: 20_000, count: 1 }),
    ("32", Ports::Each { first: 20_000, count: 32 }),
    // What moby takes most of a minute for (moby#53466).
    ("206", Ports::Each { first: 20_000, count: 206 }),
    ("a range of 1,000", Ports::Range { first: 20_000, count: 1000 }),
];

pub fn run(scale: &Scale) -> Vec<Table> {
    let peers = floor_and_ours().into_iter().chain(others());
    let mut lanes: Vec<Lane> = peers.map(Lane::new).collect();
    fill(&mut lanes, 1, |_| Ports::one(10_000));
    let mut rows = Vec::new();
    for (name, ports) in KINDS {
        eprintln!("  ports: {name}");
        // CNI, the last, writes a range out, port by port, and takes minutes for it.
        let cni = lanes.iter().position(|lane| lane.peer.name() == "CNI");
        let is_range = matches!(ports, Ports::Range { .. });
        let able = cni.filter(|_| is_range).unwrap_or(lanes.len());
        rows.push((name.to_owned(), measure(&mut lanes[..able], scale.rounds, ports)));
    }
    let note = "One container is up, and another comes and goes. The floor publishes nothing. CNI knows no \
                ranges.";
    up_and_down([PORTS_UP, PORTS_DOWN], note, "published ports", &rows).into()
}
