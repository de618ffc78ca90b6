//! The network alone: bridge, address, forwarding, masquerade.

use std::collections::BTreeMap;

use super::Settings;
use super::reap::{Look, reap};
use super::reload::put_back;
use super::session::Session;
use crate::apply::apply;
use crate::error::Result;
use crate::kernel::observe;
use crate::plan;

/// Creates the network of the configured bridge, or mends it where it has drifted.
///
/// # Errors
/// Anything that keeps it from being whole; everything that was done is undone then.
pub fn create(settings: &Settings) -> Result<()> {
    let config = settings.config(&BTreeMap::new())?;
    let mut session = Session::open(settings)?;
    reap(&mut session, Look::Close)?;
    if session.is_suspicious() {
        put_back(&mut session)?;
    }
    let Session { store, survey, kernel, .. } = &mut session;
    let host = observe::network(kernel.netlink(), &config.bridge, config.gateway)?;
    let (mut network, take) = plan::network(&config, &host, survey)?;
    let known = survey.network(&config.bridge);
    network.done = known.is_some();
    store.put_network(&network)?;
    if let Err(failed) = apply(&take, kernel) {
        let restored = match known {
            _ if !failed.clean => Ok(()),
            Some(known) => store.put_network(known),
            None => store.forget_network(&network.bridge),
        };
        return Err(failed.error.also(restored.err()));
    }
    network.done = true;
    store.put_network(&network)?;
    session.close()
}
