//! The rules of all programs, read.

use crate::doctor::facts::Firewall;
use crate::doctor::ruleset::{Ruleset, Table, Tool, nft, save};
use crate::error::Error;
use crate::firewall;
use crate::firewall::rulesets::{self, Rulesets, Saved};
use crate::log::Log;
use crate::model::rule::{Backend, Family, Rule};
use crate::netfilter::Netfilter;

/// The host's, and which of `wanted`, which are ours, are missing. Of IPv6 only where that is
/// wanted.
pub(super) fn observe(log: &Log, wanted: &[Rule]) -> Firewall {
    let is_wanted =
        |family: &Family| *family == Family::Ipv4 || wanted.iter().any(|rule| rule.family() == *family);
    let families: Vec<Family> = Family::ALL.into_iter().filter(is_wanted).collect();
    let read = || {
        let missing = firewall::Firewall::new(Netfilter::default(), log.clone()).missing(wanted)?;
        let on_nftables = |rule: &Rule| rule.backend() == Backend::Nftables;
        let dispensable = !wanted.is_empty() && wanted.iter().all(on_nftables);
        if dispensable && !firewall::is_installed(Backend::Iptables) {
            return Ok((rulesets::without_iptables(rulesets::MAX_TEXT), missing));
        }
        Ok((rulesets::read(&families, rulesets::MAX_TEXT)?, missing))
    };
    let (texts, missing) = match read() {
        Ok(read) => read,
        Err(error) => return Firewall { unreadable: Some(first_line(&error)), ..Firewall::default() },
    };
    let has_ours = |of: &&Saved| of.other.as_ref().is_some_and(|text| text.contains("NETNS-"));
    let ours_in_other = texts.of.iter().filter(has_ours).map(|of| of.ours.other().program(of.family));
    let ours_in_other = ours_in_other.collect();
    Firewall { unreadable: None, missing, ruleset: ruleset(&texts), ours_in_other }
}

fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// All rules as values. What iptables keeps in nftables is read from what it prints itself: nft
/// does not understand it.
pub(super) fn ruleset(texts: &Rulesets) -> Ruleset {
    let mut chains = Vec::new();
    for Saved { family, ours, saved, other } in &texts.of {
        chains.extend(save::parse(saved, Tool::Iptables, *family).chains);
        let tool = Tool::OtherIptables(ours.other().program(*family));
        chains.extend(other.iter().flat_map(|text| save::parse(text, tool, *family).chains));
    }
    let is_read = |table: &Table| {
        let has = |of: &Saved| of.in_nft().is_some_and(|text| save::has_table(text, &table.name));
        table.family != "inet" && texts.of.iter().any(|of| table.sees(of.family) && has(of))
    };
    let native = texts.nft.iter().flat_map(|text| nft::parse(text).chains);
    chains.extend(native.filter(|chain| !is_read(&chain.table)));
    Ruleset { chains }
}
