//! Why traffic fails, and what mends it.
//!
//! Looks, and sends where that is asked for; changes nothing unless it is told to, and then
//! only what is ours.

mod container;
mod host;
mod mend;

use std::path::Path;

use serde::Serialize;

use super::detach::by_id;
use super::{Settings, print, warn_of_damage};
use crate::config::DEFAULT_STATE_DIR;
use crate::doctor::facts::Container;
use crate::doctor::ruleset::is_plain;
use crate::doctor::{self, Facts, Finding};
use crate::error::{Doing, Error, Result};
use crate::log::Log;
use crate::store::Records;
use crate::store::record::Record;

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
    let mut seen = look(settings, id, wishes.probe)?;
    let mut left = seen.findings();
    let mut mended = Vec::new();
    for _ in 0..ROUNDS {
        let (ours, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|finding| wishes.fix && finding.fix.is_some());
        left = others;
        if ours.is_empty() {
            break;
        }
        mend_all(settings, &seen.facts, &ours);
        seen = look(settings, id, wishes.probe)?;
        left = seen.findings();
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
    tell(&seen, &mended, &left, wishes.json)?;
    Ok(left.is_empty())
}

/// What was seen, and whom it is about.
struct Seen {
    facts: Facts,
    /// The one container that was asked for.
    about: Option<Record>,
}

impl Seen {
    fn is_about(&self, container: &Container) -> bool {
        is(self.about.as_ref(), container)
    }

    /// What is wrong with it, its network and the host; its neighbours are not asked for.
    fn findings(&self) -> Vec<Finding> {
        let others = self.facts.containers.iter().filter(|container| !self.is_about(container));
        let others: Vec<String> = others.map(Container::object).collect();
        let mut findings = doctor::diagnose(&self.facts);
        findings.retain(|finding| !others.contains(&finding.object));
        findings
    }
}

fn is(about: Option<&Record>, container: &Container) -> bool {
    let Container { record, .. } = container;
    about.is_none_or(|about| about.id == record.id && about.bundle == record.bundle)
}

fn look(settings: &Settings, id: Option<&str>, probe: bool) -> Result<Seen> {
    let records = Records::read(&settings.state_dir)?;
    warn_of_damage(&settings.log, &records.damaged);
    let about = match id {
        None => None,
        Some(id) => Some(by_id(&records, id)?.cloned().ok_or_else(|| {
            Error::new(format!("look at container {id}"), "no container of this id is attached")
                .hint("`netns ls` shows those that are")
        })?),
    };
    let mut facts = host::look(records)?;
    if settings.state_dir != Path::new(DEFAULT_STATE_DIR) {
        facts.netns = format!("netns --state-dir {}", quoted(&settings.state_dir));
    }
    if let Some(record) = &about {
        let bridge = record.bridge.as_ref().ok_or_else(|| {
            Error::new(format!("look at container {}", record.id), "it is on no bridge of ours")
                .hint("`netns inspect` shows its interfaces")
        })?;
        facts.networks.retain(|network| network.bridge == *bridge);
        facts.containers.retain(|container| container.bridge == *bridge);
    }
    container::look(&mut facts, |container| probe && is(about.as_ref(), container));
    Ok(Seen { facts, about })
}

/// For a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if is_plain(&text, b"_.-/") { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
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

fn tell(seen: &Seen, mended: &[Finding], left: &[Finding], json: bool) -> Result<()> {
    if json {
        let all = mended.iter().map(|finding| Shown::new(finding, true));
        let all: Vec<Shown<'_>> = all.chain(left.iter().map(|finding| Shown::new(finding, false))).collect();
        let text = serde_json::to_string_pretty(&all).doing(|| "write JSON")?;
        return print(&format!("{text}\n"));
    }
    let mut text: String = mended.iter().map(|finding| format!("{finding}\n  mended\n")).collect();
    text.extend(left.iter().map(|finding| format!("{finding}\n")));
    if left.is_empty() {
        let containers = seen.facts.containers.iter().filter(|container| seen.is_about(container)).count();
        let networks = seen.facts.networks.len();
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
