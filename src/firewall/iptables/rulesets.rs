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
use crate::firewall::nft_word;
pub use crate::firewall::programs::MAX_TEXT;
use crate::firewall::programs::{Running, find};
use crate::model::rule::Family;

/// All rules for some families in the calling thread's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rulesets {
    /// What the variants of iptables print, of each family.
    pub of: Vec<Saved>,
    /// What `nft -j list ruleset` prints, of all families; `None` if it is not installed.
    pub nft: Option<String>,
}

/// What the variants of iptables print of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Whose packets it is about.
    pub family: Family,
    /// Which variant is ours.
    pub ours: Variant,
    /// What its `iptables-save` prints.
    pub saved: String,
    /// What the other variant's prints; `None` if it has no tables, or is not installed.
    pub other: Option<String>,
}

impl Saved {
    /// Of these what is kept in nftables, where nft shows it too.
    pub fn in_nft(&self) -> Option<&String> {
        match self.ours {
            Variant::Nft => Some(&self.saved),
            Variant::Legacy => self.other.as_ref(),
        }
    }
}

impl Rulesets {
    /// A rule that is not ours and lets forwarded packets pass, or gives them the host's address.
    pub fn of_others_that_forward(&self) -> Option<String> {
        let texts = self.of.iter().flat_map(|of| [Some(&of.saved), of.other.as_ref()]).flatten();
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
            let is_read = |word: &str| word == "inet" || self.of.iter().any(|of| nft_word(of.family) == word);
            let translates = |rule: &&Value| {
                let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
                let is =
                    |statement: &Value| ["masquerade", "snat"].iter().any(|it| statement.get(it).is_some());
                // Those of iptables are told above, and our own table is.
                !["nat", "netns"].contains(&rule["table"].as_str().unwrap_or_default())
                    && is_read(rule["family"].as_str().unwrap_or_default())
                    && statements.iter().any(is)
            };
            let rule = objects.find(translates)?;
            Some(format!("table {}, chain {}", rule["table"], rule["chain"]))
        };
        texts.flat_map(|text| text.lines()).find(forwards).map(str::to_owned).or_else(of_nft)
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

    /// The name of its programs for a family, which other letters may follow.
    pub fn program(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Nft, Family::Ipv4) => "iptables-nft",
            (Self::Nft, Family::Ipv6) => "ip6tables-nft",
            (Self::Legacy, Family::Ipv4) => "iptables-legacy",
            (Self::Legacy, Family::Ipv6) => "ip6tables-legacy",
        }
    }
}

/// Reads them, each up to `limit` bytes.
///
/// # Errors
/// iptables is not installed, or fails.
pub fn read(families: &[Family], limit: u64) -> Result<Rulesets> {
    let of = families.iter().map(|family| saved(*family, limit)).collect::<Result<_>>()?;
    Ok(Rulesets { of, nft: of_nft(limit) })
}

fn saved(family: Family, limit: u64) -> Result<Saved> {
    let program = format!("{}-save", program(family));
    let version = run(&program, &["--version"], limit)?;
    let ours = if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
    let has_tables = |text: &String| text.contains("\n-A ") || text.contains("\n:");
    let other = other(ours, family, limit).ok().filter(has_tables);
    Ok(Saved { family, ours, saved: run(&program, &[], limit)?, other })
}

/// The same on a host that has no iptables, and so no rules of it.
pub fn without_iptables(limit: u64) -> Rulesets {
    Rulesets { nft: of_nft(limit), ..Rulesets::default() }
}

fn of_nft(limit: u64) -> Option<String> {
    run("nft", &["-j", "list", "ruleset"], limit).ok()
}

/// Removes what is ours of the tables of the variant that is not in use, line by line: chains of
/// ours with all that is in them, and what leads to them. All else there stays, with its counters.
///
/// # Errors
/// It cannot be read or written.
pub fn clean_other() -> Result<()> {
    for family in Family::ALL {
        let found = match saved(family, MAX_TEXT) {
            // A host without its programs has no rules of ours for it.
            Err(_) if family == Family::Ipv6 => continue,
            found => found?,
        };
        let script = Script::removal(parse(family, found.other.as_deref().unwrap_or_default()));
        if !script.is_empty() {
            let program = format!("{}-restore", found.ours.other().program(family));
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
    run(&format!("{}-save", ours.other().program(family)), &[], limit)
}

/// What a program prints that changes nothing.
fn run(name: &str, args: &[&str], limit: u64) -> Result<String> {
    Running::start(find(name)?, args, Stdio::null(), Stdio::piped())?.print(limit)
}
