//! Rules of ours as they are found in the tables, read back to what they mean: all that is known
//! of them where the records are lost.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::commands::{Command, PORTS, commands};
use super::saved::Identity;
use crate::firewall::owner::container_in;
use crate::model::port::{PortMapping, Ports, Protocol};
use crate::model::rule::{Backend, Family, Rule};

/// The published ports in what is `saved` of a family with their places, and whether the host forwards
/// only ours.
pub(super) fn found(family: Family, saved: &[Command]) -> Vec<Rule> {
    let known: HashSet<Identity> = saved.iter().map(Command::identity).collect();
    let is_whole = |rule: &Rule| commands(rule).iter().all(|command| known.contains(&command.identity()));
    let only_ours =
        [true, false].map(|bridged| Rule::OnlyOurs { family, bridged, backend: Backend::Iptables });
    let only_ours = only_ours.into_iter().find(is_whole);
    let mut rules: Vec<Rule> = only_ours.into_iter().collect();
    for rule in Rule::merged(saved.iter().filter_map(published).filter(is_whole)) {
        let block = match &rule {
            Rule::Publish { mapping, to, .. } => Rule::block_of(mapping, *to).filter(is_whole),
            _ => None,
        };
        rules.extend(block.filter(|block| !rules.contains(block)));
        rules.push(rule);
    }
    rules
}

/// What a rule publishes. Whoever has changed it by hand is not understood.
fn published(command: &Command) -> Option<Rule> {
    let value = |name| command.value_of(&[name]);
    let owner = container_in(&command.comment()?)?.to_owned();
    let subnet = |name| value(name).map(|subnet| subnet.parse::<IpNetwork>()).transpose().ok();
    let host_ip = subnet("-d")?.map(|host| host.ip());
    let from = subnet("-s")?.into_iter().collect();
    let protocol = Protocol::named(&value("-p")?)?;
    let host = ports(&value("--dport")?)?;
    let target = match value("--to-destination") {
        None if command.chain == PORTS => host_ip?.to_string(),
        target => target?,
    };
    let (to, container) = match target.parse::<IpAddr>() {
        Ok(to) => (to, host),
        Err(_) => {
            let (to, inside) = target.rsplit_once(':')?;
            let to = to.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
            (to, ports(inside.split('/').next()?)?)
        }
    };
    let any = to.is_ipv6().then_some(Family::Ipv6.unspecified());
    let mapping = PortMapping { host_ip: host_ip.or(any), host, container, protocol, from };
    Some(Rule::Publish { owner, mapping, to, backend: Backend::Iptables })
}

fn ports(text: &str) -> Option<Ports> {
    text.replace(':', "-").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::iptables::present::tests::{network, published, saved};

    #[test]
    fn every_form_of_a_published_port_is_read_back_and_nothing_else_is() {
        let ports = [
            "8080:80",
            "127.0.0.1:53:53/udp",
            "8000-8099:8000-8099",
            "9000-9099:80-179",
            "8000-8999:8000-8999",
            "127.0.0.1:54:54,from=10.0.0.0/8,from=192.0.2.7",
            "7000-7299:7000-7299/udp,from=192.0.2.0/24",
            "172.19.0.2:80:80,from=192.0.2.0/24",
            "172.19.0.2:90-99:90-99/udp",
        ];
        let rules: Vec<Rule> = ports.iter().flat_map(|port| published("a", port)).collect();
        let others = [
            "-A NETNS-tcp-31 -p tcp -m tcp --dport 81 -j DNAT --to-destination 172.19.0.2:81",
            "-A NETNS-tcp-31 -p tcp -m tcp --dport x -m comment --comment \"netns container b\" -j DNAT --to-destination y",
        ];
        let there = found(Family::Ipv4, &saved(&[network(), rules.clone()].concat(), &others));
        assert!(rules.iter().all(|rule| there.contains(rule)), "{there:#?}");
        assert_eq!(there.len(), ports.len() + 4, "with their blocks, each once");
        for bridged in [true, false] {
            let only = Rule::OnlyOurs { family: Family::Ipv4, bridged, backend: Backend::Iptables };
            assert_eq!(found(Family::Ipv4, &saved(std::slice::from_ref(&only), &[])), [only]);
        }
    }
}
