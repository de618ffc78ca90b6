//! Our table as it is in the kernel, and the requests that change what is in it.

use std::io;

use nix::errno::Errno;
use rtnetlink::sys::Socket;

use super::element::{self, Element};
use super::map::MAPS;
#[cfg(test)]
use super::statics::Static;
use super::statics::{TABLE, USER};
use crate::error::{Doing, Result};
use crate::firewall::Passed;
use crate::firewall::nft_word;
use crate::firewall::owner::is_ours;
use crate::model::rule::Family;
use crate::netfilter::{
    ACK, CREATE, DUMP, EXCLUSIVE, NFTABLES, REQUEST, attribute, find, listen, message, send,
};

// From `linux/netfilter/nf_tables.h`.
const GET_TABLE: u16 = NFTABLES | 1;
const DELETE_TABLE: u16 = NFTABLES | 2;
const GET_RULE: u16 = NFTABLES | 7;
const DELETE_RULE: u16 = NFTABLES | 8;
const NEW_ELEMENT: u16 = NFTABLES | 12;
const GET_ELEMENT: u16 = NFTABLES | 13;
const DELETE_ELEMENT: u16 = NFTABLES | 14;
const TABLE_NAME: u16 = 1;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_USERDATA: u16 = 7;

/// How often a table is read that somebody changes meanwhile.
const ATTEMPTS: usize = 16;

/// A request that changes something, and the command that says the same.
pub(super) type Change = (Vec<u8>, String);

/// A static rule of ours that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) chain: String,
    handle: u64,
    pub(super) comment: String,
}

#[cfg(test)]
impl Found {
    /// A rule as it will be found.
    pub(super) fn of(rule: &Static) -> Self {
        Self { chain: rule.chain.to_owned(), handle: 7, comment: rule.comment.clone() }
    }
}

/// What is of ours in the table of a family.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) rules: Vec<Found>,
    /// Whether there is anything in the administrator's chain.
    pub(super) has_users: bool,
    pub(super) elements: Vec<(Element, Option<Passed>)>,
}

impl Table {
    /// Reads it; `None` if it is not there.
    ///
    /// # Errors
    /// The kernel has no nftables, or refuses.
    pub(super) fn read(socket: &Socket, family: Family) -> Result<Option<Self>> {
        let operation = || format!("nft 'list table {} {TABLE}'", nft_word(family));
        for _ in 0..ATTEMPTS {
            match Self::read_once(socket, family) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_absent(&error) => return Ok(None),
                read => return read.map(Some).doing(operation),
            }
        }
        Err(io::Error::other("it is changed all the time")).doing(operation)
    }

    fn read_once(socket: &Socket, family: Family) -> io::Result<Self> {
        let ask = |kind, flags, attributes: &[u8], each: &mut dyn FnMut(&[u8])| {
            send(socket, &message(kind, REQUEST | flags, family.number(), attributes))?;
            if listen(socket, each)? { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        };
        let mut table = Self::default();
        ask(GET_TABLE, ACK, &attribute(TABLE_NAME, &text(TABLE)), &mut |_| ())?;
        ask(GET_RULE, DUMP, &attribute(RULE_TABLE, &text(TABLE)), &mut |answer| {
            let (users, others): (Vec<_>, _) = found(answer).into_iter().partition(|rule| rule.chain == USER);
            table.has_users |= !users.is_empty();
            table.rules.extend(others.into_iter().filter(|rule: &Found| is_ours(&rule.comment)));
        })?;
        for map in &MAPS {
            let mut each = |answer: &[u8]| table.elements.extend(element::listed(family, map, answer));
            match ask(GET_ELEMENT, DUMP, &element::about(map), &mut each) {
                // Somebody has taken the map away.
                Err(error) if is_absent(&error) => {}
                listed => listed?,
            }
        }
        Ok(table)
    }
}

/// A rule in the kernel's answer.
fn found(answer: &[u8]) -> Option<Found> {
    if find(answer, RULE_TABLE)? != text(TABLE) {
        return None;
    }
    let chain = find(answer, RULE_CHAIN)?;
    Some(Found {
        chain: String::from_utf8_lossy(chain.strip_suffix(&[0])?).into_owned(),
        handle: u64::from_be_bytes(find(answer, RULE_HANDLE)?.try_into().ok()?),
        comment: find(answer, RULE_USERDATA).and_then(element::comment).unwrap_or_default(),
    })
}

/// Deletes the table with all that is in it.
pub(super) fn delete_table(family: Family) -> Change {
    let request = message(DELETE_TABLE, REQUEST, family.number(), &attribute(TABLE_NAME, &text(TABLE)));
    (request, format!("delete table {} {TABLE}", nft_word(family)))
}

/// Deletes a rule.
pub(super) fn delete_rule(family: Family, Found { chain, handle, .. }: &Found) -> Change {
    let attributes = [
        attribute(RULE_TABLE, &text(TABLE)),
        attribute(RULE_CHAIN, &text(chain)),
        attribute(RULE_HANDLE, &handle.to_be_bytes()),
    ];
    let request = message(DELETE_RULE, REQUEST, family.number(), &attributes.concat());
    (request, format!("delete rule {} {TABLE} {chain} handle {handle}", nft_word(family)))
}

/// Adds elements; it is refused if there is one with such a key.
pub(super) fn add(family: Family, elements: &[Element]) -> Vec<Change> {
    changes(NEW_ELEMENT, CREATE | EXCLUSIVE, "add", family, elements)
}

/// Deletes elements; it is refused if there is none with such a key.
pub(super) fn delete(family: Family, elements: &[Element]) -> Vec<Change> {
    changes(DELETE_ELEMENT, 0, "delete", family, elements)
}

fn changes(kind: u16, flags: u16, verb: &str, family: Family, elements: &[Element]) -> Vec<Change> {
    let change = |(attributes, first): (Vec<u8>, &Element)| {
        let request = message(kind, REQUEST | flags, family.number(), &attributes);
        (request, format!("{verb} element {} {TABLE} {} {{ {first} }}", nft_word(family), first.map().name))
    };
    element::requests(elements, kind == NEW_ELEMENT).into_iter().map(change).collect()
}

fn is_absent(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}
