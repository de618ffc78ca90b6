//! Everybody's rules, as text, for those who want to know who drops a packet: what the two
//! variants of iptables print, and what nft does. Nothing is understood here.
//!
//! To look must not change anything: the legacy variant makes tables by being asked for them,
//! and is asked only where there are some.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use super::mending::PREFIX;
use super::programs::{find, one_line, process};
use crate::error::{Doing, Error, Result};

/// The most that is read of what a program prints, in bytes: far more than a host's largest
/// ruleset that works. One that is longer is not read at all.
pub const MAX_TEXT: u64 = 64 << 20;

/// All rules of the calling thread's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rulesets {
    /// Which variant of iptables is ours.
    pub ours: Variant,
    /// What its `iptables-save` prints.
    pub saved: String,
    /// What the other variant's prints; `None` if it has no tables, or is not installed.
    pub other: Option<String>,
    /// What `nft -j list ruleset` prints; `None` if it is not installed.
    pub nft: Option<String>,
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
}

/// Reads them, each up to `limit` bytes.
///
/// # Errors
/// iptables is not installed, or fails.
pub fn read(limit: u64) -> Result<Rulesets> {
    let run = |name: &str, args: &[&str]| run(name, args, limit);
    let version = run("iptables-save", &["--version"])?;
    let ours = if version.contains("nf_tables") { Variant::Nft } else { Variant::Legacy };
    Ok(Rulesets {
        ours,
        saved: run("iptables-save", &[])?,
        other: other(ours, "", limit).ok().filter(|text| text.contains("\n-A ") || text.contains("\n:")),
        nft: run("nft", &["-j", "list", "ruleset"]).ok(),
    })
}

/// Takes away what is ours of the variant's tables that `ours` is not, and leaves all else there
/// with its counters.
///
/// # Errors
/// It cannot be read or written.
pub fn clean_other(ours: Variant) -> Result<()> {
    let kept: String =
        other(ours, "-c", MAX_TEXT)?.split_inclusive('\n').filter(|line| !line.contains(PREFIX)).collect();
    let program = find(&format!("{}-restore", ours.other().program()))?;
    let operation = || format!("run {}", program.display());
    let mut child = process(&program).arg("-c").stdin(Stdio::piped()).spawn().doing(operation)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that has died early says why on its standard error.
        let _ = stdin.write_all(kept.as_bytes());
    }
    let output = child.wait_with_output().doing(operation)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(Error::new(operation(), one_line(&output.stderr, output.status)))
    }
}

fn other(ours: Variant, flag: &str, limit: u64) -> Result<String> {
    let tables = || fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default();
    if ours == Variant::Nft && tables().is_empty() {
        return Ok(String::new());
    }
    let flags: &[&str] = if flag.is_empty() { &[] } else { &[flag] };
    run(&format!("{}-save", ours.other().program()), flags, limit)
}

/// What a program prints that changes nothing.
fn run(name: &str, args: &[&str], limit: u64) -> Result<String> {
    let program = find(name)?;
    let operation = || format!("run {}", program.display());
    let mut child = process(&program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .doing(operation)?;
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(limit).read_to_end(&mut text).doing(operation)?;
    }
    let status = child.wait().doing(operation)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    Err(Error::new(operation(), status))
}
