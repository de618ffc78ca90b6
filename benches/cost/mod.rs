//! What a container's network costs: ours beside the floor, netavark and CNI.
//!
//! Every peer has a [`lane`] of its own, which is a world with namespaces and a fresh `/run`,
//! and the lanes take turns, one container each, so that whatever disturbs the machine
//! disturbs all of them alike: it is the ratios within one run that mean something.
//!
//! | | |
//! |---|---|
//! | [`lane`], [`race`] | a world with a peer in it; lanes that take turns |
//! | [`peers`] | how each of them is told to set up and to take down |
//! | [`call`], [`probe`] | a program's wall time; its instructions, system calls and memory |
//! | [`cases`] | one file a question |
//! | [`table`], [`goals`], [`picture`], [`report`] | the answers |

pub mod call;
pub mod cases;
pub mod goals;
pub mod lane;
pub mod peers;
pub mod picture;
pub mod probe;
pub mod race;
pub mod report;
pub mod table;

use cases::CASES;
use table::Table;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// How often each thing is measured.
    pub rounds: usize,
    /// At how many containers up.
    pub sizes: &'static [usize],
    /// Up to how many netavark and CNI go along: filling them takes minutes.
    pub peers_up_to: usize,
    /// At how many leases.
    pub leases: &'static [usize],
    /// How many set-ups at once.
    pub at_once: usize,
    /// How many containers of ten ports each.
    pub ports_of: usize,
}

/// What is published.
pub const FULL: Scale = Scale {
    rounds: 30,
    sizes: &[1, 10, 30, 100, 300, 600, 1000],
    peers_up_to: 300,
    leases: &[10, 100, 1_000, 10_000, 60_000],
    at_once: 100,
    ports_of: 1000,
};

/// What shows that it works.
pub const QUICK: Scale =
    Scale { rounds: 3, sizes: &[1, 10], peers_up_to: 10, leases: &[10, 100], at_once: 10, ports_of: 10 };

/// Everything that was found out, in the order of finding.
pub type Report = Vec<Table>;

/// Runs the cases of these names, or all; `None`, after saying why, if it cannot.
pub fn run(scale: &Scale, only: &[String]) -> Option<Report> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("worlds of their own need root");
        return None;
    }
    let mut report = Report::new();
    for case in CASES.iter().filter(|case| only.is_empty() || only.iter().any(|name| name == case.name)) {
        eprintln!("{}: {}", case.name, case.what);
        report.extend((case.run)(scale));
    }
    Some(report)
}
