//! Ports, and what leads from the host's to a container's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::rule::Family;

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
    /// Stream Control Transmission Protocol.
    Sctp,
}

impl Protocol {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.to_string() == name)
    }

    /// Its number in packets.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// An inclusive range of ports, never empty, never with port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The lowest port.
    pub first: u16,
    /// The highest port; `first` for a single one.
    pub last: u16,
}

/// Where free ports are looked for: the dynamic ports, up to the last there is (RFC 6335,
/// section 6).
pub const DYNAMIC: Ports = Ports { first: 49152, last: 65535 };

impl Ports {
    /// How many ports there are, at least 1.
    pub fn count(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// The blocks of 256 ports that they are in.
    pub fn blocks(self) -> RangeInclusive<u8> {
        let [[first, _], [last, _]] = [self.first, self.last].map(u16::to_be_bytes);
        first..=last
    }

    /// Whether any port is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (parse_port(first)?, parse_port(last)?);
        if first > last {
            return Err(format!("range {text} runs backwards"));
        }
        Ok(Self { first, last })
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    // u16's own parser would accept a sign.
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|port| digits && *port != 0)
        .ok_or_else(|| format!("'{text}' is not a port from 1 to 65535"))
}

/// A port mapping: a port, or a range of them, that is published, every question answered. In a
/// record it stands as [`Publish`](super::publish::Publish) asks for it: there may be hundreds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortMapping {
    /// The host's address; `None` is all of IPv4, and `::` all of both families.
    pub host_ip: Option<IpAddr>,
    /// The host's ports, as many as `container`.
    pub host: Ports,
    /// The container's ports.
    pub container: Ports,
    /// Which protocol's ports.
    pub protocol: Protocol,
    /// Who may call: sources, none of them within another; everybody if there is none.
    pub from: Vec<IpNetwork>,
}

impl PortMapping {
    /// Whether both would catch the same packet: same protocol, a port in common, and the same
    /// address or one that stands for all.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.host.overlaps(other.host)
            && (self.covers(other.host()) || other.covers(self.host()))
    }

    /// The host's address, the unspecified one for all: of IPv4, or of both families.
    fn host(&self) -> IpAddr {
        self.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    fn covers(&self, other: IpAddr) -> bool {
        let own = self.host();
        own == other || own.is_unspecified() && (own.is_ipv6() || other.is_ipv4())
    }

    /// The one address of the host that it is published on, if it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }

    /// Whether packets of a family are led by it.
    pub fn is_for(&self, family: Family) -> bool {
        let own = self.host();
        Family::of(own) == family || own.is_unspecified() && own.is_ipv6()
    }

    /// Whether it lets packets through to this address of a container's own, rather than lead
    /// there what is for the host.
    pub fn opens(&self, to: IpAddr) -> bool {
        self.host_ip == Some(to)
    }

    /// Whether the host can reach it by a loopback address, which only IPv4 can translate.
    pub fn on_loopback(&self) -> bool {
        self.address().is_none_or(|ip| ip.is_loopback())
    }

    /// The sources of a family that may call: `[None]` is everybody, and nothing is nobody.
    pub fn sources(&self, family: Family) -> Vec<Option<IpNetwork>> {
        if self.from.is_empty() {
            return vec![None];
        }
        let of_family = self.from.iter().filter(|source| Family::of(source.ip()) == family);
        of_family.copied().map(Some).collect()
    }

    /// Whether packets from `source` are let in.
    pub fn takes(&self, source: IpAddr) -> bool {
        self.from.is_empty() || self.from.iter().any(|network| network.contains(source))
    }

    /// The host's side: `0.0.0.0:8080/tcp`.
    pub fn host_side(&self) -> String {
        format!("{}:{}/{}", bracketed(self.host()), self.host, self.protocol)
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}->{}/{}", bracketed(self.host()), self.host, self.container, self.protocol)?;
        self.from.iter().try_for_each(|source| write!(f, ",from={source}"))
    }
}

/// An address as it stands before a port.
pub(super) fn bracketed(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_conflict_with_one_and_tcp_never_with_udp() {
        let published = |ip: Option<&str>, first, last, protocol| PortMapping {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host: Ports { first, last },
            container: Ports { first, last },
            protocol,
            from: Vec::new(),
        };
        let all = published(None, 80, 90, Protocol::Tcp);
        assert!(all.conflicts(&published(Some("10.0.0.1"), 90, 95, Protocol::Tcp)));
        assert!(!all.conflicts(&published(None, 91, 95, Protocol::Tcp)));
        assert!(!all.conflicts(&published(None, 80, 90, Protocol::Udp)));
        let one = published(Some("10.0.0.1"), 80, 80, Protocol::Tcp);
        assert!(!one.conflicts(&published(Some("10.0.0.2"), 80, 80, Protocol::Tcp)));
    }

    #[test]
    fn all_addresses_of_both_families_conflict_with_each_and_those_of_one_only_with_their_own() {
        let on = |ip: Option<&str>| PortMapping {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host: Ports { first: 80, last: 80 },
            container: Ports { first: 80, last: 80 },
            protocol: Protocol::Tcp,
            from: Vec::new(),
        };
        let both = on(Some("::"));
        for other in [None, Some("10.0.0.1"), Some("fd00::1"), Some("::")] {
            assert!(both.conflicts(&on(other)) && on(other).conflicts(&both), "{other:?}");
        }
        assert!(!on(None).conflicts(&on(Some("fd00::1"))) && !on(Some("fd00::1")).conflicts(&on(None)));
        let families = |mapping: PortMapping| Family::ALL.map(|family| mapping.is_for(family));
        assert_eq!(families(both.clone()), [true, true]);
        assert_eq!(families(on(None)), [true, false]);
        assert_eq!(families(on(Some("fd00::1"))), [false, true]);
        assert_eq!((both.to_string().as_str(), both.on_loopback()), ("[::]:80->80/tcp", true));
    }
}
