//! What users may rely on, seen with real packets in worlds of their own. One file a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test may panic and say why"
)]
#![allow(unreachable_pub, reason = "everything in one program")]

mod common;

mod chaos;
mod conntrack;
mod doctor;
mod drift;
mod engines;
mod faults;
mod firewall;
mod hook;
mod hooks_files;
mod inject;
mod install;
mod ipfile;
mod kill;
mod network;
mod options;
mod plan;
mod pod;
mod policy;
mod ports;
mod refusals;
mod rollback;
mod runc;
mod store;
