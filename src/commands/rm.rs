//! The network goes: every rule, chain and device of ours.

use std::collections::BTreeMap;

use super::reap::{reap, remove, remove_network};
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
    let store = Store::lock(&settings.state_dir)?;
    let mut survey = store.survey()?;
    warn_of_damage(&settings.log, &survey);
    let mut kernel = Kernel::open(settings.log.clone())?;
    reap(&store, &mut survey, &mut kernel, &settings.log);
    let here = survey.containers.iter().filter(|record| record.bridge == bridge);
    let here: Vec<_> = here.cloned().collect();
    if let (Some(first), false) = (here.first(), force) {
        let cause = format!("{} containers are attached, {} among them", here.len(), first.id);
        return Err(
            Error::new(format!("remove network {bridge}"), cause).hint("detach them first, or pass --force")
        );
    }
    survey.containers.retain(|record| record.bridge != bridge);
    remove(&store, &mut survey, &mut kernel, here)?;
    match survey.networks.iter().position(|network| network.bridge == bridge) {
        None => Ok(()),
        Some(position) => {
            let network = survey.networks.remove(position);
            remove_network(&store, &mut survey, &mut kernel, network)
        }
    }
}
