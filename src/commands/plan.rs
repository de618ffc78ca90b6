//! What the hook would do, printed instead of done.

use super::{Settings, attach, print, warn_of_damage};
use crate::error::{Error, Result};
use crate::hook::{Container, Wants};
use crate::kernel::{Kernel, process};
use crate::plan::Step;
use crate::store::Records;
use crate::store::record::Record;

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
    let same = |record: &&Record| process.netns != 0 && record.process.netns == process.netns;
    let owner = records.containers.iter().find(same).cloned();
    let survey = records.survey();
    let known = survey.container(&container.id, &container.bundle);
    if known.is_some_and(|known| known.process == process) {
        return Ok(Vec::new());
    }
    let kernel = Kernel::look(settings.log.clone())?;
    let plan = attach::plan(&kernel, &config, &survey, container, process, owner.as_ref())?;
    Ok(plan.take.iter().map(Step::to_string).collect())
}

fn detach_steps(mut records: Records, container: &Container) -> Vec<String> {
    let is = |record: &Record| record.id == container.id && record.bundle == container.bundle;
    let Some(position) = records.containers.iter().position(is) else {
        return Vec::new();
    };
    let record = records.containers.remove(position);
    let undone = records.survey().unshared(&record.steps);
    let text = |step: &Step| step.to_string().lines().map(|line| format!("undo {line}")).collect::<Vec<_>>();
    undone.iter().rev().filter(|step| step.is_undone()).flat_map(text).collect()
}
