//! A container gives its network back.

use super::find::find;
use super::run::Run;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::model::container::{ContainerId, Key};
use crate::model::record::Record;
use crate::store::{Owner, Pending, Records, Store};

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
        run.detach(&container.key())
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
    let damaged = records.damaged.iter().filter_map(|(path, _)| Key::parse(path.file_stem()?.to_str()?));
    let claiming = run.store.all_links()?.into_iter().filter_map(|(_, owner)| match owner {
        Owner::Container(key) => Some(key),
        Owner::Network(_) | Owner::Unknown => None,
    });
    let called = damaged.chain(claiming).find(|key| key.id() == name);
    run.detach(&called.ok_or(unknown)?)
}

/// Detaches every container that `is_one` of those who are to leave.
///
/// # Errors
/// As for [`detach`], of each.
pub fn detach_all(settings: &Settings, is_one: impl Fn(&ContainerId) -> bool) -> Result<()> {
    let records = Records::read(&settings.state_dir)?;
    let leaving =
        records.containers.iter().map(|record| &record.container).filter(|container| is_one(container));
    let failures = leaving.filter_map(|container| detach(settings, container).err());
    Error::merge(failures.collect::<Vec<_>>()).map_or(Ok(()), Err)
}

impl Run {
    fn detach(&mut self, key: &Key) -> Result<()> {
        self.warn_of_damage();
        for _ in 0..ATTEMPTS {
            self.expect_removal(key)?;
            let lock = self.store.lock()?;
            // Where claims tell of it, a record that is not there does not say that nothing was done.
            let unknown = self.record(key)?.is_none() && !self.store.is_set_aside(key);
            if unknown && self.store.links_of(key)?.is_empty() {
                return self.store.forget_key(key);
            }
            let busy = self.leave(lock, std::slice::from_ref(key))?;
            if busy.is_empty() {
                return Ok(());
            }
            self.wait_for(&busy)?;
        }
        Err(busy(key))
    }

    /// Starts a program of the firewall ahead of its orders, unless there will be none: another
    /// run that is removing rules by now takes this container's along.
    fn expect_removal(&mut self, key: &Key) -> Result<()> {
        let record = self.store.record(key)?.and_then(std::result::Result::ok);
        let rules = record.iter().flat_map(Record::rules);
        let mut expected: Vec<_> = rules.map(|rule| (rule.backend(), rule.family())).collect();
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
