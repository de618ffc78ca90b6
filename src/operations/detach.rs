//! A container gives its network back.

use super::run::Run;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::model::container::{ContainerId, Key};
use crate::model::record::Record;
use crate::store::{Held, Records};

/// How often to look again after having waited for another run.
const ATTEMPTS: usize = 16;

/// Detaches a container, by its record and nothing else. One that was never attached, or is
/// detached already, is fine.
///
/// ```text
/// lock: say that it leaves, and which shared steps go with it    unlock
/// undo its steps, its rules together with those of all that are leaving
/// lock: forget its claims and its record                         unlock
/// ```
///
/// # Errors
/// Something could not be undone: it stays recorded, and the next run tries again.
pub fn detach(settings: &Settings, container: &ContainerId) -> Result<()> {
    settings.warn_of_files();
    let Some(mut run) = Run::existing(settings)? else { return Ok(()) };
    let key = container.key();
    for _ in 0..ATTEMPTS {
        let lock = run.store.lock()?;
        run.warn_of_damage();
        let Some(record) = run.record(&key)? else {
            return if run.store.is_set_aside(&key) {
                run.leave(lock, &[key])
            } else {
                run.store.forget_key(&key)
            };
        };
        if let Held::Busy = run.store.hold(&key)? {
            drop(lock);
            run.store.wait_for(&key)?;
            continue;
        }
        if !record.ports.is_empty() {
            run.machine.firewall.expect();
        }
        return run.leave(lock, &[key]);
    }
    Err(busy(&key))
}

/// Detaches the container called `id`, which may still be running.
///
/// # Errors
/// As for [`detach`]; or containers of two bundles have this id.
pub fn detach_id(settings: &Settings, id: &str) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    if let Some(record) = by_id(&records, id)? {
        return detach(settings, &record.container);
    }
    // One whose record is damaged is known by its key alone.
    let Some(mut run) = Run::existing(settings)? else { return Ok(()) };
    let mut damaged = records.damaged.iter().filter_map(|(path, _)| Key::parse(path.file_stem()?.to_str()?));
    let Some(key) = damaged.find(|key| key.id() == id) else { return Ok(()) };
    let lock = run.store.lock()?;
    run.warn_of_damage();
    run.leave(lock, &[key])
}

/// The one container called `id`, if there is one.
///
/// # Errors
/// There are several, in different bundles.
pub fn by_id<'a>(records: &'a Records, id: &str) -> Result<Option<&'a Record>> {
    let mut called = records.containers.iter().filter(|record| record.id() == id);
    let first = called.next();
    match (first, called.next()) {
        (Some(one), Some(other)) => {
            let [one, other] = [one, other].map(|record| record.container.bundle.display().to_string());
            let error =
                Error::new(format!("find container {id}"), format!("there are two: in {one} and in {other}"));
            Err(error.of(Kind::Input).hint("pipe in a state JSON with id and bundle"))
        }
        _ => Ok(first),
    }
}

pub(super) fn busy(key: &Key) -> Error {
    let cause = format!("other runs were at container {} all the time", key.id());
    Error::new("wait for other runs", cause).of(Kind::Busy)
}
