//! What the hook's own process takes: the same on every run, or nearly so.

use super::{PROCESS, PROGRAM, thousands};
use crate::common::NETNS;
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ours, Ports};
use crate::cost::probe;
use crate::cost::race::fill;
use crate::cost::table::{Figure, Table, Unit};

pub fn run(scale: &Scale) -> Vec<Table> {
    let note = "One published port; without the iptables that it starts. Instructions in user space by \
                callgrind; memory is the kernel's high-water mark (VmHWM).";
    let head = [
        "containers up",
        "set up, instructions",
        "take down, instructions",
        "set up, memory",
        "take down, memory",
    ];
    let mut table = Table::new(PROCESS, note, head);
    let mut lanes = [Lane::new(Box::new(Ours::<false> { without_bundle: true, networks: "" }))];
    for &size in scale.sizes {
        eprintln!("  {} containers up", thousands(size));
        fill(&mut lanes, size, |n| Ports::one(10_000 + n));
        let lane = &mut lanes[0];
        let instructions = probe::both(lane, Ports::one(40_000), scale, Unit::Millions, probe::instructions);
        let memory = probe::both(lane, Ports::one(40_000), scale, Unit::MiB, probe::peak_memory);
        table.row(thousands(size), instructions.into_iter().chain(memory).collect());
    }
    let size = std::fs::metadata(NETNS).expect("the program").len();
    let mut program = Table::new(PROGRAM, "", ["", "size"]);
    program.row("netns", vec![Some(Figure::new(Unit::MiB, [size as f64]))]);
    vec![table, program]
}
