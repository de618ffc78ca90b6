//! One container more, however many are up: every peer's cost as its world fills.

use super::{QUIET, SET_UP, TAKE_DOWN, thousands, up_and_down};
use crate::cost::Scale;
use crate::cost::lane::{Lane, settle};
use crate::cost::peers::{Floor, Ports, floor_and_ours, others};
use crate::cost::race::{Cost, fill, measure};
use crate::cost::table::Table;

pub fn run(scale: &Scale) -> Vec<Table> {
    let mut peers = Vec::from(floor_and_ours());
    peers.push(Box::new(Floor::<false>));
    let flat = peers.len();
    peers.extend(others());
    let mut lanes: Vec<Lane> = peers.into_iter().map(Lane::new).collect();
    let mut rows = Vec::new();
    for &size in scale.sizes {
        if size > scale.peers_up_to && lanes.len() > flat {
            lanes.truncate(flat);
            settle();
        }
        eprintln!("  {} containers up", thousands(size));
        fill(&mut lanes, size, |n| Ports::one(10_000 + n));
        rows.push((thousands(size), measure(&mut lanes, scale.rounds, Ports::one(40_000))));
    }
    tables(&rows)
}

/// The floor without IPv6 has a table of its own.
fn tables(rows: &[(String, Vec<Cost>)]) -> Vec<Table> {
    let of = |peers: &dyn Fn(&str) -> bool| -> Vec<(String, Vec<Cost>)> {
        let some = |costs: &[Cost]| costs.iter().filter(|cost| peers(cost.peer)).cloned().collect();
        rows.iter().map(|(name, costs)| (name.clone(), some(costs))).collect()
    };
    let note = "One container more is set up and taken down again.";
    let peers = of(&|peer| !peer.contains("IPv6"));
    let main = up_and_down([SET_UP, TAKE_DOWN], note, "containers up", &peers);
    let note = "What IPv6 on the bridge costs the floor: every new interface speaks it, and the bridge \
                floods that to every port.";
    let [quiet, _] = up_and_down([QUIET; 2], note, "containers up", &of(&|peer| peer.contains("floor")));
    main.into_iter().chain([quiet]).collect()
}
