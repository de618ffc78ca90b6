//! Applying steps and undoing them: two walks over one list, and nothing about what a step is.
//!
//! The firewall's program is started first and awaited last, and everything else happens
//! meanwhile, step by step: neither depends on the other.

use crate::error::{Error, Kind, Result};
use crate::model::rule::{Change, Rule};
use crate::model::step::Step;

/// What can apply steps: the machine, or a fake of it.
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
    /// far as possible. Of the kind [`Kind::Busy`] if nothing was done, as another program is at
    /// them; of [`Kind::TimedOut`] if the firewall does not answer.
    fn finish_rules(&mut self) -> Result<()>;

    /// Applies one step of another kind.
    ///
    /// # Errors
    /// The step was not applied, and nothing of it was done.
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

/// Applies all steps, or none: after a failure those that were applied are undone.
///
/// # Errors
/// A step failed.
pub fn apply(steps: &[&Step], target: &mut impl Target) -> std::result::Result<(), Failed> {
    let (rules, others) = split(steps);
    let mut applied: Vec<&Step> = Vec::new();
    let mut failure = None;
    let mut added = target.start_rules(Change::Add, &rules);
    let started = added.is_ok();
    if started {
        for step in others {
            if let Err(error) = target.apply(step) {
                failure = Some(error);
                break;
            }
            applied.push(step);
        }
        added = target.finish_rules();
    }
    let unanswered = added.as_ref().err().map(Error::kind);
    let unanswered = unanswered.filter(|kind| [Kind::Busy, Kind::TimedOut].contains(kind));
    if started && unanswered.is_none() {
        // Each table is a transaction of its own: a failure may leave half of the rules.
        applied.extend(steps.iter().filter(|step| step.rule().is_some()));
    }
    let rules = started && failure.is_none() && added.is_err() && unanswered.is_none();
    let Some(error) = Error::merge(failure.into_iter().chain(added.err())) else {
        return Ok(());
    };
    let undoing = undo(&applied, target).err();
    // What does not answer is not asked again: the next run removes what may be there.
    let clean = undoing.is_none() && unanswered != Some(Kind::TimedOut);
    Err(Failed { clean, rules, error: error.also(undoing) })
}

/// Undoes all steps, the last one first, and goes on after an error.
///
/// # Errors
/// All that went wrong.
pub fn undo(steps: &[&Step], target: &mut impl Target) -> Result<()> {
    let (rules, others) = split(steps);
    let mut failures: Vec<Error> = target.start_rules(Change::Remove, &rules).err().into_iter().collect();
    failures.extend(undo_others(&others, target));
    failures.extend(target.finish_rules().err());
    Error::merge(failures).map_or(Ok(()), Err)
}

/// Undoes those of the steps that are no rules, the last one first; what went wrong.
pub fn undo_others(steps: &[&Step], target: &mut impl Target) -> Vec<Error> {
    undone(steps).filter_map(|step| target.undo(step).err()).collect()
}

/// Those of the steps that are no rules and have an undoing of their own, in its order.
pub fn undone<'a>(steps: &[&'a Step]) -> impl Iterator<Item = &'a Step> {
    let others = steps.iter().rev().filter(|step| step.rule().is_none());
    others.filter(|step| step.traits().undone).copied()
}

fn split<'a>(steps: &[&'a Step]) -> (Vec<&'a Rule>, Vec<&'a Step>) {
    let rules = steps.iter().filter_map(|step| step.rule()).collect();
    (rules, steps.iter().filter(|step| step.rule().is_none()).copied().collect())
}
