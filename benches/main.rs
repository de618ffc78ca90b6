//! What `netns` costs beside the floor and its peers: `benches/run` runs this.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark that cannot go on says why"
)]
#![allow(unreachable_pub, reason = "everything in one program")]

#[allow(dead_code, unused_imports, unused_macros, reason = "the world of the tests")]
#[path = "../tests/common/mod.rs"]
mod common;
#[allow(unused_imports, reason = "its own tests run with the others, in tests/")]
mod cost;

use std::process::ExitCode;

use cost::cases::CASES;
use cost::{FULL, QUICK, report};

fn main() -> ExitCode {
    let (mut scale, mut whole, mut only) = (FULL, true, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match (arg.as_str(), CASES.iter().map(|case| case.name)) {
            ("--quick", _) => (scale, whole) = (QUICK, false),
            ("--only", mut names) => {
                let name = args.next().unwrap_or_default();
                if !names.any(|known| known == name) {
                    return usage();
                }
                (whole, only) = (false, [only, vec![name]].concat());
            }
            ("--bench", _) => {} // cargo says so
            _ => return usage(),
        }
    }
    let Some(report) = cost::run(&scale, &only) else { return ExitCode::FAILURE };
    if whole {
        report::write(&report);
    } else {
        print!("{}", report::markdown(&report));
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: benches/run [--quick] [--only CASE]...");
    for case in CASES {
        eprintln!("  {:8} {}", case.name, case.what);
    }
    ExitCode::from(2)
}
