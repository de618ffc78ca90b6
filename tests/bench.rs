//! The benchmarks go on working: every question is asked once, in a small world, and answered.
//! What the answers are depends on the machine, and is looked at by `benches/run` alone.

use crate::common;
use crate::common::kubelet::Kubelet;
use crate::cost::cases::CASES;
use crate::cost::peers::others;
use crate::cost::table::Figure;
use crate::cost::{Report, Scale, goals, report, run};

/// As little as can be asked.
const TINY: Scale =
    Scale { rounds: 1, sizes: &[1, 2], peers_up_to: 1, leases: &[3], at_once: 2, ports_of: 2 };

/// Asks one question. Every figure is a number, but for peers that are left out.
fn ask(name: &str, scale: Scale) -> Report {
    if !nix::unistd::geteuid().is_root() {
        common::skip("a world of its own needs root");
        return Report::new();
    }
    let report = run(&scale, &[name.to_owned()]).expect("a report");
    assert!(!report.is_empty(), "{name} has no table");
    for table in &report {
        let figures: Vec<&Figure> = table.rows.iter().flat_map(|(_, cells)| cells.iter().flatten()).collect();
        assert!(!figures.is_empty(), "{} is empty", table.title);
        assert!(figures.iter().all(|figure| figure.median() >= 0.0), "{}", table.markdown());
    }
    report
}

#[test]
fn every_peer_goes_up_and_down_however_many_are_up() {
    let report = ask("grow", TINY);
    if report.is_empty() {
        return;
    }
    let others = others();
    for peer in ["floor", "netns"].into_iter().chain(others.iter().map(|peer| peer.name())) {
        assert!(report[0].at("1", peer).is_some() && report[1].at("1", peer).is_some(), "{peer}");
    }
    assert!(report[0].at("2", "netns").is_some() && report[0].at("2", "CNI").is_none());
    assert!(goals::markdown(&report).contains("at most 2.5 times the floor"));
    let picture = report::picture(&report);
    assert!(picture.starts_with("<svg") && picture.contains("floor without IPv6"));
}

#[test]
fn the_other_questions_are_answered() {
    let elsewhere = ["grow", "pods", "leases", "process"];
    for case in CASES.iter().filter(|case| !elsewhere.contains(&case.name)) {
        ask(case.name, TINY);
    }
}

#[test]
fn pods_come_and_go_on_every_network() {
    if !Kubelet::is_possible() {
        return;
    }
    for table in ask("pods", TINY) {
        assert_eq!(table.head[1..4], ["host network", "netns", "netns, nftables"], "{}", table.markdown());
    }
}

#[test]
fn what_is_counted_can_be_counted() {
    if ["valgrind", "strace"].iter().any(|program| !installed(program)) {
        return common::skip("valgrind or strace is not installed");
    }
    for name in ["leases", "process"] {
        // An unoptimised program under valgrind takes seconds each time.
        ask(name, Scale { sizes: &[1], ..TINY });
    }
}

fn installed(program: &str) -> bool {
    std::process::Command::new(program).arg("-h").output().is_ok()
}
