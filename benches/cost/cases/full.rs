//! As many published ports as a bridge with ten for each container can have.

use super::{FULL_DOWN, FULL_UP, PORTS_OF_OTHERS, beside, packets, thousands, up_and_down};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ports, floor_and_ours};
use crate::cost::race::{fill, measure};
use crate::cost::table::Table;

pub fn run(scale: &Scale) -> Vec<Table> {
    let of_others = of_others(scale);
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
    vec![of_others, up, down, packets::first(scale, &mut lanes[1..3])]
}

/// What others' ports cost, and not others: the same number of containers has a hundred times as many.
fn of_others(scale: &Scale) -> Table {
    let others = scale.ports_of.div_ceil(10);
    let rows = [1, 100].map(|each| {
        let mut lanes: Vec<Lane> = floor_and_ours().map(Lane::new).into();
        fill(&mut lanes, others, |n| Ports::each(10_000 + usize::from(each) * n, each));
        (thousands(others * usize::from(each)), measure(&mut lanes, scale.rounds, Ports::each(40_000, 10)))
    });
    let note = format!("{} containers are up, and another with ten ports comes and goes.", thousands(others));
    let [up, _] = up_and_down([PORTS_OF_OTHERS; 2], &note, "ports of the others", &rows);
    up
}
