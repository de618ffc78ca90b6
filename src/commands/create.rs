//! The network alone: bridge, address, forwarding, masquerade.

use std::collections::BTreeMap;

use super::reap::{Look, reap};
use super::{Settings, warn_of_damage};
use crate::apply::apply;
use crate::error::Result;
use crate::kernel::{Kernel, observe};
use crate::plan;
use crate::store::Store;

/// Creates the network of the configured bridge, or mends it where it has drifted.
///
/// # Errors
/// Anything that keeps it from being whole; everything that was done is undone then.
pub fn create(settings: &Settings) -> Result<()> {
    let config = settings.config(&BTreeMap::new())?;
    let (mut store, mut survey) = Store::lock(&settings.state_dir)?;
    warn_of_damage(&settings.log, &survey.damaged);
    let mut kernel = Kernel::open(settings.log.clone())?;
    reap(&mut store, &mut survey, &mut kernel, &settings.log, Look::Close)?;
    let host = observe::network(kernel.netlink(), &config.bridge, config.gateway)?;
    let (mut network, take) = plan::network(&config, &host, &survey)?;
    let known = survey.network(&config.bridge);
    network.done = known.is_some();
    store.put_network(&network)?;
    if let Err(failed) = apply(&take, &mut kernel) {
        let restored = match known {
            _ if !failed.clean => Ok(()),
            Some(known) => store.put_network(known),
            None => store.forget_network(&network.bridge),
        };
        return Err(failed.error.also(restored.err()));
    }
    network.done = true;
    store.put_network(&network)
}
