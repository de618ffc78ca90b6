//! The nftables backend. It knows no configuration and no store. The layout, the same for both
//! families, in a table `netns` of our own:
//!
//! | in | what it is |
//! |---|---|
//! | map `publish` | protocol and port to a container's address and port, for all addresses of the host |
//! | maps `publish_on`, … | the same for one address of the host, for long ranges and for some sources: see [`map`] |
//! | sets `open`, … | ports of addresses that are routed, in the same way |
//! | chain `published` | looks into all maps, from `prerouting` and `output` for what is for the host itself |
//! | chain `postrouting` | masquerade to the outside, hairpin and loopback, of each network |
//! | chain `user` | the administrator's own: what is forwarded to and from our bridges |
//! | chains `accepted`, `others` | lead there, and accept what each network forwards; drop all else, where the host forwarded nothing before |
//! | chain `guard` | drops what comes from outside for a subnet of ours, and what has an address of the host's loopback |
//! | chain `guard_forward` | jumps to `closed`, which drops what an internal or isolated network sends or gets and what is sent back into one whose containers are apart, and to `routed`, which drops what is for addresses that are routed, is no answer and not in the sets |
//! | chains `open`, `open_from`, `open_to` | the networks that reach each other: the guards ask them first |
//!
//! What the host and each network take is made once, by `nft`. A container takes elements of the
//! maps and nothing else, by one message to the kernel: to add a rule, or an element that jumps,
//! makes the kernel validate the whole table, a pair of values does not. An element costs the same
//! among ten and among ten thousand, and a range is as many of them as it has ports.
//!
//! An `accept` here outvotes nobody's `drop`: where iptables filters what is forwarded,
//! [`Rule::Accept`] goes there. Only where there is no iptables the chain `others` has a rule.
//!
//! A deletion does not wait for those that still look; to close the socket that it was sent by
//! does. It stays open until all else is done.
//!
//! | file | what is in it |
//! |---|---|
//! | [`statics`](mod@statics) | a rule of the host or of a network as commands of `nft` |
//! | [`network`](mod@network) | that of a network's subnet |
//! | [`map`], [`element`] | the maps and sets; a published port as an element |
//! | [`table`] | our table as it is in the kernel, and the requests that change it |
//! | [`wanted`] | what should be there: what is missing, and what is of nobody |

mod element;
mod map;
mod network;
mod statics;
mod table;
mod wanted;

use std::collections::HashSet;

use nix::errno::Errno;
use rtnetlink::sys::Socket;

use super::owner::{of_container, of_network};
use super::{Counted, Driver, Passed};
use crate::error::{Doing, Error, Kind, Result};
use crate::log::Log;
use crate::model::rule::{Backend, Change, Family, Rule};
use crate::netfilter::{Netfilter, transact};
use element::{Element, command};
use statics::{all_but_user, declarations, run, statics};
use table::{Found, Table, add, delete, delete_rule, delete_table};
use wanted::Wanted;

/// How often to try to remove what others change meanwhile.
const ATTEMPTS: usize = 16;

/// The commands of a rule.
pub(super) fn lines(rule: &Rule) -> Vec<String> {
    let base = matches!(rule, Rule::Base { .. }).then(|| declarations(rule.family()));
    let statics = statics(rule).into_iter().map(|rule| rule.to_string());
    let elements = command(rule.family(), &Element::all(rule));
    base.into_iter().flatten().chain(statics).chain(elements).map(|text| shown(&text)).collect()
}

/// A line of a script as a command for a shell.
fn shown(line: &str) -> String {
    format!("nft '{line}'")
}

/// The ports of the container `owner` as they stand in the maps of a family.
pub(super) fn counters_of(owner: &str, family: Family) -> Result<Vec<Counted>> {
    let netfilter = Netfilter::default();
    let socket = netfilter.socket().doing(|| "open a netlink socket")?;
    let comment = of_container(owner, element::MAX_COMMENT);
    let table = Table::read(socket, family)?.unwrap_or_default();
    let mut theirs = table.elements;
    theirs.retain(|(element, _)| element.comment == comment);
    // Ports that are not counted are shown together.
    let together = theirs.chunk_by(|(a, passed), (b, _)| passed.is_none() && a.map() == b.map());
    let counted = |some: &[(Element, Option<Passed>)]| {
        let elements: Vec<Element> = some.iter().map(|(element, _)| element.clone()).collect();
        let rule = shown(&command(family, &elements)?);
        Some(Counted { rule, passed: some.first()?.1 })
    };
    Ok(together.filter_map(counted).collect())
}

/// One run's dealings with nftables.
#[derive(Debug)]
pub(super) struct Nftables {
    netfilter: Netfilter,
    /// Why what was started has failed, until somebody asks.
    failed: Option<Error>,
    transactions: u64,
    log: Log,
}

impl Nftables {
    pub(super) fn new(netfilter: Netfilter, log: Log) -> Self {
        Self { netfilter, failed: None, transactions: 0, log }
    }

    fn socket(&self) -> Result<&Socket> {
        self.netfilter.socket().doing(|| "open a netlink socket")
    }

    /// Our table; where none is wanted, a host without nftables has none.
    fn read(&self, wanted: &Wanted) -> Result<Option<Table>> {
        match self.socket().and_then(|socket| Table::read(socket, wanted.family)) {
            Err(_) if wanted.is_empty() => Ok(None),
            read => read,
        }
    }

    /// What is published, and whether the host forwards only ours.
    pub(super) fn found(&self) -> Result<Vec<Rule>> {
        let mut found = Vec::new();
        for family in Family::ALL {
            let table = self.read(&Wanted::of(family, []))?.unwrap_or_default();
            let only_ours =
                [true, false].map(|bridged| Rule::OnlyOurs { family, bridged, backend: Backend::Nftables });
            let is_there = |rule: &Rule| {
                let wanted = Wanted::of(family, [rule]);
                !wanted.is_empty() && wanted.missing_statics(&table).is_empty()
            };
            found.extend(only_ours.into_iter().find(is_there));
            found
                .extend(Element::published(table.elements.into_iter().map(|(element, _)| element).collect()));
        }
        Ok(found)
    }

    /// Whether it has rules of the network on this bridge.
    pub(super) fn has_network(&self, bridge: &str) -> bool {
        let tables =
            Family::ALL.map(|family| self.read(&Wanted::of(family, [])).ok().flatten().unwrap_or_default());
        tables.iter().flat_map(|table| &table.rules).any(|rule| rule.comment == of_network(bridge))
    }

    /// Makes all changes, or none; why none, if that is because something is there already, or is
    /// not there any more.
    fn attempt(&mut self, changes: Vec<table::Change>) -> Result<Option<Error>> {
        if changes.is_empty() {
            return Ok(None);
        }
        let (mut requests, commands): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        let Err((at, cause)) = transact(self.socket()?, &mut requests) else {
            self.transactions += 1;
            return Ok(None);
        };
        let is_of_the_table = [Errno::EEXIST, Errno::ENOENT]
            .contains(&Errno::from_raw(cause.raw_os_error().unwrap_or_default()));
        let command = commands.get(at).map_or_else(|| "nft -f -".to_owned(), |text| shown(text));
        let error = Error::new(command, cause);
        if is_of_the_table { Ok(Some(error)) } else { Err(error) }
    }

    /// Makes all changes, or none.
    fn transact(&mut self, changes: Vec<table::Change>) -> Result<()> {
        self.attempt(changes)?.map_or(Ok(()), Err)
    }

    /// Makes the static part, in place of these rules that are there, in one transaction.
    fn make(&mut self, wanted: &Wanted, old: &[Found]) -> Result<()> {
        let family = wanted.family;
        let mut lines = declarations(family);
        lines.extend(old.iter().map(|rule| delete_rule(family, rule).1));
        lines.extend(wanted.statics.iter().map(ToString::to_string));
        self.run(&lines)
    }

    fn run(&mut self, lines: &[String]) -> Result<()> {
        self.transactions += 1;
        run(lines)
    }

    fn add(&mut self, wanted: &Wanted, base: bool) -> Result<()> {
        if !wanted.statics.is_empty() {
            let mut old = Vec::new();
            if base {
                // Of an earlier life, of which no record tells.
                old = self.read(wanted)?.unwrap_or_default().rules;
                old.retain(|rule| wanted.owns(rule));
            }
            self.make(wanted, &old)?;
        }
        let clash = self.attempt(add(wanted.family, &wanted.elements))?;
        if clash.is_some() { self.set(wanted) } else { Ok(()) }
    }

    /// Adds those of the elements that are not there, in place of any that have their keys.
    fn set(&mut self, wanted: &Wanted) -> Result<()> {
        let table = self.read(wanted)?.unwrap_or_default();
        let missing = wanted.missing_elements(&table);
        let keys: HashSet<_> = missing.iter().map(Element::key).collect();
        let known: HashSet<&Element> = wanted.elements.iter().collect();
        let there = table.elements.into_iter().map(|(element, _)| element);
        let old: Vec<Element> =
            there.filter(|element| keys.contains(&element.key()) && !known.contains(element)).collect();
        let mut changes = delete(wanted.family, &old);
        changes.extend(add(wanted.family, &missing));
        self.transact(changes)
    }

    fn remove(&mut self, wanted: &Wanted, base: bool) -> Result<()> {
        // What goes by its key alone need not be read.
        let by_key = wanted.statics.is_empty();
        if base && self.read(wanted)?.is_some_and(|table| table.has_users) {
            return self.run(&all_but_user(wanted.family));
        }
        let mut changes =
            if by_key { delete(wanted.family, &wanted.elements) } else { self.left(wanted, base)? };
        for _ in 0..ATTEMPTS {
            if self.attempt(changes)?.is_none() {
                return Ok(());
            }
            // Somebody has removed some of it, or does so now.
            changes = self.left(wanted, base)?;
        }
        Err(Error::new("remove rules of nftables", "others change them all the time").of(Kind::Busy))
    }

    /// What removes what is left of these rules; with the base goes all,
    /// as nobody but us has anything there.
    fn left(&self, wanted: &Wanted, base: bool) -> Result<Vec<table::Change>> {
        let Some(table) = self.read(wanted)? else { return Ok(Vec::new()) };
        if base {
            return Ok(vec![delete_table(wanted.family)]);
        }
        let rules = table.rules.iter().filter(|rule| wanted.owns(rule));
        let mut changes: Vec<_> = rules.map(|rule| delete_rule(wanted.family, rule)).collect();
        let known: HashSet<&Element> = wanted.elements.iter().collect();
        let elements = table.elements.into_iter().map(|(element, _)| element);
        let elements: Vec<Element> = elements.filter(|element| known.contains(element)).collect();
        changes.extend(delete(wanted.family, &elements));
        Ok(changes)
    }

    fn change(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        for family in Family::ALL {
            let wanted = Wanted::of(family, rules.iter().copied());
            let is_base = |rule: &&&Rule| matches!(rule, Rule::Base { .. }) && rule.family() == family;
            let base = rules.iter().any(|rule| is_base(&rule));
            match change {
                Change::Add => self.add(&wanted, base)?,
                Change::Remove => self.remove(&wanted, base)?,
            }
        }
        Ok(())
    }
}

impl Driver for Nftables {
    fn expect(&mut self, _: Family) {}

    /// Does it all, as it takes no time; what else is being done meanwhile is done all the same.
    fn start(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        let undo = if change == Change::Remove { "undo " } else { "" };
        if self.log.is_verbose() {
            rules
                .iter()
                .flat_map(|rule| lines(rule))
                .for_each(|line| self.log.debug(&format!("{undo}{line}")));
        }
        self.failed = self.change(change, rules).err();
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn transactions(&self) -> u64 {
        self.transactions
    }

    fn missing(&self, rules: &[Rule]) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        for wanted in Family::ALL.map(|family| Wanted::of(family, rules)) {
            let table = self.read(&wanted)?.unwrap_or_default();
            missing.extend(wanted.missing(&table));
        }
        Ok(missing)
    }

    fn restore(&mut self, rules: &[Rule]) -> Result<Vec<String>> {
        let mut restored = Vec::new();
        for wanted in Family::ALL.map(|family| Wanted::of(family, rules)) {
            let table = self.read(&wanted)?.unwrap_or_default();
            let missing = wanted.missing(&table);
            missing.iter().for_each(|line| self.log.debug(line));
            if !wanted.missing_statics(&table).is_empty() {
                let old: Vec<Found> = table.rules.into_iter().filter(|rule| wanted.owns(rule)).collect();
                self.make(&wanted, &old)?;
            }
            if !missing.is_empty() {
                self.set(&wanted)?;
            }
            restored.extend(missing);
        }
        Ok(restored)
    }

    /// In one transaction for the static part, and two for the elements.
    fn rebuild(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool> {
        let before = self.transactions;
        for wanted in Family::ALL.map(|family| Wanted::of(family, rules)) {
            let mut table = self.read(&wanted)?;
            let there = table.as_ref().is_some_and(|table| wanted.has_its_statics(table));
            if !wanted.statics.is_empty() && !there {
                self.make(&wanted, &table.unwrap_or_default().rules)?;
                table = self.read(&wanted)?;
            }
            let Some(table) = table else { continue };
            self.transact(wanted.unowned(&table, keep).into_iter().map(|(change, _)| change).collect())?;
            self.set(&wanted)?;
        }
        Ok(self.transactions > before)
    }

    fn unowned(&self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for wanted in Family::ALL.map(|family| Wanted::of(family, rules)) {
            let table = self.read(&wanted)?;
            let unowned = table.iter().flat_map(|table| wanted.unowned(table, keep));
            all.extend(unowned.map(|(_, text)| text));
            // A large range takes several changes.
            all.dedup();
        }
        Ok(all)
    }

    fn remove_unowned(&mut self, rules: &[Rule], keep: &dyn Fn(&str) -> bool) -> Result<bool> {
        let mut removed = false;
        for wanted in Family::ALL.map(|family| Wanted::of(family, rules)) {
            let Some(table) = self.read(&wanted)? else { continue };
            let (changes, texts): (Vec<_>, Vec<_>) = wanted.unowned(&table, keep).into_iter().unzip();
            texts.iter().for_each(|text| self.log.debug(&format!("undo {text}")));
            removed |= !changes.is_empty();
            self.transact(changes)?;
        }
        Ok(removed)
    }
}
