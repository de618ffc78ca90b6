//! What the hook would do, printed instead of done.

use super::reap::{Look, find_dead, shared_with_nobody};
use super::{Settings, attach, print, warn_of_damage};
use crate::apply::undo_lines;
use crate::error::{Error, Result};
use crate::hook::{Container, Wants};
use crate::kernel::{Kernel, process};
use crate::plan::Step;
use crate::store::Records;
use crate::store::index::Entry;
use crate::store::record::{Record, Survey};

/// Prints the steps that the hook would take for `container`, one command a line. Needs no
/// privilege and changes nothing; without privilege the records cannot be read, and the answer
/// is that for a machine without other containers.
///
/// # Errors
/// What would keep the hook from beginning.
pub fn plan(settings: &Settings, container: &Container) -> Result<()> {
    let records = match Records::read(&settings.state_dir) {
        Err(_) if !nix::unistd::geteuid().is_root() => {
            settings.log.warn(&Error::new(
                format!("read state directory {}", settings.state_dir.display()),
                "only root may; the plan is that for a machine without other containers",
            ));
            Records::default()
        }
        records => records?,
    };
    warn_of_damage(&settings.log, &records.damaged);
    let steps = match container.wants {
        Wants::Attach => attach_steps(settings, records, container)?,
        Wants::Detach => detach_steps(records, container),
    };
    print(&steps.iter().map(|line| format!("{line}\n")).collect::<String>())
}

fn attach_steps(settings: &Settings, records: Records, container: &Container) -> Result<Vec<String>> {
    let config = settings.config(&container.annotations)?;
    let process = process::look(container.pid()?, &container.id)?;
    let kernel = Kernel::look(settings.log.clone())?;
    let all = records.containers.clone();
    let mut survey = records.survey();
    let mut steps = reap_steps(&mut survey, &all, &kernel)?;
    if let Some(entry) = survey.container(&container.id, &container.bundle) {
        return attach::same(entry, &process).map(|()| steps);
    }
    let owner = survey.inhabitant(process.netns).and_then(|entry| record_of(&all, entry));
    let host = attach::look(&kernel, &config)?;
    let plan = attach::plan(&kernel, host, &config, &survey, container, &process, owner)?;
    steps.extend(plan.take.iter().map(Step::to_string));
    Ok(steps)
}

/// What the hook does first, for those that are dead; they are taken out of `survey`.
fn reap_steps(survey: &mut Survey, all: &[Record], kernel: &Kernel) -> Result<Vec<String>> {
    let dead = find_dead(survey, kernel.netlink(), Look::Close)?;
    survey.containers.retain(|entry| !dead.contains(entry));
    let records: Vec<&Record> = dead.iter().filter_map(|entry| record_of(all, entry)).collect();
    let undone = shared_with_nobody(survey, records.iter().map(|record| record.steps.clone()));
    let who = dead.iter().map(|entry| format!("# reap container {}", entry.id));
    Ok(who.chain(undo_lines(&undone)).collect())
}

fn record_of<'a>(all: &'a [Record], entry: &Entry) -> Option<&'a Record> {
    all.iter().find(|record| record.id == entry.id && record.bundle == entry.bundle)
}

fn detach_steps(mut records: Records, container: &Container) -> Vec<String> {
    let is = |record: &Record| record.id == container.id && record.bundle == container.bundle;
    let Some(position) = records.containers.iter().position(is) else {
        return Vec::new();
    };
    let record = records.containers.remove(position);
    undo_lines(&records.survey().unshared(&record.steps))
}
