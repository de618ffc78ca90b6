//! The rules are restored, after a firewall was flushed or reloaded.

use super::run::Run;
use crate::config::Settings;
use crate::error::Result;

/// Restores every chain and rule that should be there and is not, for all networks and
/// containers; how many they were.
///
/// # Errors
/// The rules cannot be read or written.
pub fn reload(settings: &Settings) -> Result<usize> {
    let mut run = Run::open(settings)?;
    run.warn_of_damage();
    run.restore_rules()
}
