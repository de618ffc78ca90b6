//! UDP flows that lead to where a published port no longer leads.
//!
//! A flow is translated by the rules that its first packet met, and for as long as somebody
//! sends; UDP has no end that would be noticed. So a client that does not stop asking would go
//! on asking a container that is gone, or the host that had no such port yet. What
//! `conntrack -D` would do, without the program: the entries are removed, and the next packet
//! meets the rules as they are.

use std::borrow::Borrow;
use std::fmt;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::sys::Socket;

use super::netlink::Netlink;
use crate::error::Error;
use crate::log::Log;
use crate::model::port::{PortMapping, Protocol};
use crate::model::rule::{Change, Family, Rule};
use crate::netfilter::{ACK, DUMP, NESTED, Netfilter, REQUEST, attribute, find, listen, message, send};

// From `linux/netfilter/nfnetlink.h` and `nfnetlink_conntrack.h`.
const CTNETLINK: u16 = 1 << 8;
const GET: u16 = CTNETLINK | 1;
const DELETE: u16 = CTNETLINK | 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
/// `CTA_IP_V4_SRC` and `CTA_IP_V6_SRC`.
const SRC: [u16; 2] = [1, 3];
/// `CTA_IP_V4_DST` and `CTA_IP_V6_DST`.
const DST: [u16; 2] = [2, 4];
const PROTO_NUM: u16 = 1;
const PROTO_SRC_PORT: u16 = 2;
const PROTO_DST_PORT: u16 = 3;
/// `CTA_FILTER_ORIG_FLAGS`, and what of the tuple is compared.
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_PROTO_NUM: u32 = 1 << 3;
const FILTER_PROTO_DST_PORT: u32 = 1 << 5;

const UDP: u8 = 17;

/// A UDP flow, as the kernel translates it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    /// Who answers.
    answers: IpAddr,
    /// The attributes that name this flow and no other.
    name: Vec<u8>,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source: (source, sport), destination: (destination, dport), .. } = self;
        write!(f, "conntrack -D -p udp -s {source} --sport {sport} -d {destination} --dport {dport}")
    }
}

/// Removes the UDP flows that the coming or going of `rules` has made wrong. If that fails they
/// end by themselves, should their clients ever pause: a warning, not a failure.
pub fn forget(
    netlink: &Netlink,
    netfilter: &Netfilter,
    log: &Log,
    change: Change,
    rules: &[impl Borrow<Rule>],
) {
    let leads = leads(rules);
    if leads.is_empty() {
        return;
    }
    let forgotten =
        netlink.all_addresses().and_then(|local| remove(netfilter.socket()?, change, &leads, &local));
    match forgotten {
        Ok(flows) => flows.iter().for_each(|flow| log.debug(&format!("# {flow}"))),
        // A kernel that tracks nothing.
        Err(cause) if is_missing(&cause) => {}
        Err(cause) => log.warn(&Error::new("forget UDP flows of published ports", cause)),
    }
}

/// A published UDP port and where it leads, or led.
pub type Lead = (PortMapping, IpAddr);

/// The UDP flows to published ports that lead elsewhere: the port, and the command that removes
/// the flow. All ports are asked for at once: to read the table takes its time, however few
/// flows there are.
///
/// # Errors
/// The kernel refuses; one that tracks nothing has none.
pub fn astray(netlink: &Netlink, rules: &[impl Borrow<Rule>]) -> io::Result<Vec<(Lead, String)>> {
    let leads = leads(rules);
    if leads.is_empty() {
        return Ok(Vec::new());
    }
    let local = netlink.all_addresses()?;
    let wrong = |flow: &Flow| is_wrong(flow, Change::Add, &leads, &local);
    let flows = match Netfilter::default().socket().and_then(|socket| dump(socket, &leads, wrong)) {
        Err(cause) if is_missing(&cause) => Vec::new(),
        flows => flows?,
    };
    let misses = |flow: &Flow, lead: &&Lead| is_wrong(flow, Change::Add, std::slice::from_ref(*lead), &local);
    let mut found = Vec::new();
    for flow in flows {
        let missed = leads.iter().filter(|lead| misses(&flow, lead));
        found.extend(missed.map(|lead| (lead.clone(), flow.to_string())));
    }
    Ok(found)
}

fn leads(rules: &[impl Borrow<Rule>]) -> Vec<Lead> {
    let udp = rules.iter().filter_map(|rule| match rule.borrow() {
        Rule::Publish { mapping, to, .. } if mapping.protocol == Protocol::Udp => {
            Some((mapping.clone(), *to))
        }
        _ => None,
    });
    udp.collect()
}

/// Which flows were wrong. `local` are the addresses of the host.
fn remove(socket: &Socket, change: Change, leads: &[Lead], local: &[IpAddr]) -> io::Result<Vec<Flow>> {
    let wrong = dump(socket, leads, |flow| is_wrong(flow, change, leads, local))?;
    for flow in &wrong {
        let family = Family::of(flow.answers).number();
        send(socket, &message(DELETE, REQUEST | ACK, family, &flow.name))?;
        match listen(socket, |_| ()) {
            // It has ended by itself.
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => {}
            answer => drop(answer?),
        }
    }
    Ok(wrong)
}

fn is_wrong(flow: &Flow, change: Change, leads: &[Lead], local: &[IpAddr]) -> bool {
    let (destination, port) = flow.destination;
    leads.iter().any(|(mapping, to)| {
        let here = (mapping.host.first..=mapping.host.last).contains(&port)
            && to.is_ipv4() == destination.is_ipv4()
            && mapping.address().is_none_or(|ip| ip == destination);
        here && match change {
            // Not what passes through the host to a port of the same number elsewhere.
            Change::Add => (destination.is_loopback() || local.contains(&destination)) && *to != flow.answers,
            // Not what was sent to the container itself, unless that is what its port let in.
            Change::Remove => *to == flow.answers && (*to != destination || mapping.opens(*to)),
        }
    })
}

/// Every UDP flow that is `wanted`. Of a large table the kernel sends UDP alone, and where it is
/// about a single port, that port alone; an old kernel does not know how to choose and sends
/// everything.
fn dump(socket: &Socket, leads: &[Lead], wanted: impl Fn(&Flow) -> bool) -> io::Result<Vec<Flow>> {
    let (mut compared, mut ports) = (FILTER_PROTO_NUM, attribute(PROTO_NUM, &[UDP]));
    if let [(mapping, _)] = leads
        && mapping.host.count() == 1
    {
        compared |= FILTER_PROTO_DST_PORT;
        ports.extend(attribute(PROTO_DST_PORT, &mapping.host.first.to_be_bytes()));
    }
    let mut only = attribute(TUPLE_ORIG | NESTED, &attribute(TUPLE_PROTO | NESTED, &ports));
    only.extend(attribute(FILTER | NESTED, &attribute(FILTER_ORIG_FLAGS, &compared.to_ne_bytes())));
    let mut flows = Vec::new();
    for family in Family::ALL.into_iter().filter(|of| leads.iter().any(|(_, to)| Family::of(*to) == *of)) {
        send(socket, &message(GET, REQUEST | DUMP, family.number(), &only))?;
        listen(socket, |attributes| flows.extend(parse(attributes).filter(&wanted)))?;
    }
    Ok(flows)
}

/// A UDP flow.
fn parse(attributes: &[u8]) -> Option<Flow> {
    let original = find(attributes, TUPLE_ORIG)?;
    let (addresses, ports) = (find(original, TUPLE_IP)?, find(original, TUPLE_PROTO)?);
    if find(ports, PROTO_NUM)? != [UDP] {
        return None;
    }
    // The tuple is what must be there: without one the kernel would remove all flows.
    let mut name = attribute(TUPLE_ORIG | NESTED, original);
    for kind in [ID, ZONE] {
        name.extend(find(attributes, kind).map_or(Vec::new(), |value| attribute(kind, value)));
    }
    Some(Flow {
        source: (address(addresses, SRC)?, port(ports, PROTO_SRC_PORT)?),
        destination: (address(addresses, DST)?, port(ports, PROTO_DST_PORT)?),
        answers: address(find(find(attributes, TUPLE_REPLY)?, TUPLE_IP)?, SRC)?,
        name,
    })
}

/// An address of either kind.
fn address(attributes: &[u8], [v4, v6]: [u16; 2]) -> Option<IpAddr> {
    match find(attributes, v4) {
        Some(octets) => octets.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        None => find(attributes, v6)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
    }
}

fn port(attributes: &[u8], kind: u16) -> Option<u16> {
    find(attributes, kind)?.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets))
}

/// What a kernel says that has no netfilter, or whose netfilter tracks nothing.
fn is_missing(error: &io::Error) -> bool {
    let missing = [Errno::EPROTONOSUPPORT, Errno::EOPNOTSUPP, Errno::EINVAL];
    missing.iter().any(|code| error.raw_os_error() == Some(*code as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(source: [u8; 4], destination: [u8; 4], protocol: u8, sport: u16, dport: u16) -> Vec<u8> {
        let mut addresses = attribute(SRC[0], &source);
        addresses.extend(attribute(DST[0], &destination));
        let mut ports = attribute(PROTO_NUM, &[protocol]);
        ports.extend(attribute(PROTO_SRC_PORT, &sport.to_be_bytes()));
        ports.extend(attribute(PROTO_DST_PORT, &dport.to_be_bytes()));
        let mut tuple = attribute(TUPLE_IP | NESTED, &addresses);
        tuple.extend(attribute(TUPLE_PROTO | NESTED, &ports));
        tuple
    }

    fn flow(destination: [u8; 4], port: u16, answers: [u8; 4], protocol: u8) -> Option<Flow> {
        let client = [10, 0, 0, 2];
        let mut body = Vec::new();
        body.extend(attribute(TUPLE_ORIG | NESTED, &tuple(client, destination, protocol, 5000, port)));
        body.extend(attribute(TUPLE_REPLY | NESTED, &tuple(answers, client, protocol, 80, 5000)));
        parse(&body)
    }

    fn lead(spec: &str, to: &str) -> Vec<Lead> {
        let publish: crate::model::publish::Publish = spec.parse().unwrap();
        vec![(publish.at(publish.host.unwrap(), false), to.parse().unwrap())]
    }

    const HOST: [u8; 4] = [10, 0, 0, 1];
    const OLD: [u8; 4] = [172, 19, 0, 2];

    #[test]
    fn a_port_that_comes_takes_over_the_flows_to_the_hosts_own_addresses() {
        let local = ["10.0.0.1".parse().unwrap()];
        let wrong = |spec, flow: Option<Flow>| {
            is_wrong(&flow.unwrap(), Change::Add, &lead(spec, "172.19.0.3"), &local)
        };
        assert!(wrong("53:53/udp", flow(HOST, 53, OLD, UDP)), "another container's");
        assert!(wrong("53:53/udp", flow(HOST, 53, HOST, UDP)), "the host's own");
        assert!(wrong("10.0.0.1:50-60:50-60/udp", flow(HOST, 53, OLD, UDP)));
        assert!(wrong("53:53/udp", flow([127, 0, 0, 1], 53, OLD, UDP)));
        assert!(!wrong("53:53/udp", flow(HOST, 53, [172, 19, 0, 3], UDP)), "its own");
        assert!(!wrong("53:53/udp", flow([8, 8, 8, 8], 53, [8, 8, 8, 8], UDP)), "passing through");
        assert!(!wrong("10.9.9.9:53:53/udp", flow(HOST, 53, OLD, UDP)), "another address");
        assert!(!wrong("54:54/udp", flow(HOST, 53, OLD, UDP)), "another port");
    }

    #[test]
    fn a_port_that_goes_takes_the_flows_to_its_container_along() {
        let wrong = |flow: Option<Flow>| {
            is_wrong(&flow.unwrap(), Change::Remove, &lead("53:80/udp", "172.19.0.2"), &[])
        };
        assert!(wrong(flow(HOST, 53, OLD, UDP)));
        assert!(!wrong(flow(HOST, 54, OLD, UDP)), "another port of the same container");
        assert!(!wrong(flow(HOST, 53, [172, 19, 0, 3], UDP)), "another container's");
        assert!(!wrong(flow(OLD, 53, OLD, UDP)), "sent to the container itself");
        let opened = lead("172.19.0.2:53:53/udp", "172.19.0.2");
        assert!(
            is_wrong(&flow(OLD, 53, OLD, UDP).unwrap(), Change::Remove, &opened, &[]),
            "let in by its port"
        );
    }

    #[test]
    fn nothing_but_a_whole_udp_flow_is_one() {
        assert_eq!(flow(HOST, 53, OLD, 6), None, "tcp");
        assert_eq!(parse(&[]), None);
        let shown = flow(HOST, 53, OLD, UDP).unwrap().to_string();
        assert_eq!(shown, "conntrack -D -p udp -s 10.0.0.2 --sport 5000 -d 10.0.0.1 --dport 53");
    }
}
