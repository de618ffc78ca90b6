//! Hundreds of containers with 32 ports each (moby#53466).

use super::{DENSE_DOWN, DENSE_UP, thousands, up_and_down};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ports, floor_and_ours};
use crate::cost::race::{fill, measure};
use crate::cost::table::Table;

/// How many containers, and how many ports each has.
const CONTAINERS: usize = 470;
const EACH: u16 = 32;

pub fn run(scale: &Scale) -> Vec<Table> {
    let mut lanes: Vec<Lane> = floor_and_ours().map(Lane::new).into();
    let mut rows = Vec::new();
    for size in [1, scale.ports_of.min(CONTAINERS)] {
        eprintln!("  {} containers up", thousands(size));
        fill(&mut lanes, size, |n| Ports::each(10_000 + usize::from(EACH) * n, EACH));
        rows.push((thousands(size), measure(&mut lanes, scale.rounds, Ports::each(40_000, EACH))));
    }
    let note =
        "One container more, with 32 ports of its own. moby takes 22.8 s for the last of 470 (moby#53466).";
    up_and_down([DENSE_UP, DENSE_DOWN], note, "containers up", &rows).into()
}
