//! The rules are restored, after a firewall was flushed or reloaded.

use super::run::Run;
use crate::config::Settings;
use crate::error::Result;
use crate::store::Store;

/// Restores every chain and rule that should be there and is not, for all networks and
/// containers; how many they were.
///
/// # Errors
/// The rules cannot be read or written.
pub fn reload(settings: &Settings) -> Result<usize> {
    let mut run = Run::on(Store::open(&settings.state_dir)?, settings)?;
    run.warn_of_damage();
    run.restore_rules()
}
