//! A container gives its network back.

use std::path::Path;

use super::reap::remove;
use super::{Settings, warn_of_damage};
use crate::error::{Error, Result};
use crate::hook::Container;
use crate::kernel::Kernel;
use crate::store::record::{Record, Survey};
use crate::store::{self, Store};

/// Detaches the container that a runtime's state describes, by its record and nothing else.
/// One that was never attached, or is detached already, is fine.
///
/// # Errors
/// Something could not be undone: it stays recorded, and the next run tries again.
pub fn detach(settings: &Settings, container: &Container) -> Result<()> {
    detach_record(settings, &container.id, &container.bundle)
}

/// Detaches the container called `id`, which may still be running.
///
/// # Errors
/// As for [`detach`]; or containers of two bundles have this id.
pub fn detach_id(settings: &Settings, id: &str) -> Result<()> {
    let known = store::read(&settings.state_dir)?;
    let Some(record) = by_id(&known, id)? else {
        return Ok(());
    };
    detach_record(settings, id, &record.bundle)
}

fn detach_record(settings: &Settings, id: &str, bundle: &Path) -> Result<()> {
    settings.warn_of_files();
    if !settings.state_dir.exists() {
        return Ok(());
    }
    let store = Store::lock(&settings.state_dir)?;
    let mut survey = store.survey()?;
    warn_of_damage(&settings.log, &survey);
    let Some(position) = survey.position(id, bundle) else {
        return Ok(());
    };
    let record = survey.containers.remove(position);
    let mut kernel = Kernel::open(settings.log.clone())?;
    remove(&store, &mut survey, &mut kernel, vec![record])
}

/// The one container called `id`, if there is one.
///
/// # Errors
/// There are several, in different bundles.
pub(super) fn by_id<'a>(survey: &'a Survey, id: &str) -> Result<Option<&'a Record>> {
    let mut called = survey.containers.iter().filter(|record| record.id == id);
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
