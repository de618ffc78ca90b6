//! The grammar of published ports, as docker and podman write it:
//! `[[host-ip:][host-port]:]container-port[/protocol]`, both ports also as ranges `8000-8010`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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

/// A port, or a range of them, that a container asks to have published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// Only on this address of the host; `None` is all of them.
    pub host_ip: Option<IpAddr>,
    /// As many ports as `container`; `None` asks for free ones.
    pub host: Option<Ports>,
    /// The ports inside the container.
    pub container: Ports,
    /// Which protocol's ports.
    pub protocol: Protocol,
}

impl Publish {
    /// What it becomes with these ports of the host.
    pub fn at(&self, host: Ports) -> PortMapping {
        let Self { host_ip, container, protocol, .. } = *self;
        PortMapping { host_ip, host, container, protocol }
    }
}

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|cause| {
            let shown: String = text.chars().take(80).collect();
            Error::new(format!("publish '{shown}'"), cause)
                .hint("[[host-ip:][host-port]:]container-port[/tcp|udp|sctp], as 127.0.0.1:8080:80/tcp")
        })
    }
}

fn parse(text: &str) -> Result<Publish, String> {
    let (ports, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, name)) => (ports, parse_protocol(name)?),
    };
    let (host, container) = ports.rsplit_once(':').map_or((None, ports), |(h, c)| (Some(h), c));
    let container: Ports = container.parse()?;
    let (host_ip, host_ports) = match host {
        None => (None, ""),
        Some(host) => split_host(host)?,
    };
    let host = if host_ports.is_empty() { None } else { Some(host_ports.parse::<Ports>()?) };
    if let Some(host) = host.filter(|host| host.count() != container.count()) {
        return Err(format!(
            "{} ports of the host cannot lead to {} of the container",
            host.count(),
            container.count()
        ));
    }
    Ok(Publish { host_ip, host, container, protocol })
}

fn parse_protocol(name: &str) -> Result<Protocol, String> {
    match name.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        _ => Err(format!("'{name}' is not one of tcp, udp and sctp")),
    }
}

/// Splits what stands before the container's port: `8080`, `10.0.0.1:8080`, `10.0.0.1:`,
/// `[::1]:8080`. An unspecified address is no restriction.
fn split_host(host: &str) -> Result<(Option<IpAddr>, &str), String> {
    let (address, ports) = match host.rsplit_once(':') {
        Some((address, ports)) => (address, ports),
        None => return Ok((None, host)),
    };
    let bare = match address.strip_prefix('[') {
        None if address.contains(':') => return Err(format!("write '{address}' in brackets")),
        None => address,
        Some(rest) => rest.strip_suffix(']').ok_or("a bracket is missing")?,
    };
    if bare.is_empty() && !address.starts_with('[') {
        return Ok((None, ports));
    }
    let address: IpAddr = bare.parse().map_err(|_| format!("'{bare}' is not an IP address"))?;
    match address {
        IpAddr::V6(_) => Err(format!("{address} is IPv6, and only IPv4 networks are built so far")),
        IpAddr::V4(v4) => Ok((Some(address).filter(|_| !v4.is_unspecified()), ports)),
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

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host_ip, self.host) {
            (Some(ip), Some(host)) => write!(f, "{ip}:{host}:")?,
            (Some(ip), None) => write!(f, "{ip}::")?,
            (None, Some(host)) => write!(f, "{host}:")?,
            (None, None) => {}
        }
        write!(f, "{}/{}", self.container, self.protocol)
    }
}

/// A port mapping: a port, or a range of them, that is published, every question answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host's address; `None` is all of them.
    pub host_ip: Option<IpAddr>,
    /// The host's ports, as many as `container`.
    pub host: Ports,
    /// The container's ports.
    pub container: Ports,
    /// Which protocol's ports.
    pub protocol: Protocol,
}

impl PortMapping {
    /// Whether both would catch the same packet: same protocol, a port in common, and the same
    /// address or one that stands for all.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.host.overlaps(other.host)
            && (self.host_ip.is_none() || other.host_ip.is_none() || self.host_ip == other.host_ip)
    }

    /// Whether the host can reach it by a loopback address.
    pub fn on_loopback(&self) -> bool {
        self.host_ip.is_none_or(|ip| ip.is_loopback())
    }

    /// The host's side: `0.0.0.0:8080/tcp`.
    pub fn host_side(&self) -> String {
        let ip = self.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        format!("{ip}:{}/{}", self.host, self.protocol)
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = self.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        write!(f, "{ip}:{}->{}/{}", self.host, self.container, self.protocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        text.parse::<Publish>().map_or_else(|error| error.to_string(), |spec| spec.to_string())
    }

    #[test]
    fn every_documented_form_is_read() {
        for (text, meaning) in [
            ("80", "80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("8080:80/SCTP", "8080:80/sctp"),
            (":80", "80/tcp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1::80/tcp"),
            ("0.0.0.0:8080:80", "8080:80/tcp"),
            ("8000-8010:9000-9010", "8000-8010:9000-9010/tcp"),
            ("8000-8000:80", "8000:80/tcp"),
        ] {
            assert_eq!(shown(text), meaning, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_port_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "not a port"),
            ("0", "not a port"),
            ("65536", "not a port"),
            ("+80", "not a port"),
            ("80/icmp", "not one of tcp, udp and sctp"),
            ("8000-8010:80", "11 ports of the host cannot lead to 1"),
            ("90-80", "runs backwards"),
            ("localhost:80:80", "not an IP address"),
            ("::1:80:80", "in brackets"),
            ("[::1:80:80", "bracket is missing"),
            ("[::1]:80:80", "IPv6"),
            ("1.2.3.4.5:80:80", "not an IP address"),
            ("80 -j ACCEPT", "not a port"),
        ] {
            assert!(shown(text).contains(reason), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn all_addresses_conflict_with_one_and_tcp_never_with_udp() {
        let published = |ip: Option<&str>, first, last, protocol| PortMapping {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            host: Ports { first, last },
            container: Ports { first, last },
            protocol,
        };
        let all = published(None, 80, 90, Protocol::Tcp);
        assert!(all.conflicts(&published(Some("10.0.0.1"), 90, 95, Protocol::Tcp)));
        assert!(!all.conflicts(&published(None, 91, 95, Protocol::Tcp)));
        assert!(!all.conflicts(&published(None, 80, 90, Protocol::Udp)));
        let one = published(Some("10.0.0.1"), 80, 80, Protocol::Tcp);
        assert!(!one.conflicts(&published(Some("10.0.0.2"), 80, 80, Protocol::Tcp)));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_the_same(
            ip in proptest::option::of(any::<[u8; 4]>()),
            first in 1u16..65000, count in 0u16..500, shift in 0u16..30,
            given in any::<bool>(), protocol in 0..3,
        ) {
            let spec = Publish {
                host_ip: ip.map(IpAddr::from).filter(|ip| !ip.is_unspecified()),
                host: given.then(|| Ports { first: first + shift, last: first + shift + count }),
                container: Ports { first, last: first + count },
                protocol: [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][protocol as usize],
            };
            prop_assert_eq!(spec.to_string().parse::<Publish>().unwrap(), spec);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9:./a-z\\[\\]-]{0,40}") {
            let _ = text.parse::<Publish>();
        }
    }
}
