//! Why traffic fails, and what mends it.
//!
//! Looks, and sends where that is asked for; changes nothing unless it is told to, and then
//! only what is ours.

mod container;
mod host;
mod mend;

use serde::Serialize;

use super::detach::by_id;
use super::{Settings, print, warn_of_damage};
use crate::doctor::{self, Facts, Finding};
use crate::error::{Doing, Error, Result};
use crate::log::Log;
use crate::store::Records;

/// How often to look again after something was mended: one fault may hide another.
const ROUNDS: usize = 4;

/// What is asked for besides looking.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wishes {
    /// To send packets too, on this machine only.
    pub probe: bool,
    /// To mend what is ours.
    pub fix: bool,
    /// To tell it as a JSON array.
    pub json: bool,
}

/// A finding as `--json` shows it. Fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    check: &'static str,
    object: &'a str,
    why: &'a str,
    remedy: Option<&'a str>,
    hint: Option<&'a str>,
    /// Whether it was mended; `--fix` would do so where it is `fixable`.
    fixed: bool,
    fixable: bool,
}

impl<'a> Shown<'a> {
    fn new(Finding { check, object, why, remedy, advice, fix }: &'a Finding, fixed: bool) -> Self {
        Self {
            check: check.name(),
            object,
            why,
            remedy: remedy.as_deref(),
            hint: advice.as_deref(),
            fixed,
            fixable: fix.is_some(),
        }
    }
}

/// Looks at the container called `id`, or at everything, and says what is wrong. Whether nothing
/// is, or nothing is left after mending.
///
/// # Errors
/// There is no container called `id`, or several; the kernel does not answer.
pub fn doctor(settings: &Settings, id: Option<&str>, wishes: Wishes) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::new("look for faults", "only root may look into containers and at rules"));
    }
    let mut facts = look(settings, id, wishes.probe)?;
    let mut left = doctor::diagnose(&facts);
    let mut mended = Vec::new();
    for _ in 0..ROUNDS {
        let (ours, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut left).into_iter().partition(|finding| wishes.fix && finding.fix.is_some());
        left = others;
        if ours.is_empty() {
            break;
        }
        mend_all(settings, &facts, &ours);
        facts = look(settings, id, wishes.probe)?;
        left = doctor::diagnose(&facts);
        // What is still there was not mended, and will not be by trying again.
        let stays = |finding: &Finding| {
            left.iter().any(|other| other.check == finding.check && other.object == finding.object)
        };
        let (stuck, done): (Vec<_>, Vec<_>) = ours.into_iter().partition(stays);
        mended.extend(done);
        if !stuck.is_empty() {
            break;
        }
    }
    tell(&facts, &mended, &left, wishes.json)?;
    Ok(left.is_empty())
}

fn look(settings: &Settings, id: Option<&str>, probe: bool) -> Result<Facts> {
    let records = Records::read(&settings.state_dir)?;
    warn_of_damage(&settings.log, &records.damaged);
    let wanted = match id {
        None => None,
        Some(id) => Some(by_id(&records, id)?.cloned().ok_or_else(|| {
            Error::new(format!("look at container {id}"), "no container of this id is attached")
                .hint("`netns ls` shows those that are")
        })?),
    };
    let mut facts = host::look(records)?;
    if let Some(record) = &wanted {
        facts.networks.retain(|network| network.bridge == record.bridge);
    }
    let me = |other: &doctor::facts::Container| {
        wanted
            .as_ref()
            .is_none_or(|record| record.id == other.record.id && record.bundle == other.record.bundle)
    };
    container::look(&mut facts, probe, me)?;
    facts.containers.retain(me);
    Ok(facts)
}

fn mend_all(settings: &Settings, facts: &Facts, ours: &[Finding]) {
    for finding in ours {
        if let Some(fix) = &finding.fix
            && let Err(error) = mend::mend(settings, facts, fix)
        {
            warn(&settings.log, finding, error);
        }
    }
}

fn warn(log: &Log, finding: &Finding, error: Error) {
    log.warn(&error.during(format!("mend {} of {}", finding.check.name(), finding.object)));
}

fn tell(facts: &Facts, mended: &[Finding], left: &[Finding], json: bool) -> Result<()> {
    if json {
        let all = mended.iter().map(|finding| Shown::new(finding, true));
        let all: Vec<Shown<'_>> = all.chain(left.iter().map(|finding| Shown::new(finding, false))).collect();
        let text = serde_json::to_string_pretty(&all).doing(|| "write JSON")?;
        return print(&format!("{text}\n"));
    }
    let mut text: String = mended.iter().map(|finding| format!("{finding}\n  mended\n")).collect();
    text.extend(left.iter().map(|finding| format!("{finding}\n")));
    if left.is_empty() {
        let (containers, networks) = (facts.containers.len(), facts.networks.len());
        text.push_str(&format!(
            "nothing is wrong: {} on {}\n",
            count(containers, "container"),
            count(networks, "network")
        ));
    }
    print(&text)
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
