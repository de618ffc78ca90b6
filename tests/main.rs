//! What users may rely on, seen with real packets in worlds of their own. One file a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and say why"
)]
#![allow(unreachable_pub, reason = "everything in one program")]

mod common;
#[allow(dead_code, reason = "some of it only the benchmarks need")]
#[path = "../benches/cost/mod.rs"]
mod cost;
// Here too, so that it keeps up with what it is about.
#[path = "../fuzz/src/lib.rs"]
mod fuzzed;

mod administrator;
mod attach;
mod bench;
mod chaos;
mod cni;
mod completions;
mod conntrack;
mod damage;
mod doctor;
mod drift;
mod engines;
mod exec;
mod failing;
mod faults;
mod firewall;
mod forwarding;
mod graph;
mod hook;
mod hooks_files;
mod hostile;
mod hosts;
mod inject;
mod inspect;
mod install;
mod ipfile;
mod ipv6;
mod kill;
mod lost;
mod macvlan;
mod managers;
mod named;
mod names;
mod network;
mod networks;
mod nftables;
mod nic;
mod options;
mod package;
mod plan;
mod pod;
mod policy;
mod ports;
mod rates;
mod reach;
mod refusals;
mod rollback;
mod rooms;
mod runc;
mod sharing;
mod sizes;
mod store;
mod typed;
