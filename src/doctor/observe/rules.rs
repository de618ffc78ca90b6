//! The rules of all programs, read.

use crate::doctor::facts::Firewall;
use crate::doctor::ruleset::{Ruleset, Tool, nft, save};
use crate::error::Error;
use crate::firewall;
use crate::firewall::rulesets::{self, Rulesets, Variant};
use crate::log::Log;
use crate::model::rule::{Backend, Family, Rule};
use crate::netfilter::Netfilter;

/// The host's, and which of `wanted`, which are ours, are missing.
pub(super) fn observe(log: &Log, wanted: &[Rule]) -> Firewall {
    let read = || {
        let missing = firewall::Firewall::new(Netfilter::default(), log.clone()).missing(wanted)?;
        let on_nftables = |rule: &Rule| rule.backend() == Backend::Nftables;
        let dispensable = !wanted.is_empty() && wanted.iter().all(on_nftables);
        if dispensable && !firewall::is_installed(Backend::Iptables) {
            return Ok((rulesets::without_iptables(rulesets::MAX_TEXT), missing));
        }
        Ok((rulesets::read(Family::Ipv4, rulesets::MAX_TEXT)?, missing))
    };
    let (texts, missing) = match read() {
        Ok(read) => read,
        Err(error) => return Firewall { unreadable: Some(first_line(&error)), ..Firewall::default() },
    };
    let other = texts.ours.other().program();
    let ours_in_other = texts.other.as_ref().is_some_and(|text| text.contains("NETNS-")).then_some(other);
    Firewall { unreadable: None, missing, ruleset: ruleset(&texts), ours_in_other }
}

fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// All rules as values. What iptables keeps in nftables is read from what it prints itself: nft
/// does not understand it.
pub(super) fn ruleset(texts: &Rulesets) -> Ruleset {
    let other = texts.ours.other().program();
    let mut chains = save::parse(&texts.saved, Tool::Iptables).chains;
    chains.extend(texts.other.iter().flat_map(|text| save::parse(text, Tool::OtherIptables(other)).chains));
    let in_nft = match texts.ours {
        Variant::Nft => Some(&texts.saved),
        Variant::Legacy => texts.other.as_ref(),
    };
    let native = texts.nft.iter().flat_map(|text| nft::parse(text).chains);
    chains.extend(native.filter(|chain| {
        let is_theirs = |text: &String| save::has_table(text, &chain.table.name);
        chain.table.family != "ip" || !in_nft.is_some_and(is_theirs)
    }));
    Ruleset { chains }
}
