//! The dead are reaped on demand.

use super::reap::{Look, reap};
use super::session::Session;
use super::{Settings, print};
use crate::error::Result;

/// Reaps every container that is dead or was attached half way only, and says which; with
/// `dry_run` only says which.
///
/// # Errors
/// The records cannot be read, or the kernel does not answer.
pub fn gc(settings: &Settings, dry_run: bool) -> Result<()> {
    if !settings.state_dir.exists() {
        return Ok(());
    }
    let mut session = Session::open(settings)?;
    let reaped = if dry_run {
        let dead = session.find_dead(Look::Close)?;
        dead.iter().map(|entry| format!("container {}", entry.id)).collect()
    } else {
        reap(&mut session, Look::Close)?
    };
    session.close()?;
    print(&reaped.iter().map(|who| format!("{who}\n")).collect::<String>())
}
