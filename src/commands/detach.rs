//! A container gives its network back.

use std::path::Path;

use super::Settings;
use super::reap::remove;
use super::session::Session;
use crate::error::{Error, Result};
use crate::hook::Container;
use crate::store::Records;
use crate::store::record::Record;

/// Detaches the container that a runtime's state describes, by its record and nothing else.
/// One that was never attached, or is detached already, is fine.
///
/// # Errors
/// Something could not be undone: it stays recorded, and the next run tries again.
pub fn detach(settings: &Settings, container: &Container) -> Result<()> {
    detach_entry(settings, &container.id, &container.bundle)
}

/// Detaches the container called `id`, which may still be running.
///
/// # Errors
/// As for [`detach`]; or containers of two bundles have this id.
pub fn detach_id(settings: &Settings, id: &str) -> Result<()> {
    let known = Records::read(&settings.state_dir)?;
    match by_id(&known, id)? {
        Some(record) => detach_entry(settings, id, &record.bundle),
        None => Ok(()),
    }
}

fn detach_entry(settings: &Settings, id: &str, bundle: &Path) -> Result<()> {
    settings.warn_of_files();
    if !settings.state_dir.exists() {
        return Ok(());
    }
    let mut session = Session::open(settings)?;
    let Some(entry) = session.container(id, bundle)? else {
        return Ok(());
    };
    if !entry.published.is_empty() {
        session.kernel.expect_rules();
    }
    remove(&mut session, vec![entry])?;
    session.close()
}

/// The one container called `id`, if there is one.
///
/// # Errors
/// There are several, in different bundles.
pub(super) fn by_id<'a>(records: &'a Records, id: &str) -> Result<Option<&'a Record>> {
    let mut called = records.containers.iter().filter(|record| record.id == id);
    let first = called.next();
    match (first, called.next()) {
        (Some(one), Some(other)) => Err(Error::new(
            format!("find container {id}"),
            format!("there are two: in {} and in {}", one.bundle.display(), other.bundle.display()),
        )
        .hint("pipe in a state JSON with id and bundle")),
        _ => Ok(first),
    }
}
