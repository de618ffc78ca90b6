//! What the dead and the interrupted left behind: no runtime can be trusted to call `poststop`.

use crate::apply::{undo, undo_lines};
use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::kernel::process;
use crate::log::Log;
use crate::plan::Step;
use crate::store::Store;
use crate::store::record::{Network, Record, Survey};

/// Undoes and forgets every container that is dead or was attached half way only, and every
/// network that was created half way only.
///
/// What cannot be undone stays recorded for the next run, and stops nobody.
pub(super) fn reap(store: &Store, survey: &mut Survey, kernel: &mut Kernel, log: &Log) {
    let dead = take_out_dead(survey);
    for record in &dead {
        log.debug(&reaping(record));
    }
    if let Err(error) = remove(store, survey, kernel, dead) {
        log.warn(&error);
    }
    for network in take_out(&mut survey.networks, |network| !network.done) {
        log.debug(&format!("# reap network {}", network.bridge));
        if let Err(error) = remove_network(store, survey, kernel, network) {
            log.warn(&error);
        }
    }
}

/// What [`reap`] would do for the containers in `survey`, which it takes out of it.
pub(super) fn reap_lines(survey: &mut Survey) -> Vec<String> {
    let dead = take_out_dead(survey);
    let steps = shared_with_nobody(survey, &dead);
    dead.iter().map(reaping).chain(undo_lines(&steps)).collect()
}

fn take_out_dead(survey: &mut Survey) -> Vec<Record> {
    take_out(&mut survey.containers, |record| !record.done || !process::is_alive(&record.process))
}

fn reaping(record: &Record) -> String {
    format!("# reap container {}", record.id)
}

/// Undoes, all at once, what the records share with nobody in `survey`, where they no longer
/// are, and forgets them; if anything cannot be undone they stay recorded as unfinished.
///
/// # Errors
/// What could not be undone or written.
pub(super) fn remove(
    store: &Store,
    survey: &mut Survey,
    kernel: &mut Kernel,
    mut records: Vec<Record>,
) -> Result<()> {
    let undone = undo(&shared_with_nobody(survey, &records), kernel);
    let mut failures: Vec<Error> = Vec::new();
    for record in &mut records {
        let recorded = if undone.is_ok() {
            store.forget(record)
        } else {
            record.done = false;
            store.put(record)
        };
        failures.extend(recorded.err());
    }
    if undone.is_err() {
        survey.containers.extend(records);
    }
    Error::merge(undone.err().into_iter().chain(failures)).map_or(Ok(()), Err)
}

/// All steps of `records`, each once, that nobody in `survey` holds.
fn shared_with_nobody(survey: &Survey, records: &[Record]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for step in records.iter().flat_map(|record| survey.unshared(&record.steps)) {
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

/// As [`remove`], for a network.
///
/// # Errors
/// What could not be undone or written.
pub(super) fn remove_network(
    store: &Store,
    survey: &mut Survey,
    kernel: &mut Kernel,
    mut network: Network,
) -> Result<()> {
    let undone = undo(&survey.unshared(&network.steps), kernel);
    if undone.is_ok() {
        return store.forget_network(&network.bridge);
    }
    network.done = false;
    let recorded = store.put_network(&network);
    survey.networks.push(network);
    undone.and(recorded)
}

fn take_out<T>(all: &mut Vec<T>, which: impl Fn(&T) -> bool) -> Vec<T> {
    let (out, stay) = std::mem::take(all).into_iter().partition(which);
    *all = stay;
    out
}
