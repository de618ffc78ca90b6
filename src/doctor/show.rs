//! Findings as text, and as JSON.

use serde::Serialize;

use super::Finding;
use super::observe::Observed;
use crate::error::{Doing, Result};
use crate::log::print;

/// A finding as `--json` shows it. Fields are added, never renamed.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    check: &'static str,
    object: &'a str,
    why: &'a str,
    remedy: Option<&'a str>,
    hint: Option<&'a str>,
    /// Whether it was fixed; `--fix` would do so where it is `fixable`.
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

/// Prints what was fixed and what is left.
pub(super) fn show(observed: &Observed, fixed: &[Finding], left: &[Finding], json: bool) -> Result<()> {
    let text = if json { as_json(fixed, left)? } else { as_text(observed, fixed, left) };
    print(&text)
}

fn as_json(fixed: &[Finding], left: &[Finding]) -> Result<String> {
    let fixed = fixed.iter().map(|finding| Shown::new(finding, true));
    let left = left.iter().map(|finding| Shown::new(finding, false));
    let all: Vec<Shown<'_>> = fixed.chain(left).collect();
    Ok(serde_json::to_string_pretty(&all).doing(|| "write JSON")? + "\n")
}

fn as_text(observed: &Observed, fixed: &[Finding], left: &[Finding]) -> String {
    let mut text: String = fixed.iter().map(|finding| format!("{finding}\n  fixed\n")).collect();
    text.extend(left.iter().map(|finding| format!("{finding}\n")));
    let mut parts = Vec::new();
    if !fixed.is_empty() {
        parts.push(format!("{} fixed", count(fixed.len(), "fault")));
    }
    parts.push(match left.iter().filter(|finding| finding.fix.is_some()).count() {
        _ if left.is_empty() => "nothing is wrong".to_owned(),
        0 => count(left.len(), "fault"),
        fixable => format!("{}, of which --fix fixes {fixable}", count(left.len(), "fault")),
    });
    let containers = count(observed.containers(), "container");
    let networks = count(observed.facts.networks.len() + observed.facts.parents.len(), "network");
    text + &format!("{}: {containers} on {networks}\n", parts.join(", "))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
