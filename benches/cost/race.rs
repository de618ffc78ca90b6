//! Lanes that take turns.

use std::thread::sleep;
use std::time::Duration;

use super::lane::{Lane, settle};
use super::peers::{Container, Peer, Ports, Verb};

/// A peer that has taken this long at one thing, and done it at least [`ENOUGH`] times, sits
/// out what is left: its median says what there is to say.
const PATIENCE: Duration = Duration::from_secs(40);
const ENOUGH: usize = 5;

/// How many containers a lane sets up in one turn, and takes down again. A new interface
/// speaks IPv6 for a while after: who has brought the noise is to hear it, not the next lane.
const TURN: usize = 6;

/// How long a lane waits for the noise of the one before it to fade, and how long all of them
/// wait after many containers have come.
const PAUSE: Duration = Duration::from_millis(500);
const LONG_PAUSE: Duration = Duration::from_secs(10);

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
    let mut born = 0;
    while lanes.iter().any(|lane| lane.up.len() < count) {
        for lane in lanes.iter_mut().filter(|lane| lane.up.len() < count) {
            lane.grow(&ports);
            born += 1;
        }
    }
    if born > 100 {
        sleep(LONG_PAUSE);
    }
}

/// Sets up and takes down more containers in every lane, `rounds` each, in turns.
pub fn measure<P: Peer + ?Sized>(lanes: &mut [Lane<P>], rounds: usize, ports: Ports) -> Vec<Cost> {
    measure_and(lanes, rounds, TURN, ports, |_| {})
}

/// As [`measure`], with how many there are in one turn, and something that is done after each.
pub fn measure_and<P: Peer + ?Sized>(
    lanes: &mut [Lane<P>],
    rounds: usize,
    turn: usize,
    ports: Ports,
    mut after: impl FnMut(&Lane<P>),
) -> Vec<Cost> {
    let cost = |lane: &Lane<P>| Cost { peer: lane.peer.name(), up: Vec::new(), down: Vec::new() };
    let mut costs: Vec<Cost> = lanes.iter().map(cost).collect();
    let mut ended: Vec<(usize, Container)> = Vec::new();
    settle();
    for done in (0..rounds).step_by(turn) {
        for (at, lane) in lanes.iter_mut().enumerate() {
            if costs[at].is_over() {
                continue;
            }
            let born = (0..turn.min(rounds - done)).map(|n| lane.newcomer(ports.nth(n)));
            let born: Vec<Container> = born.collect();
            sleep(PAUSE);
            costs[at].up.extend(born.iter().map(|container| lane.time(Verb::Up, container)));
            for container in born {
                costs[at].down.push(lane.time(Verb::Down, &container));
                after(lane);
                ended.push((at, container));
            }
        }
    }
    // Not earlier: the end of a namespace is work that the kernel does later.
    for (at, container) in ended {
        lanes[at].end(&container);
    }
    costs
}
