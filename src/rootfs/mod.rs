//! The files of containers, and those of ours that containers see.
//!
//! A container may exchange any name below its root at any moment, and may hold a lease on any
//! file that it reaches: nothing of it is opened but by `openat2(2)`, and nothing that it
//! reaches is opened so that it could keep us waiting.
//!
//! | file | what is in it |
//! |---|---|
//! | [`files`] | the `.ip` file, and what is read of a container's root |
//! | `mounts`, `overlay` | our files over those of a container |
//! | [`patience`] | how long a container may keep us waiting |
//! | `names`, `joined`, `lock`, `leased` | the `hosts` and `resolv.conf` that containers have mounted |
//! | [`resolver`], `observe` | what planning has to know |
//! | [`view`] | what a program of the host sees in a container's network |

pub mod files;
mod joined;
mod leased;
mod lock;
mod mounts;
mod names;
mod observe;
mod overlay;
pub mod patience;
mod process;
pub mod resolver;
pub mod view;

use std::io;

use nix::libc::{EINTR, EIO, EMFILE, ENFILE, ENOMEM};

use crate::error::{Doing, Result};
use crate::log::Log;
use crate::model::step::Step;
pub use observe::observe;

/// What could be read; `None` if that is for a reason of its own, and not for want of descriptors
/// or memory, of which nothing can be concluded.
fn unless_scarce<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Err(error) if !SCARCE.iter().any(|scarce| error.raw_os_error() == Some(*scarce)) => Ok(None),
        read => read.map(Some),
    }
}

/// What errors say that there is no more of something, or nothing at all.
const SCARCE: [i32; 5] = [EMFILE, ENFILE, ENOMEM, EINTR, EIO];

/// Whether a step is of this room.
pub fn owns(step: &Step) -> bool {
    matches!(
        step,
        Step::WriteFile { .. }
            | Step::MakeNames { .. }
            | Step::JoinNames { .. }
            | Step::AddHost { .. }
            | Step::WriteResolver { .. }
            | Step::Mount(_)
    )
}

/// Applies a step of this room; others are left to theirs. `log` is told which files could not
/// be mounted that nobody has asked for.
///
/// # Errors
/// The step was not applied, and nothing of it was done.
pub fn apply(step: &Step, log: &Log) -> Result<()> {
    match step {
        Step::WriteFile { base, path, contents } => files::write(base, path, contents).doing(|| step),
        Step::MakeNames { dir, gateway } => names::make(dir, *gateway).doing(|| step),
        Step::JoinNames { dir, networks, lines } => {
            let made = joined::make(dir, networks, lines).doing(|| step);
            made.map_err(|error| error.also(joined::remove(dir).doing(|| step).err()))
        }
        Step::AddHost { path, slot, line } => names::add_line(path, *slot, line).doing(|| step),
        Step::WriteResolver { path, contents, shared } => {
            let written = names::write_resolver(path, contents).doing(|| step);
            let undo = || if *shared { Ok(()) } else { names::remove_resolver(path).doing(|| step) };
            written.map_err(|error| error.also(undo().err()))
        }
        Step::Mount(mounts) => {
            mounts::mount(mounts, log).map_err(|error| error.also(mounts::unmount(mounts).err()))
        }
        _ => Ok(()),
    }
}

/// Undoes a step of this room, if it has an undoing of its own (see [`Step::traits`]). Already
/// gone is fine.
///
/// # Errors
/// What the step made is still there.
pub fn undo(step: &Step) -> Result<()> {
    let undoing = || format!("undo {step}");
    match step {
        Step::WriteFile { base, path, contents } => files::remove(base, path, contents).doing(undoing),
        Step::MakeNames { dir, .. } => names::remove(dir).doing(undoing),
        Step::JoinNames { dir, .. } => joined::remove(dir).doing(undoing),
        Step::AddHost { path, slot, line } => names::remove_line(path, *slot, line).doing(undoing),
        Step::WriteResolver { path, shared: false, .. } => names::remove_resolver(path).doing(undoing),
        Step::Mount(mounts) => mounts::unmount(mounts),
        _ => Ok(()),
    }
}
