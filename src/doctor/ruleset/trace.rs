//! What a chain would do with a packet.

use std::cell::Cell;
use std::collections::HashMap;

use super::{Chain, Match, Packet, Rule, Ruleset, Table, Test, Verdict};

/// How deep chains may lead to chains; the kernel allows 16.
const DEPTH: u8 = 20;
/// How many rules are tried with one packet: a container may have made its own so that there is no
/// end to them.
const RULES: u32 = 1 << 20;

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

/// What `chain`, which the kernel enters by itself, does with `packet`; nothing with one that does
/// not enter it.
pub fn trace<'a>(ruleset: &'a Ruleset, chain: &'a Chain, packet: &Packet) -> Outcome<'a> {
    if !chain.table.sees(packet.family) {
        return Outcome::Accepted;
    }
    let drops = chain.hook.as_ref().is_some_and(|hook| hook.drops);
    let chains = ruleset.chains.iter().map(|chain| ((&chain.table, chain.name.as_str()), chain)).collect();
    walk(&Trial { chains, packet, left: Cell::new(RULES) }, chain, 0).unwrap_or(if drops {
        Outcome::Dropped(chain, None)
    } else {
        Outcome::Accepted
    })
}

/// One packet, and the chains that it may enter.
struct Trial<'a, 'p> {
    chains: HashMap<(&'a Table, &'a str), &'a Chain>,
    packet: &'p Packet,
    /// How many more rules are tried.
    left: Cell<u32>,
}

/// `None` for a packet that comes out at the end of the chain.
fn walk<'a>(trial: &Trial<'a, '_>, chain: &'a Chain, depth: u8) -> Option<Outcome<'a>> {
    for rule in &chain.rules {
        trial.left.set(trial.left.get().saturating_sub(1));
        if depth > DEPTH || trial.left.get() == 0 {
            return Some(Outcome::Unsure);
        }
        let Some(surely) = applies(rule, trial.packet) else { continue };
        let enter = |name: &'a str| match trial.chains.get(&(&chain.table, name)) {
            Some(next) => walk(trial, next, depth + 1),
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
            // Only perhaps: then nothing is claimed.
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
        Test::Family(families) => Some(families.contains(&packet.family)),
        Test::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Tool, nft, save};
    use super::*;
    use crate::model::rule::Family;

    /// The kinds of packets that are tried in FORWARD.
    fn packet(states: &[&'static str], port: u16) -> Packet {
        Packet {
            input: Some("netns0".into()),
            output: Some("wire0".into()),
            source: "172.19.0.2".parse().ok(),
            protocol: Some("tcp".into()),
            port: Some(port),
            states: states.to_vec(),
            ..Packet::default()
        }
    }

    fn forward<'a>(ruleset: &'a Ruleset, packet: &Packet) -> Outcome<'a> {
        trace(ruleset, ruleset.at("forward").next().unwrap(), packet)
    }

    fn saved(rules: &str) -> Ruleset {
        let text = format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [1:60]\n:A - [0:0]\n:B - [0:0]\n{rules}\nCOMMIT\n"
        );
        save::parse(&text, Tool::Iptables, Family::Ipv4)
    }

    /// What becomes of a new packet to port 80, in a word.
    fn said(rules: &str) -> &'static str {
        match forward(&saved(rules), &packet(&["new"], 80)) {
            Outcome::Accepted => "accepted",
            Outcome::Dropped(_, Some(_)) => "dropped",
            Outcome::Dropped(_, None) => "policy",
            Outcome::Translated(..) => "translated",
            Outcome::Unsure => "unsure",
        }
    }

    #[test]
    fn what_iptables_save_prints_is_followed() {
        for (rules, outcome) in [
            ("", "policy"),
            ("-A FORWARD -j ACCEPT", "accepted"),
            ("-A FORWARD -i netns+ -j ACCEPT", "accepted"),
            ("-A FORWARD ! -i netns0 -j ACCEPT", "policy"),
            ("-A FORWARD -s 172.19.0.0/16 -m comment --comment \"a -j DROP b\" -j ACCEPT", "accepted"),
            ("-A FORWARD -m comment --comment \"say \\\"-j\\\"\" -j ACCEPT", "accepted"),
            ("-A FORWARD -p tcp -m multiport --dports 22,80:90 -j ACCEPT", "accepted"),
            ("-A FORWARD -p udp -m udp --dport 80 -j ACCEPT", "policy"),
            ("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", "policy"),
            (
                "-A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j REJECT --reject-with icmp-port-unreachable",
                "dropped",
            ),
            ("-A FORWARD -m addrtype --dst-type LOCAL -j ACCEPT", "policy"),
            ("-A FORWARD -j LOG --log-prefix \"x \"\n-A FORWARD -j ACCEPT", "accepted"),
            ("-A FORWARD -j A\n-A A -j RETURN\n-A A -j DROP\n-A FORWARD -j ACCEPT", "accepted"),
            ("-A FORWARD -j A\n-A A -g B\n-A A -j DROP\n-A FORWARD -j ACCEPT", "accepted"),
            ("-A FORWARD -g A\n-A FORWARD -j ACCEPT", "policy"),
        ] {
            assert_eq!(said(rules), outcome, "{rules}");
        }
    }

    #[test]
    fn where_it_is_not_certain_nothing_is_claimed() {
        for (rules, outcome) in [
            ("-A FORWARD -m set --match-set friends src -j ACCEPT", "unsure"),
            ("-A FORWARD -m set --match-set foes src -j DROP\n-A FORWARD -j ACCEPT", "accepted"),
            ("-A FORWARD -m limit --limit 3/min -j DROP\n-A FORWARD -j DROP", "dropped"),
            ("-A FORWARD -m mark --mark 0x1 -j A\n-A A -j ACCEPT", "unsure"),
            ("-A FORWARD -m mark --mark 0x1 -j A\n-A A -j DROP\n-A FORWARD -j ACCEPT", "accepted"),
            ("-A FORWARD -m mark --mark 0x1 -g A", "unsure"),
            ("-A FORWARD -j A\n-A A -m mark --mark 0x1 -j RETURN\n-A A -j DROP", "unsure"),
            ("-A FORWARD -j NFQUEUE --queue-num 0", "unsure"),
            ("-A FORWARD -j UNHEARD-OF", "unsure"),
        ] {
            assert_eq!(said(rules), outcome, "{rules}");
        }
    }

    #[test]
    fn chains_without_end_have_one() {
        let many = "-A FORWARD -j A\n".to_owned()
            + &"-A A -j B\n".repeat(3000)
            + &"-A B -p udp -j DROP\n".repeat(3000);
        assert_eq!(said(&many), "unsure");
        assert_eq!(said("-A FORWARD -j A\n-A A -j B\n-A B -j A"), "unsure");
    }

    fn listed(rules: &str) -> Ruleset {
        let rules = rules.split('\n').map(|expr| {
            format!(r#"{{"rule":{{"family":"inet","table":"t","chain":"c","handle":3,"expr":[{expr}]}}}}"#)
        });
        let chain =
            r#"{"chain":{"family":"inet","table":"t","name":"c","hook":"forward","prio":0,"policy":"drop"}}"#;
        let all: Vec<String> = std::iter::once(chain.to_owned()).chain(rules).collect();
        nft::parse(&format!(r#"{{"nftables":[{}]}}"#, all.join(",")))
    }

    #[test]
    fn what_nft_prints_is_followed() {
        let to = |port: u16, expr: &str| {
            matches!(forward(&listed(expr), &packet(&["new"], port)), Outcome::Accepted)
        };
        let state = |states: &str| {
            format!(
                r#"{{"match":{{"op":"in","left":{{"ct":{{"key":"state"}}}},"right":{states}}}}},{{"accept":null}}"#
            )
        };
        assert!(to(80, &state(r#"["new","established"]"#)) && !to(80, &state(r#""established""#)));
        let dport = |op: &str, right: &str| {
            format!(
                r#"{{"match":{{"op":"{op}","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{right}}}}},{{"accept":null}}"#
            )
        };
        let set = r#"{"set":[22,{"range":[80,90]}]}"#;
        assert!(to(85, &dport("==", set)) && !to(79, &dport("==", set)) && to(79, &dport("!=", set)));
        let map = r#"{"vmap":{"key":{"meta":{"key":"iifname"}},"data":{"set":[["lo",{"drop":null}],["netns*",{"accept":null}]]}}}"#;
        assert!(to(80, map));
        let six = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip6","field":"saddr"}},"right":"::1"}},{"accept":null}"#;
        assert!(matches!(forward(&listed(six), &packet(&["new"], 80)), Outcome::Dropped(_, None)));
        let of_six = |source: &str| {
            let packet = Packet { family: Family::Ipv6, source: source.parse().ok(), ..packet(&["new"], 80) };
            matches!(forward(&listed(six), &packet), Outcome::Accepted)
        };
        assert!(of_six("::1") && !of_six("::2"));
        let named = r#"{"match":{"op":"==","left":{"payload":{"protocol":"ip","field":"saddr"}},"right":"@friends"}},{"accept":null}"#;
        assert_eq!(forward(&listed(named), &packet(&["new"], 80)), Outcome::Unsure);
        let xt = r#"{"xt":{"type":"match","name":"conntrack"}},{"accept":null}"#;
        assert_eq!(forward(&listed(xt), &packet(&["new"], 80)), Outcome::Unsure);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "[-A-Z*:a-z0-9 \"\\\\\n!,./{}\\[\\]]{0,300}") {
            let _ = save::parse(&text, Tool::Iptables, Family::Ipv4);
            let _ = nft::parse(&text);
            let _ = said(&text);
        }
    }
}
