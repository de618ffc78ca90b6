//! The rules of all programs as values, and what they would do with a packet.
//!
//! [`save`] reads what `iptables-save` prints, [`nft`] what `nft -j` does. Neither understands
//! everything: a match that they do not know may hold or not, and then nothing is claimed.
//! Pure.

pub mod nft;
pub mod save;
mod trace;

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::shell::is_plain;
use crate::firewall::nft_word;
use crate::model::rule::Family;
pub use trace::{Outcome, trace};

/// The family of chains that see frames, not packets.
const BRIDGE: &str = "bridge";

/// All chains of all tables that were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// In no particular order.
    pub chains: Vec<Chain>,
}

impl Ruleset {
    /// The chain of this name in a table.
    pub fn chain(&self, table: &Table, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.table == *table && chain.name == name)
    }

    /// The chains that the kernel enters at `hook` with a packet.
    pub fn at<'a>(&'a self, hook: &str) -> impl Iterator<Item = &'a Chain> {
        self.entered(hook).filter(|chain| chain.table.family != BRIDGE)
    }

    /// The chains that the kernel enters at `hook` with a frame on a bridge.
    pub fn on_bridges<'a>(&'a self, hook: &str) -> impl Iterator<Item = &'a Chain> {
        self.entered(hook).filter(|chain| chain.table.family == BRIDGE)
    }

    fn entered<'a>(&'a self, hook: &str) -> impl Iterator<Item = &'a Chain> {
        self.chains.iter().filter(move |chain| chain.hook.as_ref().is_some_and(|at| at.name == hook))
    }
}

/// Where a chain is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    /// Whose rules these are.
    pub tool: Tool,
    /// `ip`, `inet`, …
    pub family: String,
    /// Its name.
    pub name: String,
}

impl Table {
    /// Whether packets of a family enter it, or frames do that may carry any.
    pub fn sees(&self, family: Family) -> bool {
        ["inet", BRIDGE, nft_word(family)].contains(&self.family.as_str())
    }

    /// The variant of iptables that it belongs to, by the name of its program; `None` for nft.
    pub fn iptables(&self) -> Option<&'static str> {
        match self.tool {
            Tool::Nft => None,
            Tool::Iptables if self.family == nft_word(Family::Ipv6) => Some("ip6tables"),
            Tool::Iptables => Some("iptables"),
            Tool::OtherIptables(program) => Some(program),
        }
    }
}

/// The program that rules belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The variant of iptables that we use.
    Iptables,
    /// The other variant, by the name of its program.
    OtherIptables(&'static str),
    /// nft.
    Nft,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Where it is.
    pub table: Table,
    /// Its name.
    pub name: String,
    /// Where the kernel enters it; `None` for one that only rules lead to.
    pub hook: Option<Hook>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// Whether its names can be written into a command. Whoever made it chose them, and in a
    /// container that is the container.
    pub fn is_plain(&self) -> bool {
        let plain = |name: &str| !name.starts_with('-') && is_plain(name, b"_.-/");
        plain(&self.table.name) && plain(&self.name)
    }
}

/// Where the kernel enters a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// `prerouting`, `input`, `forward`, `output` or `postrouting`.
    pub name: String,
    /// Whether what falls out of the chain is dropped.
    pub drops: bool,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// As its own program would have it, less the chain: a specification, or `handle 7`.
    pub text: String,
    /// What must all hold.
    pub matches: Vec<Match>,
    /// What happens then.
    pub verdict: Verdict,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Whether it must not hold.
    pub negated: bool,
    /// The condition.
    pub test: Test,
}

/// What a condition is about: one of several values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// The link that the packet came by; `*` at the end stands for anything.
    Input(Vec<String>),
    /// The link that it leaves by.
    Output(Vec<String>),
    /// Its source.
    Source(Vec<IpNetwork>),
    /// Its destination.
    Destination(Vec<IpNetwork>),
    /// What the frame carries: `ip`, `arp`.
    Frame(Vec<String>),
    /// Its protocol: `tcp`.
    Protocol(Vec<String>),
    /// Its destination port, as ranges.
    Port(Vec<(u16, u16)>),
    /// What connection tracking says: `new`, `established`, `dnat`.
    State(Vec<String>),
    /// Whether it is for this host.
    Local,
    /// Whether it is of one of these families.
    Family(Vec<Family>),
    /// Something else: it may hold or not.
    Unknown,
}

/// What happens to a packet that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this hook's chain.
    Accept,
    /// It is dropped or rejected.
    Drop,
    /// Back to the rule that led here.
    Return,
    /// To another chain, and back.
    Jump(String),
    /// To another chain, and back to where this one was entered.
    Goto(String),
    /// Its destination is changed.
    Translate,
    /// Nothing.
    Continue,
    /// Something else.
    Unknown,
}

/// A packet to try rules with. What is `None` is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    /// Its family; that of what a frame carries is of no matter.
    pub family: Family,
    /// The link that it came by.
    pub input: Option<String>,
    /// The link that it leaves by.
    pub output: Option<String>,
    /// Its source.
    pub source: Option<IpAddr>,
    /// Its destination.
    pub destination: Option<IpAddr>,
    /// What the frame carries.
    pub frame: Option<&'static str>,
    /// Its protocol.
    pub protocol: Option<String>,
    /// Its destination port.
    pub port: Option<u16>,
    /// What connection tracking says.
    pub states: Vec<&'static str>,
    /// Whether it is for this host.
    pub local: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_would_obey_is_not_plain() {
        let chain = |name: &str| Chain {
            table: Table { tool: Tool::Nft, family: "inet".into(), name: "own".into() },
            name: name.into(),
            hook: None,
            rules: Vec::new(),
        };
        assert!(chain("filter_FWDI-public.0").is_plain());
        for name in ["a b", "a;id", "$(id)", "`id`", "a\nb", "-F", "a'b", "a\u{202e}b"] {
            assert!(!chain(name).is_plain(), "{name}");
        }
    }
}
