//! What the hook would do, as text. Changes nothing, and needs no privilege.

use super::leave::shares;
use super::machine::{apply_lines, undo_lines};
use super::run::Run;
use super::stale::Obstacle;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::kernel::process;
use crate::model::container::{ContainerId, Key};
use crate::model::request::Request;
use crate::model::step::{Scope, Step};
use crate::store::{Owner, Store};

/// What [`super::attach`] would do, one command a line. Without privilege the records cannot be
/// read, and the answer is that for a machine without other containers.
///
/// # Errors
/// What would keep it from beginning.
pub fn plan_attach(settings: &Settings, mut request: Request) -> Result<Vec<String>> {
    let sandbox = process::observe(&request.netns, &request.container.id)?;
    let mut run = Run::on(readable(settings)?, settings)?;
    run.warn_of_damage();
    let mut lines = Vec::new();
    let stale = run.seen_stale()?;
    lines.extend(run.clean_up_lines(&stale)?);
    run.expect_gone(stale);
    let attached = match run.namesake(&request, &sandbox) {
        Err(Obstacle::Stale(keys)) => {
            lines.extend(run.clean_up_lines(&keys)?);
            run.expect_gone(keys);
            None
        }
        other => other.map_err(error)?,
    };
    if attached.is_some() {
        return Ok(lines);
    }
    let mut host = run.observe_container(&mut request, &sandbox)?;
    let networks = run.observe_networks(&mut host, &mut request, &sandbox)?;
    let (plan, _) = run.plan(&request, &sandbox, &host, &networks).map_err(error)?;
    lines.extend(apply_lines(&plan.all_steps().collect::<Vec<_>>()));
    Ok(lines)
}

/// What [`super::detach()`] would do, one command a line.
///
/// # Errors
/// The records cannot be read.
pub fn plan_detach(settings: &Settings, container: &ContainerId) -> Result<Vec<String>> {
    let run = Run::on(readable(settings)?, settings)?;
    run.warn_of_damage();
    Ok(run.undo_lines_of(&container.key(), &[])?.unwrap_or_default())
}

/// The store, as far as the caller may read it.
fn readable(settings: &Settings) -> Result<Store> {
    let dir = &settings.state_dir;
    let readable = Store::existing(dir).and_then(|store| match store {
        Some(store) => store.all_pending().map(|_| Some(store)),
        None => Ok(None),
    });
    match readable {
        Err(_) if !nix::unistd::geteuid().is_root() => {
            settings.log.warn(&Error::new(
                format!("read state directory {}", dir.display()),
                "only root may; the plan is that for a machine without other containers",
            ));
            Ok(Store::empty())
        }
        Ok(None) => Ok(Store::empty()),
        Ok(Some(store)) => Ok(store),
        Err(error) => Err(error),
    }
}

fn error(obstacle: Obstacle) -> Error {
    let busy = |cause: String| Error::new("plan", cause).of(Kind::Busy);
    match obstacle {
        Obstacle::Failed(error) => error,
        Obstacle::Busy(key) => busy(format!("another run is at container {}", key.id())),
        Obstacle::Stale(keys) => {
            let ids: Vec<&str> = keys.iter().map(Key::id).collect();
            busy(format!("what is left of {} is removed first", ids.join(", ")))
        }
        Obstacle::Rules | Obstacle::Again => busy("another run is at the network".to_owned()),
    }
}

impl Run<'_> {
    /// Plans as if these were cleaned up.
    fn expect_gone(&mut self, keys: Vec<Key>) {
        self.store = self.store.without(&keys);
        self.given_up.extend(keys);
    }

    /// Those of the ones that need attention that would be cleaned up.
    fn seen_stale(&mut self) -> Result<Vec<Key>> {
        let mut stale = Vec::new();
        for owner in self.glance()? {
            let Owner::Container(key) = owner else { continue };
            let Some(Ok(record)) = self.store.record(&key)? else { continue };
            if self.store.pending(&key)?.is_some() || !self.lives(&record, false)? {
                stale.push(key);
            }
        }
        Ok(stale)
    }

    fn clean_up_lines(&self, keys: &[Key]) -> Result<Vec<String>> {
        let mut lines: Vec<String> =
            keys.iter().map(|key| format!("# clean up container {}", key.id())).collect();
        for key in keys {
            lines.extend(self.undo_lines_of(key, keys)?.unwrap_or_default());
        }
        Ok(lines)
    }

    /// What undoing a container tells the machine, where `leaving` leave with it; `None` without
    /// a record.
    fn undo_lines_of(&self, key: &Key, leaving: &[Key]) -> Result<Option<Vec<String>>> {
        let Some(Ok(record)) = self.store.record(key)? else { return Ok(None) };
        let mut mates = Vec::new();
        for mate in self.store.in_netns(record.sandbox.netns)? {
            if mate != *key && !leaving.contains(&mate) {
                mates.extend(self.store.record(&mate)?.and_then(std::result::Result::ok));
            }
        }
        let mut steps: Vec<&Step> = Vec::new();
        for step in &record.steps {
            let stays = match step.shared_name() {
                Some(name) => self.store.sharers(&name)?.iter().any(|owner| match owner {
                    Owner::Container(other) => other != key && !leaving.contains(other),
                    Owner::Network(_) | Owner::Unknown => true,
                }),
                None => mates.iter().any(|mate| shares(mate, step)),
            };
            if !stays {
                steps.push(step);
            }
        }
        // As they are removed: what is shared after what stands in it, and so told before.
        let (shared, own): (Vec<&Step>, Vec<&Step>) = steps
            .into_iter()
            .partition(|step| step.rule().is_some() && step.traits().scope != Scope::Container);
        Ok(Some(undo_lines(&shared.into_iter().chain(own).collect::<Vec<_>>())))
    }
}
