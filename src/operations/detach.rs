//! A container gives its network back.

use super::find::find;
use super::run::Run;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::model::container::{ContainerId, Key};
use crate::model::record::Record;
use crate::store::{Pending, Records, Store};

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
    let done = Run::existing(settings).and_then(|run| {
        let Some(mut run) = run else { return Ok(()) };
        run.record_of(container)?;
        run.detach(&[container.key()])
    });
    done.map_err(|error| error.also(leave_later(settings, container).err()))
}

/// Says that a container is to leave, whoever holds the lock: a run that could not even begin is
/// not made again by any runtime, and the namespace may outlive its process.
fn leave_later(settings: &Settings, container: &ContainerId) -> Result<()> {
    let Some(store) = Store::existing(&settings.state_dir)? else { return Ok(()) };
    let key = container.key();
    match store.record(&key)? {
        Some(Ok(record)) if record.container == *container && store.pending(&key)?.is_none() => {
            store.set_pending(&key, Pending::Leaving)
        }
        _ => Ok(()),
    }
}

/// Detaches the container that is called `name` (see [`find`]), which may still be running.
///
/// # Errors
/// As for [`detach`]; or there is none, or there are several.
pub fn detach_named(settings: &Settings, name: &str) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    let unknown = match find(&records, "detach", name) {
        Ok(record) => return detach(settings, &record.container),
        Err(error) if error.kind() == Kind::NotFound => error,
        Err(error) => return Err(error),
    };
    // One whose record is damaged or lost is known by its key alone.
    let Some(mut run) = Run::existing(settings)? else { return Err(unknown) };
    let claiming = run.store.all_links()?.into_iter().filter_map(|(_, owner)| owner.container());
    let called = records.damaged_keys().chain(claiming).find(|key| key.id() == name);
    run.detach(&[called.ok_or(unknown)?])
}

/// Detaches every container that `is_one` of those who are to leave, all at once.
///
/// # Errors
/// As for [`detach`], of each.
pub fn detach_all(settings: &Settings, is_one: impl Fn(&ContainerId) -> bool) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    let leaving = records.containers.iter().filter(|record| is_one(&record.container));
    let leaving: Vec<Key> = leaving.map(Record::key).collect();
    let run = if leaving.is_empty() { None } else { Run::existing(settings)? };
    run.map_or(Ok(()), |mut run| run.detach(&leaving))
}

impl Run<'_> {
    /// Detaches these, all at once.
    fn detach(&mut self, keys: &[Key]) -> Result<()> {
        self.warn_of_damage();
        let mut staying = keys.to_vec();
        for _ in 0..ATTEMPTS {
            self.expect_removal(&staying)?;
            let lock = self.store.lock()?;
            let mut known = Vec::new();
            for key in staying {
                // Where claims tell of it, a record that is not there does not say that nothing was done.
                let unknown = self.record(&key)?.is_none() && !self.store.is_set_aside(&key);
                if unknown && self.store.links_of(&key)?.is_empty() {
                    self.store.forget_key(&key)?;
                } else {
                    known.push(key);
                }
            }
            staying = if known.is_empty() { known } else { self.leave(lock, &known)? };
            if staying.is_empty() {
                return Ok(());
            }
            self.wait_for(&staying)?;
        }
        staying.first().map_or(Ok(()), |key| Err(busy(key)))
    }

    /// Starts a program of the firewall ahead of its orders, unless there will be none: another
    /// run that is removing rules by now takes this container's along.
    fn expect_removal(&mut self, keys: &[Key]) -> Result<()> {
        let mut expected = Vec::new();
        for key in keys {
            let record = self.store.record(key)?.and_then(std::result::Result::ok);
            expected
                .extend(record.iter().flat_map(Record::rules).map(|rule| (rule.backend(), rule.family())));
        }
        expected.sort_unstable();
        expected.dedup();
        let nobody_is_at_it = !expected.is_empty() && self.store.try_removals()?.is_some();
        self.share_rules(if nobody_is_at_it { &expected } else { &[] })
    }
}

pub(super) fn busy(key: &Key) -> Error {
    let cause = format!("other runs were at container {} all the time", key.id());
    Error::new("wait for other runs", cause).of(Kind::Busy)
}
