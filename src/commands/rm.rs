//! The network goes: every rule, chain and device of ours.

use std::collections::BTreeMap;

use super::Settings;
use super::reap::{Look, reap, remove, remove_network};
use super::session::Session;
use crate::error::{Error, Result};

/// Removes the network of the configured bridge; one that is not there is fine.
///
/// # Errors
/// Containers are attached and `force` is not given (with it they are detached first); or
/// something could not be undone and stays recorded.
pub fn rm(settings: &Settings, force: bool) -> Result<()> {
    let bridge = settings.config(&BTreeMap::new())?.bridge;
    if !settings.state_dir.exists() {
        return Ok(());
    }
    let mut session = Session::open(settings)?;
    reap(&mut session, Look::Close)?;
    session.everyone()?;
    let here = session.survey.containers.iter().filter(|record| record.bridge.as_ref() == Some(&bridge));
    let here: Vec<_> = here.cloned().collect();
    if let (Some(first), false) = (here.first(), force) {
        let cause = format!("{} containers are attached, {} among them", here.len(), first.id);
        return Err(
            Error::new(format!("remove network {bridge}"), cause).hint("detach them first, or pass --force")
        );
    }
    remove(&mut session, here)?;
    if let Some(network) = session.survey.network(&bridge).cloned() {
        remove_network(&mut session, network)?;
    }
    session.close()
}
