//! Lanes that take turns.

use std::time::Duration;

use super::lane::{Lane, settle};
use super::peers::{Container, Peer, Ports, Verb};

/// A peer that has taken this long at one thing, and done it at least [`ENOUGH`] times, sits
/// out the rest: its median says what there is to say.
const PATIENCE: Duration = Duration::from_secs(40);
const ENOUGH: usize = 5;

/// What one peer took, each time.
#[derive(Debug, Clone)]
pub struct Cost {
    pub peer: &'static str,
    pub up: Vec<Duration>,
    pub down: Vec<Duration>,
}

impl Cost {
    fn is_over(&self) -> bool {
        let spent: Duration = self.up.iter().chain(&self.down).sum();
        self.up.len() >= ENOUGH && spent > PATIENCE
    }
}

/// Brings every lane to `count` containers.
pub fn fill<P: Peer + ?Sized>(lanes: &mut [Lane<P>], count: usize, ports: impl Fn(usize) -> Ports) {
    while lanes.iter().any(|lane| lane.up.len() < count) {
        for lane in lanes.iter_mut().filter(|lane| lane.up.len() < count) {
            lane.grow(&ports);
        }
    }
}

/// Sets up and takes down one container more in every lane, `rounds` times, in turn.
pub fn measure<P: Peer + ?Sized>(lanes: &mut [Lane<P>], rounds: usize, ports: Ports) -> Vec<Cost> {
    measure_and(lanes, rounds, ports, |_| {})
}

/// As [`measure`], with something that is done in every lane after each round.
pub fn measure_and<P: Peer + ?Sized>(
    lanes: &mut [Lane<P>],
    rounds: usize,
    ports: Ports,
    mut after: impl FnMut(&Lane<P>),
) -> Vec<Cost> {
    let cost = |lane: &Lane<P>| Cost { peer: lane.peer.name(), up: Vec::new(), down: Vec::new() };
    let mut costs: Vec<Cost> = lanes.iter().map(cost).collect();
    let mut ended: Vec<(usize, Container)> = Vec::new();
    settle();
    for _ in 0..rounds {
        let turn: Vec<usize> = (0..lanes.len()).filter(|at| !costs[*at].is_over()).collect();
        let born: Vec<(usize, Container)> =
            turn.into_iter().map(|at| (at, lanes[at].newcomer(ports))).collect();
        for (at, container) in &born {
            costs[*at].up.push(lanes[*at].time(Verb::Up, container));
        }
        for (at, container) in &born {
            costs[*at].down.push(lanes[*at].time(Verb::Down, container));
            after(&lanes[*at]);
        }
        ended.extend(born);
    }
    // Not earlier: the end of a namespace is work that the kernel does later.
    for (at, container) in ended {
        lanes[at].end(&container);
    }
    costs
}
