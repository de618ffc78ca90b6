//! What a chain would do with a packet.

use super::{Chain, Match, Packet, Rule, Ruleset, Test, Verdict};

/// How deep chains may lead to chains; the kernel allows 16.
const DEPTH: u8 = 20;

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It passes.
    Accepted,
    /// It is dropped for certain: the chain, and the rule if it is not its policy.
    Dropped(&'a Chain, Option<&'a Rule>),
    /// Its destination is changed for certain.
    Translated(&'a Chain, &'a Rule),
    /// That depends on what is not known.
    Unsure,
}

/// What `chain`, which the kernel enters by itself, does with `packet`.
pub fn trace<'a>(ruleset: &'a Ruleset, chain: &'a Chain, packet: &Packet) -> Outcome<'a> {
    let drops = chain.hook.as_ref().is_some_and(|hook| hook.drops);
    walk(ruleset, chain, packet, 0).unwrap_or(if drops {
        Outcome::Dropped(chain, None)
    } else {
        Outcome::Accepted
    })
}

/// `None` for a packet that comes out at the end of the chain.
fn walk<'a>(ruleset: &'a Ruleset, chain: &'a Chain, packet: &Packet, depth: u8) -> Option<Outcome<'a>> {
    if depth > DEPTH {
        return Some(Outcome::Unsure);
    }
    for rule in &chain.rules {
        let Some(surely) = applies(rule, packet) else { continue };
        let enter = |name: &str| match ruleset.chain(&chain.table, name) {
            Some(next) => walk(ruleset, next, packet, depth + 1),
            None => Some(Outcome::Unsure),
        };
        let (outcome, returns) = match &rule.verdict {
            Verdict::Continue => (None, false),
            Verdict::Accept => (Some(Outcome::Accepted), false),
            Verdict::Drop => (Some(Outcome::Dropped(chain, Some(rule))), false),
            Verdict::Translate => (Some(Outcome::Translated(chain, rule)), false),
            Verdict::Unknown => (Some(Outcome::Unsure), false),
            Verdict::Return => (None, true),
            Verdict::Jump(name) => (enter(name), false),
            Verdict::Goto(name) => (enter(name), true),
        };
        match outcome {
            Some(outcome) if surely => return Some(outcome),
            // Perhaps, but who is not sure accuses nobody.
            Some(Outcome::Dropped(..)) => {}
            Some(_) => return Some(Outcome::Unsure),
            None if returns && surely => return None,
            None if returns => return Some(Outcome::Unsure),
            None => {}
        }
    }
    None
}

/// Whether a rule is for the packet: for certain, or perhaps; `None` if it is not.
fn applies(rule: &Rule, packet: &Packet) -> Option<bool> {
    let mut surely = true;
    for Match { negated, test } in &rule.matches {
        match holds(test, packet) {
            Some(held) if held == *negated => return None,
            Some(_) => {}
            None => surely = false,
        }
    }
    Some(surely)
}

fn holds(test: &Test, packet: &Packet) -> Option<bool> {
    let named = |names: &[String], link: &Option<String>| {
        let link = link.as_deref()?;
        Some(names.iter().any(|name| match name.strip_suffix('*') {
            Some(beginning) => link.starts_with(beginning),
            None => link == name,
        }))
    };
    match test {
        Test::Input(names) => named(names, &packet.input),
        Test::Output(names) => named(names, &packet.output),
        Test::Source(networks) => {
            packet.source.map(|address| networks.iter().any(|network| network.contains(address)))
        }
        Test::Destination(networks) => {
            packet.destination.map(|address| networks.iter().any(|network| network.contains(address)))
        }
        Test::Frame(names) => packet.frame.map(|frame| names.iter().any(|name| name == frame)),
        Test::Protocol(names) => packet.protocol.as_ref().map(|protocol| names.contains(protocol)),
        Test::Port(ranges) => {
            packet.port.map(|port| ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)))
        }
        Test::State(names) => Some(names.iter().any(|name| packet.states.contains(&name.as_str()))),
        Test::Local => Some(packet.local),
        Test::Never => Some(false),
        Test::Unknown => None,
    }
}
