//! What the hook would do, printed instead of done.

use super::reap::reap_lines;
use super::{Settings, attach, print, warn_of_damage};
use crate::apply::undo_lines;
use crate::error::{Error, Result};
use crate::hook::{Container, Wants};
use crate::kernel::{Kernel, process};
use crate::plan::Step;
use crate::store;
use crate::store::record::Survey;

/// Prints the steps that the hook would take for `container`, one command a line. Needs no
/// privilege and changes nothing; without privilege the records cannot be read, and the answer
/// is that for a machine without other containers.
///
/// # Errors
/// What would keep the hook from beginning.
pub fn plan(settings: &Settings, container: &Container) -> Result<()> {
    let survey = match store::read(&settings.state_dir) {
        Err(_) if !nix::unistd::geteuid().is_root() => {
            settings.log.warn(&Error::new(
                format!("read state directory {}", settings.state_dir.display()),
                "only root may; the plan is that for a machine without other containers",
            ));
            Survey::default()
        }
        survey => survey?,
    };
    warn_of_damage(&settings.log, &survey);
    let steps = match container.wants {
        Wants::Attach => attach_steps(settings, survey, container)?,
        Wants::Detach => detach_steps(survey, container),
    };
    print(&steps.iter().map(|line| format!("{line}\n")).collect::<String>())
}

fn attach_steps(settings: &Settings, mut survey: Survey, container: &Container) -> Result<Vec<String>> {
    let config = settings.config(&container.annotations)?;
    let process = process::look(container.pid()?, &container.id)?;
    let mut steps = reap_lines(&mut survey);
    if let Some(record) = survey.container(&container.id, &container.bundle) {
        return attach::same(record, &process).map(|()| steps);
    }
    let kernel = Kernel::open(settings.log.clone())?;
    let plan = attach::plan(&kernel, &config, &survey, container, process)?;
    steps.extend(plan.take.iter().map(Step::to_string));
    Ok(steps)
}

fn detach_steps(mut survey: Survey, container: &Container) -> Vec<String> {
    let Some(position) = survey.position(&container.id, &container.bundle) else {
        return Vec::new();
    };
    let record = survey.containers.remove(position);
    undo_lines(&survey.unshared(&record.steps))
}
