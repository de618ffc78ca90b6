//! The iptables backend: a [`Rule`] as `iptables(8)` commands. The programs that take them are
//! run by `programs`; `mending` is for when somebody else has changed the tables.
//!
//! Knows no configuration and no store. The layout:
//!
//! | table | from | chain of ours | what is in it |
//! |---|---|---|---|
//! | raw | `PREROUTING` | `NETNS-GUARD` | drops what comes from outside for a subnet of ours, or for 127.0.0.0/8 |
//! | nat | `PREROUTING`, `OUTPUT` | `NETNS-PUBLISH` | a jump for each block of 256 ports, a DNAT for each range across blocks |
//! | nat | `NETNS-PUBLISH` | `NETNS-tcp-31`, … | a DNAT for each port or range in the block |
//! | nat | `POSTROUTING` | `NETNS-MASQUERADE` | masquerade to the outside, hairpin and loopback |
//! | filter | `FORWARD`, first | `NETNS-FORWARD` | accepts what is ours before anyone's policy |
//!
//! Only appends and insertions when something comes: a deletion waits for an RCU grace period
//! (about 15 ms), an addition does not. For the same reason chains are made with `-N`: a
//! `:CHAIN` line would flush, and so delete, where the chain exists.

mod counted;
mod mending;
mod programs;
pub mod rulesets;

use std::borrow::Cow;
use std::fmt;

use super::Rule;
use crate::config::publish::{Protocol, Published};
pub use counted::{Counted, counters_of};
pub use mending::{differs, missing, ownerless, put_back, remove, remove_all, remove_what_is_left};
pub use programs::{Restore, Waiting, rules_of};

/// The longest comment that the kernel keeps, in bytes (`XT_MAX_COMMENT_LEN` less its NUL).
const MAX_COMMENT: usize = 255;

/// One iptables command that adds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    table: &'static str,
    verb: Verb,
    chain: Cow<'static, str>,
    /// Matches and target, quoted for a shell as well as for `iptables-restore`, and written as
    /// `iptables-save` prints them, so that a rule is known again.
    spec: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    NewChain,
    /// Makes the chain, or empties it if it is there.
    RenewChain,
    Insert,
    Append,
}

impl Command {
    fn new(
        table: &'static str,
        verb: Verb,
        chain: impl Into<Cow<'static, str>>,
        spec: impl Into<String>,
    ) -> Self {
        Self { table, verb, chain: chain.into(), spec: spec.into() }
    }

    /// The line of `iptables-restore` that adds it.
    fn add(&self) -> String {
        let Self { chain, spec, .. } = self;
        match self.verb {
            Verb::NewChain => format!("-N {chain}"),
            Verb::RenewChain => format!(":{chain} - [0:0]"),
            Verb::Insert => format!("-I {chain} {spec}"),
            Verb::Append => format!("-A {chain} {spec}"),
        }
    }

    /// The line that takes it away.
    fn remove(&self) -> String {
        let Self { chain, spec, .. } = self;
        match self.verb {
            Verb::NewChain | Verb::RenewChain => format!("-X {chain}"),
            Verb::Insert | Verb::Append => format!("-D {chain} {spec}"),
        }
    }

    /// The chain that it makes or changes.
    fn place(&self) -> (&str, &str) {
        (self.table, &self.chain)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iptables -t {} {}", self.table, self.add())
    }
}

/// The commands that a rule stands for, in the order in which they are given.
pub fn commands(rule: &Rule) -> Vec<Command> {
    use Verb::{Append, Insert, NewChain};
    match rule {
        Rule::Base => {
            let mine = comment("netns");
            vec![
                Command::new("raw", NewChain, "NETNS-GUARD", ""),
                // The host's own packets to its own addresses, the gateway's among them.
                Command::new("raw", Append, "NETNS-GUARD", format!("-i lo {mine} -j RETURN")),
                Command::new("raw", Append, "NETNS-GUARD", format!("-d 127.0.0.0/8 {mine} -j DROP")),
                Command::new("raw", Insert, "PREROUTING", format!("{mine} -j NETNS-GUARD")),
                Command::new("nat", NewChain, "NETNS-PUBLISH", ""),
                Command::new("nat", NewChain, "NETNS-MASQUERADE", ""),
                Command::new(
                    "nat",
                    Append,
                    "PREROUTING",
                    format!("-m addrtype --dst-type LOCAL {mine} -j NETNS-PUBLISH"),
                ),
                Command::new(
                    "nat",
                    Append,
                    "OUTPUT",
                    format!("-m addrtype --dst-type LOCAL {mine} -j NETNS-PUBLISH"),
                ),
                Command::new("nat", Append, "POSTROUTING", format!("{mine} -j NETNS-MASQUERADE")),
                Command::new("filter", NewChain, "NETNS-FORWARD", ""),
                Command::new("filter", Insert, "FORWARD", format!("{mine} -j NETNS-FORWARD")),
            ]
        }
        Rule::Network { bridge, subnet } => {
            let mine = comment(&format!("netns network {bridge}"));
            let published = format!("-m conntrack --ctstate DNAT {mine}");
            vec![
                Command::new(
                    "raw",
                    Append,
                    "NETNS-GUARD",
                    format!("-d {subnet} ! -i {bridge} {mine} -j DROP"),
                ),
                Command::new(
                    "nat",
                    Append,
                    "NETNS-MASQUERADE",
                    format!("-s {subnet} ! -o {bridge} {mine} -j MASQUERADE"),
                ),
                // A container that calls a published port of a neighbour, or its own, by an
                // address of the host: the answer must come back through us.
                Command::new(
                    "nat",
                    Append,
                    "NETNS-MASQUERADE",
                    format!("-s {subnet} -o {bridge} {published} -j MASQUERADE"),
                ),
                // The host that calls a published port by 127.0.0.1: nobody could answer that.
                Command::new(
                    "nat",
                    Append,
                    "NETNS-MASQUERADE",
                    format!("-s 127.0.0.0/8 -o {bridge} {published} -j MASQUERADE"),
                ),
                Command::new(
                    "filter",
                    Append,
                    "NETNS-FORWARD",
                    format!("-s {subnet} -i {bridge} {mine} -j ACCEPT"),
                ),
                Command::new(
                    "filter",
                    Append,
                    "NETNS-FORWARD",
                    format!(
                        "-d {subnet} -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT {mine} -j ACCEPT"
                    ),
                ),
            ]
        }
        Rule::Block { protocol, block } => {
            let (first, last) = (u16::from_be_bytes([*block, 0]), u16::from_be_bytes([*block, 255]));
            let (mine, chain) = (comment("netns"), block_chain(*protocol, *block));
            let ports = format!("-p {protocol} -m {protocol} --dport {first}:{last}");
            vec![
                Command::new("nat", NewChain, chain.clone(), ""),
                Command::new("nat", Append, "NETNS-PUBLISH", format!("{ports} {mine} -j {chain}")),
            ]
        }
        Rule::Publish { owner, published, to } => {
            let mine = comment(&container(owner));
            let Published { host_ip, host, container: inside, protocol } = published;
            let chain = match Rule::block_of(published) {
                Some(Rule::Block { protocol, block }) => block_chain(protocol, block).into(),
                _ => Cow::Borrowed("NETNS-PUBLISH"),
            };
            let address = host_ip.map_or_else(String::new, |ip| format!("-d {ip}/32 "));
            let dport = range(host.first, host.last, ':');
            // A range keeps its ports, or shifts each by the same: one rule in both cases.
            let target = if host.first == host.last {
                format!("{to}:{}", inside.first)
            } else if host == inside {
                to.to_string()
            } else {
                format!("{to}:{}/{}", range(inside.first, inside.last, '-'), host.first)
            };
            let matches = format!("{address}-p {protocol} -m {protocol} --dport {dport} {mine}");
            vec![Command::new("nat", Append, chain, format!("{matches} -j DNAT --to-destination {target}"))]
        }
    }
}

/// The first command of a rule, for an error that concerns them all.
pub fn opening(rule: &Rule) -> String {
    commands(rule).first().map_or_else(String::new, Command::to_string)
}

fn block_chain(protocol: Protocol, block: u8) -> String {
    format!("NETNS-{protocol}-{block}")
}

fn range(first: u16, last: u16, separator: char) -> String {
    if first == last { first.to_string() } else { format!("{first}{separator}{last}") }
}

/// Names the rule's owner.
fn comment(owner: &str) -> String {
    format!("-m comment --comment \"{}\"", cut(owner))
}

fn container(id: &str) -> String {
    format!("netns container {id}")
}

/// An id that does not fit a comment is cut: the rest of the rule still tells whose it is.
fn cut(owner: &str) -> &str {
    owner.get(..owner.len().min(MAX_COMMENT)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::publish::Publish;

    fn rule(text: &str) -> String {
        let publish: Publish = text.parse().unwrap();
        let rule = Rule::Publish {
            owner: "web".into(),
            published: publish.at(publish.host.unwrap()),
            to: "172.19.0.2".parse().unwrap(),
        };
        let commands = commands(&rule);
        assert_eq!(commands.len(), 1, "a range is one rule");
        commands[0].to_string().replace(" -m comment --comment \"netns container web\"", "")
    }

    #[test]
    fn every_form_of_publish_is_one_rule() {
        for (text, meaning) in [
            ("8080:80", "tcp-31 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.19.0.2:80"),
            (
                "10.0.0.1:53:53/udp",
                "udp-0 -d 10.0.0.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination 172.19.0.2:53",
            ),
            (
                "8000-8099:8000-8099",
                "tcp-31 -p tcp -m tcp --dport 8000:8099 -j DNAT --to-destination 172.19.0.2",
            ),
            (
                "8000-8099:80-179",
                "tcp-31 -p tcp -m tcp --dport 8000:8099 -j DNAT --to-destination 172.19.0.2:80-179/8000",
            ),
            (
                "8000-8999:8000-8999",
                "PUBLISH -p tcp -m tcp --dport 8000:8999 -j DNAT --to-destination 172.19.0.2",
            ),
        ] {
            assert_eq!(rule(text), format!("iptables -t nat -A NETNS-{meaning}"));
        }
    }

    #[test]
    fn a_comment_fits_the_kernel() {
        let long = comment(&container(&"x".repeat(255)));
        assert_eq!(long.len(), "-m comment --comment \"\"".len() + MAX_COMMENT);
    }
}
