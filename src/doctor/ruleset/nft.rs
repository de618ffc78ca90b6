//! What `nft -j list ruleset` prints (`libnftables-json(5)`), as a [`Ruleset`].

use std::collections::HashMap;

use ipnetwork::IpNetwork;
use serde_json::Value;

use super::{Chain, Hook, Match, Rule, Ruleset, Table, Test, Tool, Verdict};
use crate::model::rule::Family;

/// Reads all tables that packets and frames on bridges pass.
pub fn parse(text: &str) -> Ruleset {
    let document: Value = serde_json::from_str(text).unwrap_or_default();
    let objects = document["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut ruleset, mut places) = (Ruleset::default(), HashMap::new());
    for chain in objects.iter().filter_map(|object| object.get("chain")).filter(|chain| is_followed(chain)) {
        let hook = chain["hook"]
            .as_str()
            .map(|name| Hook { name: name.to_owned(), drops: chain["policy"].as_str() == Some("drop") });
        let (table, name) = (table(chain), text_of(&chain["name"]));
        places.insert((table.clone(), name.clone()), ruleset.chains.len());
        ruleset.chains.push(Chain { table, name, hook, rules: Vec::new() });
    }
    for rule in objects.iter().filter_map(|object| object.get("rule")).filter(|rule| is_followed(rule)) {
        let place = places.get(&(table(rule), text_of(&rule["chain"])));
        if let Some(chain) = place.and_then(|place| ruleset.chains.get_mut(*place)) {
            chain.rules.extend(rules(rule));
        }
    }
    ruleset
}

fn is_followed(object: &Value) -> bool {
    matches!(object["family"].as_str(), Some("ip" | "ip6" | "inet" | "bridge"))
}

fn table(object: &Value) -> Table {
    Table { tool: Tool::Nft, family: text_of(&object["family"]), name: text_of(&object["table"]) }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// One rule; or one for each element of a verdict map, which says the same.
fn rules(rule: &Value) -> Vec<Rule> {
    let text = format!("handle {}", rule["handle"]);
    let (mut matches, mut verdict) = (Vec::new(), Verdict::Continue);
    let statements = rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, value) in statements.iter().filter_map(Value::as_object).flatten() {
        match name.as_str() {
            "match" => matches.extend(conditions(value)),
            "counter" | "log" | "mangle" | "notrack" | "meter" => {}
            "vmap" => {
                let Some(elements) = value["data"]["set"].as_array() else {
                    verdict = Verdict::Unknown;
                    break;
                };
                let one = |element: &Value| {
                    let mut matches = matches.clone();
                    matches.push(Match { negated: false, test: test(&value["key"], &element[0]) });
                    let (name, value) = element[1].as_object()?.iter().next()?;
                    Some(Rule { text: text.clone(), matches, verdict: decision(name, value)? })
                };
                return elements.iter().filter_map(one).collect();
            }
            name => match decision(name, value) {
                Some(decided) => {
                    verdict = decided;
                    // Where it leads stands in a map, if there: what is in it was not read.
                    if value["addr"].get("map").is_some() {
                        matches.push(Match { negated: false, test: Test::Unknown });
                    }
                }
                None => matches.push(Match { negated: false, test: Test::Unknown }),
            },
        }
    }
    vec![Rule { text, matches, verdict }]
}

fn decision(name: &str, value: &Value) -> Option<Verdict> {
    Some(match name {
        "accept" | "masquerade" | "snat" => Verdict::Accept,
        "drop" | "reject" => Verdict::Drop,
        "return" => Verdict::Return,
        "continue" => Verdict::Continue,
        "jump" => Verdict::Jump(text_of(&value["target"])),
        "goto" => Verdict::Goto(text_of(&value["target"])),
        "dnat" | "redirect" => Verdict::Translate,
        "queue" | "tproxy" => Verdict::Unknown,
        _ => return None,
    })
}

/// A condition; and before one about a protocol's header that it is this protocol or family, which
/// nft does not say.
fn conditions(value: &Value) -> Vec<Match> {
    let test = match value["op"].as_str() {
        Some("==" | "in" | "!=") => test(&value["left"], &value["right"]),
        _ => Test::Unknown,
    };
    let about = Match { negated: value["op"].as_str() == Some("!="), test };
    let implied = match value["left"]["payload"]["protocol"].as_str() {
        Some(protocol @ ("tcp" | "udp" | "sctp")) => Test::Protocol(vec![protocol.to_owned()]),
        Some("ip" | "icmp") => Test::Family(vec![Family::Ipv4]),
        Some("ip6" | "icmpv6") => Test::Family(vec![Family::Ipv6]),
        _ => return vec![about],
    };
    vec![Match { negated: false, test: implied }, about]
}

fn test(left: &Value, right: &Value) -> Test {
    let (meta, ct) = (left["meta"]["key"].as_str(), left["ct"]["key"].as_str());
    let payload = (left["payload"]["protocol"].as_str(), left["payload"]["field"].as_str());
    let values = values(right);
    let words = || values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let known = match (meta, ct, payload) {
        (Some("iifname" | "iif"), ..) => words().map(Test::Input),
        (Some("oifname" | "oif"), ..) => words().map(Test::Output),
        (Some("protocol"), ..) | (.., (Some("ether"), Some("type"))) => words().map(Test::Frame),
        (Some("l4proto"), ..) | (.., (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr"))) => {
            words().map(Test::Protocol)
        }
        (Some("nfproto"), ..) => words().map(|names| {
            let is_named = |family: &Family| names.contains(&family.to_string());
            Test::Family(Family::ALL.into_iter().filter(is_named).collect())
        }),
        (_, Some("state"), _) => words().map(Test::State),
        (_, Some("status"), _) => words().filter(|names| *names == ["dnat"]).map(Test::State),
        (.., (Some("ip" | "ip6"), Some("saddr"))) => networks(&values).map(Test::Source),
        (.., (Some("ip" | "ip6"), Some("daddr"))) => networks(&values).map(Test::Destination),
        (.., (Some("th" | "tcp" | "udp" | "sctp"), Some("dport"))) => ports(&values).map(Test::Port),
        _ if left["fib"]["result"].as_str() == Some("type") && right.as_str() == Some("local") => {
            Some(Test::Local)
        }
        _ => None,
    };
    // A named set starts with `@`: what is in it was not read.
    let named = values.iter().any(|value| value.as_str().is_some_and(|name| name.starts_with('@')));
    known.filter(|_| !named).unwrap_or(Test::Unknown)
}

fn values(right: &Value) -> Vec<Value> {
    match right.get("set").unwrap_or(right) {
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    }
}

fn networks(values: &[Value]) -> Option<Vec<IpNetwork>> {
    let network = |value: &Value| match value.get("prefix") {
        Some(prefix) => format!("{}/{}", prefix["addr"].as_str()?, prefix["len"]).parse().ok(),
        None => value.as_str()?.parse().ok(),
    };
    values.iter().map(network).collect()
}

fn ports(values: &[Value]) -> Option<Vec<(u16, u16)>> {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let range = |value: &Value| match value.get("range") {
        Some(range) => Some((number(&range[0])?, number(&range[1])?)),
        None => Some((number(value)?, number(value)?)),
    };
    values.iter().map(range).collect()
}
