//! Many containers that start at the same moment, as after a reboot, and the same one after the
//! other.

use std::time::{Duration, Instant};

use super::{ONCE, thousands};
use crate::cost::Scale;
use crate::cost::call::Call;
use crate::cost::lane::{Lane, settle};
use crate::cost::peers::{Container, Floor, Ours, Ports, Program, Verb};
use crate::cost::table::{Figure, Table, Unit};

/// Each measurement is of many programs, so a few are enough.
fn rounds(scale: &Scale) -> usize {
    scale.rounds.div_ceil(5)
}

/// In the order of doing.
const ROWS: [(&str, Verb, bool); 4] = [
    ("set up, one after the other", Verb::Up, false),
    ("take down, one after the other", Verb::Down, false),
    ("set up, all at once", Verb::Up, true),
    ("take down, all at once", Verb::Down, true),
];

pub fn run(scale: &Scale) -> Vec<Table> {
    let mut floor = Crowd::new(Floor::<true>, scale.at_once);
    let mut ours = Crowd::new(Ours::<false>::default(), scale.at_once);
    let mut nftables = Crowd::new(Ours::<true>::default(), scale.at_once);
    settle();
    for _ in 0..rounds(scale) {
        floor.round();
        ours.round();
        nftables.round();
    }
    let note = format!(
        "All of {} containers with one published port each, beside one that is up. Median of {}; the floor \
         is bounded by the kernel's own locks as well.",
        thousands(scale.at_once),
        rounds(scale)
    );
    let mut table = Table::new(ONCE, note, ["", "floor", "netns", "netns, nftables"]);
    table.compares = true;
    for (at, (name, ..)) in ROWS.iter().enumerate() {
        let figure = |took: &[Vec<Duration>; 4]| Some(Figure::times(Unit::Millis, &took[at]));
        table.row(*name, vec![figure(&floor.took), figure(&ours.took), figure(&nftables.took)]);
    }
    let failed = |count: usize| Some(Figure::new(Unit::Count, [count as f64]));
    table.row("of these failed", vec![failed(floor.failed), failed(ours.failed), failed(nftables.failed)]);
    vec![table]
}

/// A lane with containers that all come and go together.
struct Crowd<P: Program> {
    lane: Lane<P>,
    containers: Vec<Container>,
    took: [Vec<Duration>; 4],
    failed: usize,
}

impl<P: Program> Crowd<P> {
    fn new(peer: P, count: usize) -> Self {
        let mut lane = Lane::new(Box::new(peer));
        lane.grow(|_| Ports::one(10_000));
        let containers = (0..count).map(|n| lane.newcomer(Ports::one(20_000 + n))).collect();
        Self { lane, containers, took: Default::default(), failed: 0 }
    }

    fn round(&mut self) {
        self.lane.enter();
        for (times, (_, verb, at_once)) in self.took.iter_mut().zip(ROWS) {
            let calls: Vec<Call> = self.containers.iter().map(|one| self.lane.peer.call(verb, one)).collect();
            let (took, failed) = all(&calls, at_once);
            times.push(took);
            self.failed += failed;
        }
    }
}

/// Runs all of them: how long that takes, and how many fail.
fn all(calls: &[Call], at_once: bool) -> (Duration, usize) {
    let started = Instant::now();
    let ends = |mut child: std::process::Child| child.wait().expect("wait").success();
    let ended: Vec<bool> = if at_once {
        let children: Vec<_> = calls.iter().map(Call::start).collect();
        children.into_iter().map(ends).collect()
    } else {
        calls.iter().map(|call| ends(call.start())).collect()
    };
    (started.elapsed(), ended.iter().filter(|well| !**well).count())
}
