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
    if left.is_empty() {
        let containers = count(observed.containers(), "container");
        let networks = count(observed.facts.networks.len(), "network");
        text.push_str(&format!("nothing is wrong: {containers} on {networks}\n"));
    }
    text
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
