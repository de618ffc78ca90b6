//! The iptables backend. It knows no configuration and no store. The layout, the same for both
//! families:
//!
//! | table | from | chain of ours | what is in it |
//! |---|---|---|---|
//! | raw | `PREROUTING`, first | `NETNS-GUARD` | drops what comes from outside for a subnet of ours, and what has an address of the host's loopback |
//! | nat | `PREROUTING`, `OUTPUT` | `NETNS-PUBLISH` | a jump for each block of 256 ports, a DNAT for each range across blocks |
//! | nat | `NETNS-PUBLISH` | `NETNS-tcp-31`, … | a DNAT for each port or range in the block |
//! | nat | `POSTROUTING` | `NETNS-MASQUERADE` | masquerade to the outside, hairpin and loopback |
//! | filter | `FORWARD`, first | `NETNS-FORWARD` | accepts what is ours before anyone's policy |
//! | filter | `FORWARD`, last | `NETNS-ONLY` | drops all else, where the host forwarded nothing before |
//!
//! Only appends and insertions when something comes: a deletion waits for an RCU grace period
//! (about 15 ms), an addition does not. For the same reason chains are made with `-N`: a
//! `:CHAIN` line would flush, and so delete, where the chain exists.
//!
//! | file | what is in it |
//! |---|---|
//! | [`commands`](mod@commands) | a [`Rule`](crate::model::rule::Rule) as commands |
//! | [`saved`] | what `iptables-save` prints: its words, and what of it is ours |
//! | [`present`] | what is missing, left or unowned |
//! | [`rebuild`](mod@rebuild) | how what is there becomes what should be |
//! | [`restore`] | `iptables-restore`, which makes every change |
//! | [`programs`] | programs with a deadline |
//! | [`counted`], [`rulesets`] | for those who only read |

mod commands;
mod counted;
mod present;
mod programs;
mod rebuild;
mod restore;
pub mod rulesets;
mod saved;

pub(super) use commands::commands;
pub use counted::{Counted, counters_of};
pub use present::{Missing, Unowned};
pub(super) use present::{left, missing, unowned};
pub(super) use rebuild::{rebuild, with_all, with_kept};
pub(super) use restore::{Restore, Script, Waiting};
pub use saved::words;
pub(super) use saved::{everything, families, read};
