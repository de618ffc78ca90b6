//! The network goes: every rule, chain and device of ours.

use std::collections::BTreeMap;

use super::reap::{Look, reap, remove, remove_network};
use super::{Settings, warn_of_damage};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::store::Store;

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
    let (mut store, mut survey) = Store::lock(&settings.state_dir)?;
    warn_of_damage(&settings.log, &survey.damaged);
    let mut kernel = Kernel::open(settings.log.clone())?;
    reap(&mut store, &mut survey, &mut kernel, &settings.log, Look::Close)?;
    let here = survey.containers.iter().filter(|record| record.bridge == bridge);
    let here: Vec<_> = here.cloned().collect();
    if let (Some(first), false) = (here.first(), force) {
        let cause = format!("{} containers are attached, {} among them", here.len(), first.id);
        return Err(
            Error::new(format!("remove network {bridge}"), cause).hint("detach them first, or pass --force")
        );
    }
    survey.containers.retain(|record| record.bridge != bridge);
    remove(&mut store, &mut survey, &mut kernel, &settings.log, here)?;
    match survey.networks.iter().position(|network| network.bridge == bridge) {
        None => Ok(()),
        Some(position) => {
            let network = survey.networks.remove(position);
            remove_network(&store, &mut survey, &mut kernel, network)
        }
    }
}
