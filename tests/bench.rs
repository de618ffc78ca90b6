//! The benchmarks go on working: every question is asked once, in a small world, and answered.
//! What the answers are depends on the machine, and is looked at by `benches/run` alone.

use crate::common;
use crate::cost::cases::CASES;
use crate::cost::table::Figure;
use crate::cost::{Report, Scale, goals, report, run};

/// As little as can be asked.
fn tiny() -> Scale {
    Scale { rounds: 1, sizes: vec![1, 2], peers_up_to: 1, leases: vec![3], at_once: 2, ports_of: 2 }
}

/// Asks one question. Every figure is a number, but for peers that are left out.
fn ask(name: &str) -> Report {
    if !nix::unistd::geteuid().is_root() {
        common::skip("a world of its own needs root");
        return Report::new();
    }
    let report = run(&tiny(), &[name.to_owned()]).expect("a report");
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
    let report = ask("grow");
    if report.is_empty() {
        return;
    }
    for peer in ["floor", "netns", "netavark", "CNI"] {
        assert!(report[0].at("1", peer).is_some() && report[1].at("1", peer).is_some(), "{peer}");
    }
    assert!(report[0].at("2", "netns").is_some() && report[0].at("2", "CNI").is_none());
    assert!(goals::markdown(&report).contains("at most 2.5 times the floor"));
    let picture = report::picture(&report);
    assert!(picture.starts_with("<svg") && picture.contains("floor without IPv6"));
}

#[test]
fn the_other_questions_are_answered() {
    let asked = ["first", "ports", "full", "once", "beside"];
    asked.into_iter().for_each(|name| drop(ask(name)));
    assert!(asked.iter().all(|name| CASES.iter().any(|case| case.name == *name)));
}

#[test]
fn what_is_counted_can_be_counted() {
    if ["valgrind", "strace"].iter().any(|program| !installed(program)) {
        return common::skip("valgrind or strace is not installed");
    }
    for name in ["leases", "process"] {
        ask(name);
    }
}

fn installed(program: &str) -> bool {
    std::process::Command::new(program).arg("-h").output().is_ok()
}
