//! A [`Rule`] as the `iptables(8)` or `ip6tables(8)` commands that add it.

use std::borrow::Cow;
use std::fmt;

use super::network::{accept, network};
use super::ports::{ports, publish};
use super::restore::Order;
use crate::firewall::owner::OF_ALL;
use crate::model::rule::{Change, Family, Rule};

/// What the name of every chain of ours begins with.
pub(super) const PREFIX: &str = "NETNS-";

/// The administrator's chain. We make it, and never touch what is in it.
pub(super) const USER: &str = "NETNS-USER";

/// The chain of what is let through to addresses that are routed.
pub(super) const PORTS: &str = "NETNS-PORTS";

/// The longest comment that the kernel keeps, in bytes (`XT_MAX_COMMENT_LEN` less its NUL).
pub(super) const MAX_COMMENT: usize = 255;

/// A command that adds a chain or a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) family: Family,
    pub(super) table: &'static str,
    pub(super) verb: Verb,
    pub(super) chain: Cow<'static, str>,
    /// Matches and target, quoted for a shell as well as for `iptables-restore`.
    pub(super) spec: String,
}

/// What a [`Command`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    NewChain,
    Insert,
    Append,
}

impl Command {
    /// The order that adds or removes it.
    pub(super) fn order(&self, change: Change) -> Order {
        let Self { table, verb, chain, spec, .. } = self;
        let (line, undo) = match (change, verb) {
            (Change::Add, _) => (self.line(), ""),
            (Change::Remove, Verb::NewChain) => (format!("-X {chain}"), "undo "),
            (Change::Remove, Verb::Insert | Verb::Append) => (format!("-D {chain} {spec}"), "undo "),
        };
        Order { table, line, shown: format!("{undo}{self}") }
    }

    fn line(&self) -> String {
        let Self { chain, spec, .. } = self;
        match self.verb {
            Verb::NewChain => format!("-N {chain}"),
            Verb::Insert => format!("-I {chain} {spec}"),
            Verb::Append => format!("-A {chain} {spec}"),
        }
    }

    /// Whether the chain that it makes or changes is ours.
    pub(super) fn is_in_ours(&self) -> bool {
        self.chain.starts_with(PREFIX)
    }

    /// Whether it is the administrator's: a rule in their chain, or one that leads there and is not
    /// ours.
    pub(super) fn is_users(&self) -> bool {
        let leads_there = || !self.is_in_ours() && self.target().is_some_and(|target| target == USER);
        self.verb != Verb::NewChain && self.table == "filter" && (self.chain == USER || leads_there())
    }

    /// As [`Self::place`], for longer than the command lives.
    pub(super) fn owned_place(&self) -> (&'static str, String) {
        (self.table, self.chain.to_string())
    }

    /// The chain that it makes or changes.
    pub(super) fn place(&self) -> (&'static str, &str) {
        (self.table, &self.chain)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -t {} {}", program(self.family), self.table, self.line())
    }
}

/// The name of a family's program; those of its others begin with it.
pub(super) fn program(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "iptables",
        Family::Ipv6 => "ip6tables",
    }
}

/// The commands that a rule stands for, in the order in which they are given.
pub(super) fn commands(rule: &Rule) -> Vec<Command> {
    let lines = match rule {
        Rule::Base { family, .. } => base(*family),
        Rule::OnlyOurs { bridged, .. } => only_ours(*bridged),
        Rule::Network { bridge, subnet, passage, peers, .. } => network(bridge, *subnet, *passage, peers),
        Rule::Accept { bridge, subnet, passage, peers } => accept(bridge, *subnet, *passage, peers),
        Rule::Block { protocol, block, .. } => ports(*protocol, *block),
        Rule::Publish { owner, mapping, to, .. } => publish(owner, mapping, *to),
    };
    let family = rule.family();
    let command = |(table, verb, chain, spec)| Command { family, table, verb, chain, spec };
    lines.into_iter().map(command).collect()
}

/// Table, verb, chain and the rest of a command.
pub(super) type Line = (&'static str, Verb, Cow<'static, str>, String);

pub(super) fn line(table: &'static str, verb: Verb, chain: &'static str, spec: String) -> Line {
    (table, verb, Cow::Borrowed(chain), spec)
}

fn base(family: Family) -> Vec<Line> {
    use Verb::{Append, Insert, NewChain};
    let mine = comment(OF_ALL);
    let loopback = loopback(family);
    let local = format!("-m addrtype --dst-type LOCAL {mine} -j NETNS-PUBLISH");
    // The kernel routes nothing from ::1: a call would wait in vain, where it is refused at once
    // now and tried by 127.0.0.1.
    let own = if family == Family::Ipv4 { local.clone() } else { format!("! -d ::1/128 {local}") };
    vec![
        line("raw", NewChain, "NETNS-GUARD", String::new()),
        line("raw", NewChain, "NETNS-OPEN", String::new()),
        // The host's own packets to its own addresses, the gateway's among them.
        line("raw", Append, "NETNS-GUARD", format!("-i lo {mine} -j RETURN")),
        line("raw", Append, "NETNS-GUARD", format!("-d {loopback} {mine} -j DROP")),
        line("raw", Append, "NETNS-GUARD", format!("-s {loopback} {mine} -j DROP")),
        line("raw", Insert, "PREROUTING", format!("{mine} -j NETNS-GUARD")),
        line("nat", NewChain, "NETNS-PUBLISH", String::new()),
        line("nat", NewChain, "NETNS-MASQUERADE", String::new()),
        line("nat", Append, "PREROUTING", local),
        line("nat", Append, "OUTPUT", own),
        line("nat", Append, "POSTROUTING", format!("{mine} -j NETNS-MASQUERADE")),
        line("filter", NewChain, USER, String::new()),
        line("filter", NewChain, "NETNS-OPEN-TO", String::new()),
        line("filter", NewChain, "NETNS-OPEN", String::new()),
        line("filter", NewChain, PORTS, String::new()),
        line("filter", NewChain, "NETNS-ROUTED", String::new()),
        line("filter", NewChain, "NETNS-CLOSED", String::new()),
        line("filter", NewChain, "NETNS-FORWARD", String::new()),
        line("filter", Append, "NETNS-FORWARD", format!("{mine} -j NETNS-CLOSED")),
        line("filter", Append, "NETNS-FORWARD", format!("{mine} -j NETNS-ROUTED")),
        line("filter", Insert, "FORWARD", format!("{mine} -j NETNS-FORWARD")),
    ]
}

fn only_ours(bridged: bool) -> Vec<Line> {
    let mine = comment(OF_ALL);
    let append = |chain, spec| line("filter", Verb::Append, chain, spec);
    let mut lines = vec![line("filter", Verb::NewChain, "NETNS-ONLY", String::new())];
    if bridged {
        lines.push(append("NETNS-ONLY", format!("-m physdev --physdev-is-bridged {mine} -j RETURN")));
    }
    lines.push(append("NETNS-ONLY", format!("{mine} -j DROP")));
    lines.push(append("FORWARD", format!("{mine} -j NETNS-ONLY")));
    lines
}

pub(super) fn loopback(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "127.0.0.0/8",
        Family::Ipv6 => "::1/128",
    }
}

/// Names the rule's owner.
pub(super) fn comment(owner: &str) -> String {
    format!("-m comment --comment \"{owner}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::lines;
    use crate::model::peers::Peers;
    use crate::model::port::{PortMapping, Ports, Protocol};
    use crate::model::rule::{Backend, Passage};

    #[test]
    fn the_guard_drops_loopback_addresses_in_both_directions_but_for_lo() {
        let guard = |family| {
            let all = lines(&Rule::Base { family, backend: Backend::Iptables });
            let rules = all.iter().filter(|line| line.contains("-A NETNS-GUARD"));
            rules.map(|line| line.replace(" -m comment --comment \"netns\"", "")).collect::<Vec<_>>()
        };
        let expected = |program: &str, loopback: &str| {
            ["-i lo -j RETURN".to_owned(), format!("-d {loopback} -j DROP"), format!("-s {loopback} -j DROP")]
                .map(|rule| format!("{program} -t raw -A NETNS-GUARD {rule}"))
        };
        assert_eq!(guard(Family::Ipv4), expected("iptables", "127.0.0.0/8"));
        assert_eq!(guard(Family::Ipv6), expected("ip6tables", "::1/128"));
    }

    #[test]
    fn rules_for_ipv6_are_commands_of_ip6tables() {
        let (bridge, subnet) = ("front0".parse().unwrap(), "fd00:8::/64".parse().unwrap());
        let all = lines(&Rule::Network {
            bridge,
            subnet,
            passage: Passage::default(),
            peers: Peers::default(),
            backend: Backend::Iptables,
        });
        let mine = "-m comment --comment \"netns network front0\"";
        assert_eq!(all.len(), 7, "nothing for the host's loopback: {all:#?}");
        assert_eq!(
            all[0],
            format!("ip6tables -t raw -A NETNS-GUARD -d fd00:8::/64 ! -i front0 {mine} -j DROP")
        );
        let ports = |first, last| Ports { first, last };
        let publish = |host_ip: Option<&str>, host, container| {
            let host_ip = host_ip.map(|ip| ip.parse().unwrap());
            let from = Vec::new();
            let mapping = PortMapping { host_ip, host, container, protocol: Protocol::Tcp, from };
            let rule = Rule::Publish {
                owner: "web".into(),
                mapping,
                to: "fd00:8::2".parse().unwrap(),
                backend: Backend::Iptables,
            };
            lines(&rule).remove(0).replace(" -m comment --comment \"netns container web\"", "")
        };
        for (line, rule) in [
            (
                publish(Some("fd00::1"), ports(8080, 8080), ports(80, 80)),
                "-d fd00::1/128 -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00:8::2]:80",
            ),
            (
                publish(None, ports(8000, 8009), ports(80, 89)),
                "-p tcp -m tcp --dport 8000:8009 -j DNAT --to-destination [fd00:8::2]:80-89/8000",
            ),
            (
                publish(None, ports(8000, 8009), ports(8000, 8009)),
                "-p tcp -m tcp --dport 8000:8009 -j DNAT --to-destination fd00:8::2",
            ),
        ] {
            assert_eq!(line, format!("ip6tables -t nat -A NETNS-tcp-31 {rule}"));
        }
    }
}
