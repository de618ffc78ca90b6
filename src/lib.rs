//! `netns`: an OCI hook that gives a container its network and takes every trace of it back.
//!
//! A run takes a few milliseconds, at a container's birth and at its death; there is no daemon.
//! Between the two, only files remember.
//!
//! ```text
//! OCI state on stdin   hook      ┐                                                     ┌ .ip file, exit status
//! CNI_COMMAND + JSON   cni       ├                                                     ├ CNI result or error object
//! command line         commands  ┴─> Request ─> operations::{attach, detach, gc, …}  ──┴ text, --json
//!
//! attach   lock: clean up what is stale -> observe -> plan (leases and ports chosen) -> claim + record   unlock
//!          apply the container's own steps                    (only this record's own lock)
//!          lock: mark done                                                                               unlock
//! detach   lock: mark leaving unlock -> undo the container's own steps -> lock: claims, record           unlock
//! ```
//!
//! An attach and a detach can be followed by reading these, in this order: [`hook`],
//! [`operations::attach()`], `operations/stale.rs` (who is in the way), `operations/claims.rs`
//! (what is chosen), [`plan`], [`store`], [`operations::apply`], `operations/leave.rs`.
//!
//! - **The plan is a value**: a list of [`model::step::Step`]s, each a reversible change with one
//!   text. [`plan`] is pure; what the kernel looks like is passed in.
//! - **Record before apply**: every intended step is on disk before the first is applied, because
//!   a run may be killed at any moment. Any later run can undo what was interrupted.
//! - **Apply and undo walk the same list**, undo backwards. Already gone is success.
//! - **Found is not done**: what already existed gets no step, and is never undone by us.
//! - **A shared step is undone with the last that holds it.**
//! - **Detach reads the record, never the configuration.**
//! - **Nothing that the kernel takes its time for happens under the lock of everything.**
//!
//! Who may use whom, downwards only. `tests/rooms.rs` reads this table, and every `use crate::`.
//!
//! | room | what is in it | may use |
//! |---|---|---|
//! | [`hook`] | standard input to an operation | operations config model failures log error |
//! | [`cni`] | what a CNI client asks for to an operation | operations config model log error |
//! | [`commands`] | the command line's other words | hook graph operations config plan store firewall kernel rootfs model failures log error |
//! | [`doctor`] | why traffic fails, from what was observed | operations config plan store firewall kernel rootfs netfilter model log error |
//! | [`graph`] | the network as a picture, in five formats | operations config store kernel model log error |
//! | [`install`] | engines learn of the hook | config model log error |
//! | [`operations`] | what can be done: attach, detach, gc… | config plan store firewall kernel rootfs netfilter model log error |
//! | [`config`] | flags, environment, file, annotations, policy to a request | model log error |
//! | [`plan`] | lease choice, port choice, and the steps | model error |
//! | [`store`] | the state directory | model error |
//! | [`firewall`] | rules to iptables or nftables | netfilter model log error |
//! | [`kernel`] | netlink, sysctl, processes, listeners, conntrack | netfilter model log error |
//! | [`rootfs`] | a container's files: mounts over resolv.conf and hosts, .ip | model log error |
//! | [`netfilter`] | messages to the kernel's netfilter | |
//! | [`model`] | the values that everything speaks of | error |
//! | [`failures`] | why hooks failed, where a user finds it | error |
//! | [`log`] | standard input, output and error, and the log file | error |
//! | [`error`] | what went wrong, in words | |

pub mod cni;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod error;
pub mod failures;
pub mod firewall;
pub mod graph;
pub mod hook;
pub mod install;
pub mod kernel;
pub mod log;
pub mod model;
pub mod netfilter;
pub mod operations;
pub mod plan;
pub mod rootfs;
pub mod store;
