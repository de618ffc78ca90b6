//! The first container of all, with which the network is made.

use super::{FIRST, up_and_down};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ports, floor_and_ours, others};
use crate::cost::race::measure_and;
use crate::cost::table::Table;

pub fn run(scale: &Scale) -> Vec<Table> {
    let peers = floor_and_ours().into_iter().chain(others());
    let mut lanes: Vec<Lane> = peers.map(Lane::new).collect();
    let costs = measure_and(&mut lanes, scale.rounds, 1, Ports::one(10_000), Lane::remove_network);
    let note = "The bridge, its address and the rules that are there once are made with it; before the next \
                round all of them are removed.";
    let [up, _] = up_and_down([FIRST; 2], note, "", &[("set up, one port".to_owned(), costs)]);
    vec![up]
}
