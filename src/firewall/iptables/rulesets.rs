//! Everybody's rules, as text, for those who want to know who drops a packet: what the two
//! variants of iptables print, and what nft does. Nothing is understood here.
//!
//! To read must not change anything: the legacy variant makes tables by being asked for them,
//! and is asked only where there are some.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use super::commands::{PREFIX, program};
use super::restore::{Script, Waiting};
use super::saved::{parse, words};
use crate::error::Result;
pub use crate::firewall::programs::MAX_TEXT;
use crate::firewall::programs::{Running, find};
use crate::model::rule::Family;

/// All rules for a family in the calling thread's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rulesets {
    /// Whose packets it is about; what nft prints is about those of all.
    pub family: Family,
    /// Which variant of iptables is ours.
    pub ours: Variant,
    /// What its `iptables-save` prints.
    pub saved: String,
    /// What the other variant's prints; `None` if it has no tables, or is not installed.
    pub other: Option<String>,
    /// What `nft -j list ruleset` prints; `None` if it is not installed.
    pub nft: Option<String>,
}

impl Rulesets {
    /// A rule that is not ours and lets forwarded packets pass, or gives them the host's address.
    pub fn of_others_that_forward(&self) -> Option<String> {
        let saved = self.saved.lines().chain(self.other.iter().flat_map(|text| text.lines()));
        let forwards = |line: &&str| {
            let words = words(line);
            let target = words.iter().position(|word| word == "-j").and_then(|at| words.get(at + 1));
            let target = target.map(String::as_str).unwrap_or_default();
            let translates = ["MASQUERADE", "SNAT", "NETMAP"].contains(&target);
            let passes = words.get(1).is_some_and(|chain| chain == "FORWARD") && target == "ACCEPT";
            let ours = words.get(1).is_some_and(|chain| chain.starts_with(PREFIX));
            !ours && (translates || passes)
        };
        let of_nft = || {
            let document: Value = serde_json::from_str(self.nft.as_deref().unwrap_or_default()).ok()?;
            let mut objects = document["nftables"].as_array()?.iter().filter_map(|object| object.get("rule"));
            let translates = |rule: &&Value| {
                let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
                let is =
                    |statement: &Value| ["masquerade", "snat"].iter().any(|it| statement.get(it).is_some());
                // Those of iptables are told above, and our own table is.
                let family = if self.family == Family::Ipv4 { "ip" } else { "ip6" };
                !["nat", "netns"].contains(&rule["table"].as_str().unwrap_or_default())
                    && [family, "inet"].contains(&rule["family"].as_str().unwrap_or_default())
                    && statements.iter().any(is)
            };
            let rule = objects.find(translates)?;
            Some(format!("table {}, chain {}", rule["table"], rule["chain"]))
        };
        saved.clone().find(forwards).map(str::to_owned).or_else(of_nft)
    }
}

/// A variant of iptables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Variant {
    /// Which keeps its rules in nftables.
    #[default]
    Nft,
    /// Which has tables of its own.
    Legacy,
}

impl Variant {
    /// The one that it is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Nft => Self::Legacy,
            Self::Legacy => Self::Nft,
        }
    }

    /// The name of its programs, which other letters may follow.
    pub fn program(self) -> &'static str {
        match self {
            Self::Nft => "iptables-nft",
            Self::Legacy => "iptables-legacy",
        }
    }

    /// The name of one of its programs for a family.
    fn program_of(self, family: Family, action: &str) -> String {
        let variant = if self == Self::Nft { "nft" } else { "legacy" };
        format!("{}-{variant}-{action}", program(family))
    }
}

/// Reads them, each up to `limit` bytes.
///
/// # Errors
/// iptables is not installed, or fails.
pub fn read(family: Family, limit: u64) -> Result<Rulesets> {
    let program = format!("{}-save", program(family));
    let version = run(&program, &["--version"], limit)?;
    let ours = if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
    let has_tables = |text: &String| text.contains("\n-A ") || text.contains("\n:");
    Ok(Rulesets {
        family,
        ours,
        saved: run(&program, &[], limit)?,
        other: other(ours, family, limit).ok().filter(has_tables),
        nft: of_nft(limit),
    })
}

/// The same on a host that has no iptables, and so no rules of it.
pub fn without_iptables(limit: u64) -> Rulesets {
    Rulesets { nft: of_nft(limit), ..Rulesets::default() }
}

fn of_nft(limit: u64) -> Option<String> {
    run("nft", &["-j", "list", "ruleset"], limit).ok()
}

/// Removes what is ours of the variant's tables that `ours` is not, line by line: chains of ours
/// with all that is in them, and what leads to them. All else there stays, with its counters.
///
/// # Errors
/// It cannot be read or written.
pub fn clean_other(ours: Variant) -> Result<()> {
    for family in Family::ALL {
        let program = ours.other().program_of(family, "restore");
        if family == Family::Ipv6 && find(&program).is_err() {
            continue;
        }
        let script = Script::removal(parse(family, &other(ours, family, MAX_TEXT)?));
        if !script.is_empty() {
            Waiting::start_program(find(&program)?)?.order(script).finish()?;
        }
    }
    Ok(())
}

/// What the other variant prints of a family.
fn other(ours: Variant, family: Family, limit: u64) -> Result<String> {
    let names = match family {
        Family::Ipv4 => "ip_tables_names",
        Family::Ipv6 => "ip6_tables_names",
    };
    let tables = || fs::read_to_string(format!("/proc/thread-self/net/{names}")).unwrap_or_default();
    if ours == Variant::Nft && tables().is_empty() {
        return Ok(String::new());
    }
    run(&ours.other().program_of(family, "save"), &[], limit)
}

/// What a program prints that changes nothing.
fn run(name: &str, args: &[&str], limit: u64) -> Result<String> {
    Running::start(find(name)?, args, Stdio::null(), Stdio::piped())?.print(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variant_has_its_programs_for_both_families() {
        let names = |variant: Variant| Family::ALL.map(|family| variant.program_of(family, "restore"));
        assert_eq!(names(Variant::Nft), ["iptables-nft-restore", "ip6tables-nft-restore"]);
        assert_eq!(
            names(Variant::Legacy.other().other()),
            ["iptables-legacy-restore", "ip6tables-legacy-restore"]
        );
    }
}
