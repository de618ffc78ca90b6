//! What can be done, each a story that is read from top to bottom. An operation knows no format
//! of input or output: the doors translate.
//!
//! Locks are taken in this order, and never the other way round: the rules' (shared), everything's,
//! a record's own. Whoever has the rules' alone waits for nobody.

mod adopt;
pub mod apply;
mod attach;
mod check;
mod claims;
mod detach;
mod dry_run;
mod find;
mod forwarding;
mod gc;
mod leave;
mod machine;
mod network;
mod observe;
mod places;
mod reload;
mod repair;
mod rules;
mod run;
mod salvage;
mod stale;
pub mod status;
mod unrecorded;

pub use attach::attach;
pub use check::{check, ready};
pub use detach::{detach, detach_all, detach_named};
pub use dry_run::{plan_attach, plan_detach};
pub use find::find;
pub use gc::{adopt, gc};
pub use machine::{apply_lines, lines, undo_lines};
pub use network::{create, rm};
pub use reload::{Reloaded, reload};
pub use repair::{repair, set_up_loopback};
pub use rules::wanted_rules;
pub use run::warn_of_damage;
pub use unrecorded::{Unrecorded, unrecorded};
