//! A published port as `iptables(8)` commands.

use std::borrow::Cow;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::commands::{Line, MAX_COMMENT, PORTS, PREFIX, Verb, comment, line};
use crate::firewall::owner::{OF_ALL, of_container};
use crate::model::port::{PortMapping, Protocol};
use crate::model::rule::{Family, Rule};

/// The chain of 256 ports of a protocol, and the jump to it.
pub(super) fn ports(protocol: Protocol, block: u8) -> Vec<Line> {
    let (first, last) = (u16::from_be_bytes([block, 0]), u16::from_be_bytes([block, 255]));
    let (mine, chain) = (comment(OF_ALL), block_chain(protocol, block));
    let jump = format!("-p {protocol} -m {protocol} --dport {first}:{last} {mine} -j {chain}");
    vec![
        ("nat", Verb::NewChain, chain.into(), String::new()),
        line("nat", Verb::Append, "NETNS-PUBLISH", jump),
    ]
}

/// What leads to a container: a rule for each source that may call.
pub(super) fn publish(owner: &str, mapping: &PortMapping, to: IpAddr) -> Vec<Line> {
    let PortMapping { host, container: inside, protocol, .. } = mapping;
    let (table, chain) = match Rule::block_of(mapping, to) {
        Some(Rule::Block { protocol, block, .. }) => ("nat", Cow::from(block_chain(protocol, block))),
        _ if mapping.opens(to) => ("filter", Cow::Borrowed(PORTS)),
        _ => ("nat", Cow::Borrowed("NETNS-PUBLISH")),
    };
    let address = mapping.address().map_or_else(String::new, |ip| format!("-d {} ", IpNetwork::from(ip)));
    let dport = range(host.first, host.last, ':');
    // What a port stands behind, an IPv6 address is in brackets.
    let before_port = if to.is_ipv4() { to.to_string() } else { format!("[{to}]") };
    // A range keeps its ports, or shifts each by the same: one rule in both cases.
    let target = if mapping.opens(to) {
        "ACCEPT".to_owned()
    } else if host.first == host.last {
        format!("DNAT --to-destination {before_port}:{}", inside.first)
    } else if host == inside {
        format!("DNAT --to-destination {to}")
    } else {
        let inside = range(inside.first, inside.last, '-');
        format!("DNAT --to-destination {before_port}:{inside}/{}", host.first)
    };
    let mine = comment(&of_container(owner, MAX_COMMENT));
    let rule = format!("{address}-p {protocol} -m {protocol} --dport {dport} {mine} -j {target}");
    let from = |source: Option<IpNetwork>| source.map_or_else(String::new, |source| format!("-s {source} "));
    let sources = mapping.sources(Family::of(to)).into_iter();
    sources.map(|source| (table, Verb::Append, chain.clone(), from(source) + &rule)).collect()
}

fn block_chain(protocol: Protocol, block: u8) -> String {
    format!("{PREFIX}{protocol}-{block}")
}

fn range(first: u16, last: u16, separator: char) -> String {
    if first == last { first.to_string() } else { format!("{first}{separator}{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::lines;
    use crate::model::publish::Publish;
    use crate::model::rule::Backend;

    fn rules(text: &str) -> Vec<String> {
        let publish: Publish = text.parse().unwrap();
        let mapping = publish.at(publish.host.unwrap(), false);
        let rule = Rule::Publish {
            owner: "web".into(),
            mapping,
            to: "172.19.0.2".parse().unwrap(),
            backend: Backend::Iptables,
        };
        let plain = |line: String| line.replace(" -m comment --comment \"netns container web\"", "");
        lines(&rule).into_iter().map(plain).collect()
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
            assert_eq!(rules(text), [format!("iptables -t nat -A NETNS-{meaning}")]);
        }
        let open = "iptables -t filter -A NETNS-PORTS -d 172.19.0.2/32 -p tcp -m tcp --dport 80 -j ACCEPT";
        assert_eq!(rules("172.19.0.2:80:80"), [open]);
        let limited = "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.19.0.2:80";
        let sources = ["-s 10.0.0.0/8 -d 10.0.0.1/32", "-s 192.0.2.7/32 -d 10.0.0.1/32"];
        assert_eq!(
            rules("10.0.0.1:8080:80,from=192.0.2.7,from=10.0.0.0/8"),
            sources.map(|source| format!("iptables -t nat -A NETNS-tcp-31 {source} {limited}")),
            "one for each source"
        );
    }
}
