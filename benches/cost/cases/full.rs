//! As many published ports as a bridge with ten for each container can have.

use super::{FULL_DOWN, FULL_UP, beside, packets, thousands, up_and_down};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ports, floor_and_ours};
use crate::cost::race::{fill, measure};
use crate::cost::table::Table;

pub fn run(scale: &Scale) -> Vec<Table> {
    let mut lanes: Vec<Lane> = floor_and_ours().map(Lane::new).into();
    let (mut rows, mut restores) = (Vec::new(), Vec::new());
    for size in [1, scale.ports_of] {
        eprintln!("  {} containers up", thousands(size));
        fill(&mut lanes, size, |n| Ports::each(10_000 + 10 * n, 10));
        rows.push((thousands(size), measure(&mut lanes, scale.rounds, Ports::each(40_000, 10))));
        restores.push((0..scale.rounds).map(|_| beside::delete_a_rule(&lanes[1])).collect());
    }
    let note = "One container more, with ten ports of its own, is set up and taken down again.";
    let [up, mut down] = up_and_down([FULL_UP, FULL_DOWN], note, "containers up", &rows);
    beside::add(&mut down, &restores);
    vec![up, down, packets::first(scale, &mut lanes[1..3])]
}
