//! Taking steps and undoing them: the two walks over a list, and nothing about what a step is.
//!
//! There are two lanes, which do not depend on each other: the firewall's program is started
//! first and awaited last, and everything else happens meanwhile, step by step.

use crate::error::{Error, Result};
use crate::firewall::{Change, Rule};
use crate::plan::Step;

/// What can take steps: the kernel, or a fake of it.
pub trait Target {
    /// Starts to add or remove all of `rules`, as one.
    ///
    /// # Errors
    /// It cannot be started.
    fn start_rules(&mut self, change: Change, rules: &[&Rule]) -> Result<()>;

    /// Waits for what [`Self::start_rules`] started; nothing started is fine.
    ///
    /// # Errors
    /// The rules could not be changed. Adding may have been done in part, removing is done as
    /// far as possible.
    fn finish_rules(&mut self) -> Result<()>;

    /// Takes one step of another kind.
    ///
    /// # Errors
    /// The step was not taken, and nothing of it was done.
    fn apply(&mut self, step: &Step) -> Result<()>;

    /// Undoes one step of another kind. Already gone is success.
    ///
    /// # Errors
    /// What the step made is still there.
    fn undo(&mut self, step: &Step) -> Result<()>;
}

/// Why [`apply`] failed.
#[derive(Debug)]
pub struct Failed {
    /// The first failure, and whatever went wrong while undoing.
    pub error: Error,
    /// Whether everything that had been done is undone.
    pub clean: bool,
    /// Whether it was the rules alone that could not be added, though they could be tried.
    pub rules: bool,
}

/// Takes all steps, or none: after a failure those that were taken are undone.
///
/// # Errors
/// A step failed.
pub fn apply(steps: &[Step], target: &mut impl Target) -> std::result::Result<(), Failed> {
    let (rules, others) = lanes(steps);
    let mut taken = Vec::new();
    let mut failure = None;
    let mut added = target.start_rules(Change::Add, &rules);
    let started = added.is_ok();
    if started {
        for step in others {
            if let Err(error) = target.apply(step) {
                failure = Some(error);
                break;
            }
            taken.push(step.clone());
        }
        added = target.finish_rules();
        // Each table is a transaction of its own: a failure may leave half of the rules.
        taken.extend(rules.into_iter().cloned().map(Step::Firewall));
    }
    let rules = started && failure.is_none() && added.is_err();
    let Some(error) = Error::merge(failure.into_iter().chain(added.err())) else {
        return Ok(());
    };
    let undoing = undo(&taken, target).err();
    Err(Failed { clean: undoing.is_none(), rules, error: error.also(undoing) })
}

/// Undoes all steps, the last one first, and goes on after an error.
///
/// # Errors
/// All that went wrong.
pub fn undo(steps: &[Step], target: &mut impl Target) -> Result<()> {
    let (rules, others) = undoing(steps);
    let mut failures: Vec<Error> = target.start_rules(Change::Remove, &rules).err().into_iter().collect();
    for step in others {
        failures.extend(target.undo(step).err());
    }
    failures.extend(target.finish_rules().err());
    Error::merge(failures).map_or(Ok(()), Err)
}

/// What [`undo`] tells its target of `steps`, in the dialect of their `Display`.
pub fn undo_lines(steps: &[Step]) -> Vec<String> {
    let (rules, others) = undoing(steps);
    let rules = rules.into_iter().cloned().map(Step::Firewall);
    let texts = rules.chain(others.into_iter().cloned()).map(|step| step.to_string());
    texts.flat_map(|text| text.lines().map(|line| format!("undo {line}")).collect::<Vec<_>>()).collect()
}

fn undoing(steps: &[Step]) -> (Vec<&Rule>, Vec<&Step>) {
    let (rules, others) = lanes(steps);
    (rules, others.into_iter().rev().filter(|step| step.is_undone()).collect())
}

fn lanes(steps: &[Step]) -> (Vec<&Rule>, Vec<&Step>) {
    let mut rules = Vec::new();
    let mut others = Vec::new();
    for step in steps {
        match step {
            Step::Firewall(rule) => rules.push(rule),
            other => others.push(other),
        }
    }
    (rules, others)
}
