//! What can be counted of one process: the same on every machine, or nearly so.

use std::fs;
use std::time::{Duration, Instant};

use super::Scale;
use super::call::Call;
use super::lane::Lane;
use super::peers::{Ours, Ports, Program as _, Verb};
use super::table::{Figure, Unit};

/// What takes longer than this, as a long run under callgrind does, is not counted once more.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counts something of our own process, setting up and taking down. A few times will do:
/// what else the machine does changes little.
pub fn both(
    lane: &mut Lane<Ours>,
    ports: Ports,
    scale: &Scale,
    unit: Unit,
    count: fn(&Call) -> f64,
) -> [Option<Figure>; 2] {
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let started = Instant::now();
    for round in 0..scale.rounds.div_ceil(6) {
        if round > 0 && started.elapsed() > PATIENCE {
            break;
        }
        let container = lane.newcomer(ports);
        up.push(count(&lane.peer.call(Verb::Up, &container)));
        down.push(count(&lane.peer.call(Verb::Down, &container)));
        lane.end(&container);
    }
    [up, down].map(|samples| Some(Figure::new(unit, samples)))
}

/// Instructions that the process itself executes in user space, as callgrind counts them;
/// the programs that it starts are not among them.
pub fn instructions(call: &Call) -> f64 {
    let wrapped = call.under(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let said = crate::common::stderr(&wrapped.run().1);
    let line = said.lines().find_map(|line| line.split("Collected :").nth(1));
    line.and_then(|count| count.trim().parse().ok()).expect("callgrind's count")
}

/// System calls of the process with all that it starts, as strace counts them.
pub fn system_calls(call: &Call) -> f64 {
    let file = "/run/test/strace";
    call.under(&["strace", "-f", "-c", "-o", file]).run();
    let counts = fs::read_to_string(file).expect("strace's table");
    let total = counts.lines().rfind(|line| line.trim_end().ends_with("total"));
    total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).expect("strace's total")
}

/// The most memory that the process itself has had resident, in bytes.
///
/// What `wait4(2)` tells counts its children too, and the program that it was before `exec`:
/// so the kernel's own high-water mark is read again and again until the process has ended.
pub fn peak_memory(call: &Call) -> f64 {
    let mut child = call.start();
    let path = format!("/proc/{}/status", child.id());
    let mut peak: f64 = 0.0;
    while child.try_wait().expect("wait").is_none() {
        let status = fs::read_to_string(&path).unwrap_or_default();
        // Before `exec` it is still us.
        let is_us = status.lines().next().is_none_or(|line| !line.ends_with("netns"));
        let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let (false, Some(mark)) = (is_us, mark) {
            let kib: f64 = mark.trim().trim_end_matches(" kB").trim().parse().expect("kB");
            peak = peak.max(kib * 1024.0);
        }
    }
    assert!(child.wait().expect("wait").success(), "{} failed", call.args[0]);
    peak
}
