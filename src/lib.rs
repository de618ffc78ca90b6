//! `netns`: an OCI hook that gives a container its network and takes every trace of it back.
//!
//! A run takes a few milliseconds, at a container's birth and at its death; there is no daemon.
//! Between the two, only files remember. Start reading at [`commands::attach`].
//!
//! ```text
//! attach:  read state -> resolve config -> lock store -> reap the dead -> observe kernel
//!          -> lease -> plan -> record -> apply -> mark done
//!                        `plan` prints and stops here
//! detach:  read state -> lock store -> the record of this id -> undo its steps backwards -> forget
//! ```
//!
//! - **The plan is a value**: a list of [`plan::Step`]s, each a reversible change with one
//!   `Display`. [`plan`] is pure; what the kernel looks like is passed in.
//! - **Record before apply**: every intended step is on disk before the first is taken, because
//!   the hook may be killed at any moment. Any later run can undo what was interrupted.
//! - **[`apply`] and undo walk the same list**, undo backwards. Already gone is success.
//! - **Found is not done**: what already existed gets no step, and is never undone by us.
//! - **A step that several records hold is undone with the last of them**: the firewall's base
//!   among networks, `route_localnet` among containers, the cable among the containers of a pod.
//! - **Detach reads the record, never the configuration.**
//! - **One lock** for the whole of every run that changes something.
//! - **The main thread never enters a container**: a second one opens a socket there. Only
//!   [`commands::exec`] does, for good.
//!
//! | room | what is in it | may use |
//! |---|---|---|
//! | [`commands`] | one file a command, each a story | everything |
//! | [`hook`] | standard input to `Container` | `error` |
//! | [`bundle`] | a bundle's `config.json` to what names need of it | `error` |
//! | [`config`] | flags, file, annotations to `Config` | `error` |
//! | [`lease`], [`plan`], [`link`], [`names`], [`firewall::Rule`] | pure policy | no kernel, disk or clock |
//! | [`doctor`] | what is wrong, from what was seen | no kernel, disk or clock |
//! | [`store`] | the state directory | values only |
//! | [`failures`] | the state directory's log | `error` |
//! | [`graph`] | the cabling as one value, and the formats that draw it | values only |
//! | [`edit`] | others' files: text put in and taken out again | `error` |
//! | [`mod@apply`] | the two walks, over a trait | values only |
//! | [`firewall::iptables`], [`kernel`] | the two that act | no config, no store |

pub mod apply;
pub mod bundle;
pub mod commands;
pub mod config;
pub mod doctor;
pub mod edit;
pub mod error;
pub mod failures;
pub mod firewall;
pub mod graph;
pub mod hook;
pub mod kernel;
pub mod lease;
pub mod link;
pub mod log;
pub mod names;
pub mod plan;
pub mod store;
