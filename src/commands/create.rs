//! The network alone: bridge, address, forwarding, masquerade.

use std::collections::BTreeMap;

use super::Settings;
use super::reap::{Look, reap};
use super::reload::{apply_or_renew, put_back};
use super::session::Session;
use crate::config::Config;
use crate::error::Result;
use crate::kernel::{observe, resolver};
use crate::plan;
use crate::store::record::Network;

/// Creates the network of the configured bridge, or mends it where it has drifted.
///
/// # Errors
/// Anything that keeps it from being whole; everything that was done is undone then.
pub fn create(settings: &Settings) -> Result<()> {
    let config = settings.config(&BTreeMap::new())?;
    let mut session = Session::open(settings)?;
    make(&mut session, &config)?;
    session.close()
}

/// As [`create`], within a session.
pub(super) fn make(session: &mut Session, config: &Config) -> Result<()> {
    reap(session, Look::Close)?;
    if session.is_suspicious() {
        put_back(session)?;
    }
    session.everyone()?;
    let mut host = observe::network(&session.kernel, &config.bridge, config.gateway)?;
    resolver::network(&mut host, config);
    let (network, take) = plan::network(config, &host, &session.survey)?;
    let known = session.survey.network(&config.bridge).cloned();
    session.store.put_network(&Network { done: known.is_some(), ..network.clone() })?;
    if let Err(failed) = apply_or_renew(session, &take) {
        let restored = match known {
            _ if !failed.clean => Ok(()),
            Some(known) => session.store.put_network(&known),
            None => session.store.forget_network(&network.bridge),
        };
        return Err(failed.error.also(restored.err()));
    }
    session.store.put_network(&network)
}
