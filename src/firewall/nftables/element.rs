//! A published port as an element of a map: in words, and as the kernel is told it and tells it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::map::{MAPS, Map};
use super::statics::TABLE;
use crate::firewall::Passed;
use crate::firewall::nft_word;
use crate::firewall::owner::{container_in, of_container};
use crate::model::port::{PortMapping, Ports, Protocol};
use crate::model::rule::{Backend, Family, Rule};
use crate::netfilter::{NESTED, attributes, find, put};

// From `linux/netfilter/nf_tables.h`.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const KEY: u16 = 1;
const DATA: u16 = 2;
const USERDATA: u16 = 6;
const EXPRESSION: u16 = 7;
const KEY_END: u16 = 10;
const VALUE: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

/// What libnftables calls a comment in user data: a type, a length, and text with its NUL.
const COMMENT: u8 = 0;
/// The longest comment that `nft` reads, in bytes.
pub(super) const MAX_COMMENT: usize = 128;
/// The longest range whose ports are counted: the kernel takes longer to make a counter than an
/// element.
const MOST_COUNTED: u32 = 64;
/// How many elements are sent in one attribute, which must be shorter than 64 KiB.
const MOST: usize = 256;

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Element {
    /// Who may call; `None` for everybody.
    from: Option<IpNetwork>,
    /// The address of the host; `None` for any.
    host_ip: Option<IpAddr>,
    protocol: u8,
    port: u16,
    to: (IpAddr, u16),
    /// Whether it counts who calls it, and so in which map it is.
    counted: bool,
    /// Tells whose it is.
    pub(super) comment: String,
}

/// What two of different containers cannot have in common.
pub(super) type Key = (&'static str, Option<IpAddr>, u8, u16);

/// As `nft` lists it.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, host_ip, port, to: (address, inside), comment, .. } = self;
        match from {
            Some(from) => {
                let any = if from.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
                let on = host_ip.map_or_else(|| any.to_owned(), |ip| ip.to_string());
                write!(f, "{from} . {on} . ")?;
            }
            None => host_ip.map_or(Ok(()), |ip| write!(f, "{ip} . "))?,
        }
        write!(f, "{} . {port} comment \"{comment}\"", self.protocol_name())?;
        if self.map().leads { write!(f, " : {address} . {inside}") } else { Ok(()) }
    }
}

impl Element {
    /// The elements that a rule stands for: one for each port.
    pub(super) fn all(rule: &Rule) -> Vec<Self> {
        let Rule::Publish { owner, mapping, to, .. } = rule else { return Vec::new() };
        let comment = of_container(owner, MAX_COMMENT);
        let protocol = mapping.protocol.number();
        let counted = mapping.host.count() <= MOST_COUNTED;
        let ports =
            (mapping.host.first..=mapping.host.last).zip(mapping.container.first..=mapping.container.last);
        let one = |from: Option<IpNetwork>, (port, inside)| Self {
            from,
            host_ip: mapping.address(),
            protocol,
            port,
            to: (*to, inside),
            counted: counted || from.is_some(),
            comment: comment.clone(),
        };
        let sources = mapping.sources(rule.family()).into_iter();
        sources.flat_map(|from| ports.clone().map(move |ports| one(from, ports))).collect()
    }

    /// What such elements mean: one rule for each, or for several that follow one another.
    pub(super) fn published(mut all: Vec<Self>) -> Vec<Rule> {
        let whole = |one: &Self| (one.comment.clone(), one.host_ip, one.protocol, one.to.0, one.from);
        all.sort_by_key(|one| (whole(one), one.port));
        let follows = |one: &Self, next: &Self| {
            let (ports, inside) = (next.port.checked_sub(one.port), next.to.1.checked_sub(one.to.1));
            whole(one) == whole(next) && (ports, inside) == (Some(1), Some(1))
        };
        let rule = |group: &[Self]| {
            let (first, last) = (group.first()?, group.last()?);
            let protocol = first.known_protocol()?;
            let host = Ports { first: first.port, last: last.port };
            let container = Ports { first: first.to.1, last: last.to.1 };
            let from = first.from.into_iter().collect();
            let any = first.to.0.is_ipv6().then_some(Family::Ipv6.unspecified());
            let mapping = PortMapping { host_ip: first.host_ip.or(any), host, container, protocol, from };
            let owner = container_in(&first.comment)?.to_owned();
            Some(Rule::Publish { owner, mapping, to: first.to.0, backend: Backend::Nftables })
        };
        Rule::merged(all.chunk_by(follows).filter_map(rule))
    }

    /// The map that it is in.
    pub(super) fn map(&self) -> &'static Map {
        let (from, leads) = (self.from.is_some(), self.host_ip != Some(self.to.0));
        let on = from || self.host_ip.is_some();
        let is = |map: &&Map| (map.from, map.on, map.counted, map.leads) == (from, on, self.counted, leads);
        MAPS.iter().find(is).unwrap_or(&MAPS[0])
    }

    pub(super) fn key(&self) -> Key {
        (self.map().name, self.host_ip, self.protocol, self.port)
    }

    fn known_protocol(&self) -> Option<Protocol> {
        Protocol::ALL.into_iter().find(|known| known.number() == self.protocol)
    }

    fn protocol_name(&self) -> String {
        self.known_protocol().map_or_else(|| self.protocol.to_string(), |known| known.to_string())
    }

    /// Writes it behind others of a list; to remove one, its key is enough.
    fn write(&self, list: &mut Vec<u8>, whole: bool) {
        put(list, ELEMENT | NESTED, |element| {
            let mut write_key = |kind, addresses: Vec<IpAddr>| {
                put(element, kind | NESTED, |key| {
                    put(key, VALUE, |value| {
                        value.extend(addresses.into_iter().flat_map(octets));
                        value.extend([self.protocol, 0, 0, 0]);
                        value.extend(padded(self.port));
                    });
                });
            };
            match self.from {
                Some(from) => {
                    let [first, last] =
                        self.host_ip.map_or_else(|| all(Family::of(from.ip())), |ip| [ip, ip]);
                    write_key(KEY, vec![from.network(), first]);
                    write_key(KEY_END, vec![from.broadcast(), last]);
                }
                None => write_key(KEY, self.host_ip.into_iter().collect()),
            }
            if whole && self.map().leads {
                put(element, DATA | NESTED, |data| {
                    put(data, VALUE, |value| {
                        value.extend(octets(self.to.0));
                        value.extend(padded(self.to.1));
                    });
                });
            }
            if whole {
                put(element, USERDATA, |data| {
                    data.extend([COMMENT, self.comment.len() as u8 + 1]);
                    data.extend(self.comment.bytes());
                    data.push(0);
                });
            }
        });
    }

    /// Reads one from a list, and what has passed it. What others have put there with a key or
    /// data of another form is none.
    pub(super) fn parse(family: Family, map: &Map, element: &[u8]) -> Option<(Self, Option<Passed>)> {
        let mut key = find(find(element, KEY)?, VALUE)?;
        let (mut from, mut host_ip) = (None, None);
        if map.from {
            let mut end = find(find(element, KEY_END)?, VALUE)?;
            from = Some(subnet(address(family, &mut key)?, address(family, &mut end)?)?);
            let (first, last) = (address(family, &mut key)?, address(family, &mut end)?);
            host_ip = (first == last).then_some(first);
            if host_ip.is_none() && [first, last] != all(family) {
                return None;
            }
        } else if map.on {
            host_ip = Some(address(family, &mut key)?);
        }
        let (protocol, port) = (*key.first()?, port(key.get(4..8)?)?);
        let to = if map.leads {
            let mut data = find(find(element, DATA)?, VALUE)?;
            (address(family, &mut data)?, self::port(data)?)
        } else {
            (host_ip?, port)
        };
        let comment = find(element, USERDATA).and_then(comment).unwrap_or_default();
        Some((Self { from, host_ip, protocol, port, to, counted: map.counted, comment }, passed(element)))
    }
}

fn passed(element: &[u8]) -> Option<Passed> {
    let expression = find(element, EXPRESSION)?;
    if find(expression, EXPRESSION_NAME)? != b"counter\0" {
        return None;
    }
    let counter = find(expression, EXPRESSION_DATA)?;
    let number = |kind| Some(u64::from_be_bytes(find(counter, kind)?.try_into().ok()?));
    Some(Passed { packets: number(COUNTER_PACKETS)?, bytes: number(COUNTER_BYTES)? })
}

/// The comment in user data.
pub(super) fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            return Some(String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned());
        }
        data = &rest[value.len()..];
    }
    None
}

/// The attributes of a request about a map.
pub(super) fn about(map: &Map) -> Vec<u8> {
    let mut attributes = Vec::new();
    put(&mut attributes, LIST_TABLE, |name| name.extend([TABLE.as_bytes(), &[0]].concat()));
    put(&mut attributes, LIST_SET, |name| name.extend([map.name.as_bytes(), &[0]].concat()));
    attributes
}

/// The attributes of as many requests as it takes to add or remove all of `elements`, each with
/// the first of them.
pub(super) fn requests(elements: &[Element], whole: bool) -> Vec<(Vec<u8>, &Element)> {
    let same_map = elements.chunk_by(|a, b| a.map() == b.map());
    let request = |elements: &'_ [Element]| {
        let mut attributes = about(elements[0].map());
        put(&mut attributes, LIST_ELEMENTS | NESTED, |list| {
            elements.iter().for_each(|element| element.write(list, whole));
        });
        attributes
    };
    same_map.flat_map(|elements| elements.chunks(MOST)).map(|some| (request(some), &some[0])).collect()
}

/// The elements in the kernel's answer about a map.
pub(super) fn listed(family: Family, map: &Map, answer: &[u8]) -> Vec<(Element, Option<Passed>)> {
    let list = find(answer, LIST_ELEMENTS).unwrap_or_default();
    attributes(list).filter_map(|(_, element)| Element::parse(family, map, element)).collect()
}

/// One command that adds all of `elements`, which are in one map.
pub(super) fn command(family: Family, elements: &[Element]) -> Option<String> {
    let map = elements.first()?.map().name;
    let list: Vec<String> = elements.iter().map(ToString::to_string).collect();
    Some(format!("add element {} {TABLE} {map} {{ {} }}", nft_word(family), list.join(", ")))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The first and the last address that there are.
fn all(family: Family) -> [IpAddr; 2] {
    match family {
        Family::Ipv4 => [family.unspecified(), Ipv4Addr::BROADCAST.into()],
        Family::Ipv6 => [family.unspecified(), Ipv6Addr::from([0xff; 16]).into()],
    }
}

/// The subnet from its first address to its last, if they are a subnet's.
fn subnet(first: IpAddr, last: IpAddr) -> Option<IpNetwork> {
    // Beyond the longest prefix there is no subnet.
    let mut all = (0..=128).map_while(|prefix| IpNetwork::new(first, prefix).ok());
    all.find(|subnet| subnet.network() == first && subnet.broadcast() == last)
}

/// Every part of a key is padded to four bytes.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn port(value: &[u8]) -> Option<u16> {
    value.first_chunk::<2>().map(|octets| u16::from_be_bytes(*octets))
}

/// Takes an address from the beginning.
fn address(family: Family, value: &mut &[u8]) -> Option<IpAddr> {
    Some(match family {
        Family::Ipv4 => {
            let (octets, rest) = value.split_first_chunk::<4>()?;
            *value = rest;
            Ipv4Addr::from(*octets).into()
        }
        Family::Ipv6 => {
            let (octets, rest) = value.split_first_chunk::<16>()?;
            *value = rest;
            Ipv6Addr::from(*octets).into()
        }
    })
}
