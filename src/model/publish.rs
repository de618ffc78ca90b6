//! The grammar of published ports, as docker and podman write it, and who may call them:
//! `[[host-ip:][host-port]:]container-port[/protocol][,from=CIDR]…`, both ports also as ranges
//! `8000-8010`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;

use super::port::{PortMapping, Ports, Protocol, bracketed};
use super::rule::Family;
use crate::error::Error;

/// What stands before a source.
const FROM: &str = "from=";

/// A port, or a range of them, that a container asks to have published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Only on this address of the host; `None` is all of them, and `0.0.0.0` all of IPv4.
    pub host_ip: Option<IpAddr>,
    /// As many ports as `container`; `None` asks for free ones.
    pub host: Option<Ports>,
    /// The ports inside the container.
    pub container: Ports,
    /// Which protocol's ports.
    pub protocol: Protocol,
    /// Who may call: sources, none of them within another; everybody if there is none.
    pub from: Vec<IpNetwork>,
}

impl Publish {
    /// What it becomes with these ports of the host, for a container that has IPv6 or not.
    pub fn at(&self, host: Ports, ipv6: bool) -> PortMapping {
        let Self { host_ip, container, protocol, .. } = *self;
        let all = ipv6.then_some(Family::Ipv6.unspecified());
        let host_ip = host_ip.or(all).filter(|ip| ip.is_ipv6() || !ip.is_unspecified());
        PortMapping { host_ip, host, container, protocol, from: self.from.clone() }
    }

    /// How many it counts for in a list. With sources each port takes an entry for each of them,
    /// where entries are not as cheap.
    pub fn weight(&self) -> usize {
        if self.from.is_empty() { 1 } else { self.container.count() as usize * self.from.len() }
    }
}

impl TryFrom<String> for PortMapping {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        let publish: Publish = text.parse()?;
        let no_port = || Error::new(format!("publish '{text}'"), "it has no port of the host");
        Ok(publish.at(publish.host.ok_or_else(no_port)?, true))
    }
}

impl From<PortMapping> for String {
    /// What a container that has IPv6 would ask for to get it.
    fn from(mapping: PortMapping) -> Self {
        let PortMapping { host_ip, host, container, protocol, from } = mapping;
        let host_ip = Some(host_ip.unwrap_or(Family::Ipv4.unspecified()));
        let host_ip = host_ip.filter(|ip| *ip != Family::Ipv6.unspecified());
        Publish { host_ip, host: Some(host), container, protocol, from }.to_string()
    }
}

/// What stands in one text: several of them between commas, each with its `from=` behind it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishList(pub Vec<Publish>);

impl FromStr for PublishList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut specs: Vec<&str> = Vec::new();
        let mut begin = 0;
        let ends = text.match_indices(',').map(|(at, _)| at).chain([text.len()]);
        for end in ends {
            let goes_on =
                text[end..].strip_prefix(',').is_some_and(|rest| rest.trim_start().starts_with(FROM));
            if !goes_on {
                specs.push(text[begin..end].trim());
                begin = end + 1;
            }
        }
        specs.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for PublishList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let specs: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&specs.join(","))
    }
}

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|cause| {
            let shown: String = text.chars().take(80).collect();
            Error::new(format!("publish '{shown}'"), cause).hint(
                "[[host-ip:][host-port]:]container-port[/tcp|udp|sctp][,from=CIDR], as 127.0.0.1:8080:80/tcp",
            )
        })
    }
}

fn parse(text: &str) -> Result<Publish, String> {
    if text.starts_with(FROM) {
        return Err("no port stands before it".to_owned());
    }
    let (text, from) = match text.split_once(',') {
        None => (text, Vec::new()),
        Some((text, from)) => (text.trim_end(), sources(from)?),
    };
    let (ports, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, name)) => {
            let protocol = Protocol::named(&name.to_ascii_lowercase());
            (ports, protocol.ok_or_else(|| format!("'{name}' is not one of tcp, udp and sctp"))?)
        }
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
    Ok(Publish { host_ip, host, container, protocol, from })
}

/// `from=10.0.0.0/8,from=192.0.2.7`; what is within another says nothing more.
fn sources(text: &str) -> Result<Vec<IpNetwork>, String> {
    let mut sources = text.split(',').map(source).collect::<Result<Vec<IpNetwork>, _>>()?;
    sources.sort_by_key(|source| (source.prefix(), source.ip()));
    let mut kept: Vec<IpNetwork> = Vec::new();
    for source in sources {
        if !kept.iter().any(|wider| wider.contains(source.ip())) {
            kept.push(source);
        }
    }
    Ok(kept)
}

fn source(word: &str) -> Result<IpNetwork, String> {
    let text = word.trim().strip_prefix(FROM).ok_or_else(|| format!("'{word}' is not {FROM}CIDR"))?;
    let source: IpNetwork = text.parse().map_err(|_| format!("'{text}' is not an address or a subnet"))?;
    if source.prefix() == 0 {
        return Err(format!("{source} is everybody, as without {FROM}"));
    }
    IpNetwork::new(source.network(), source.prefix()).map_err(|cause| cause.to_string())
}

/// Splits what stands before the container's port: `8080`, `10.0.0.1:8080`, `10.0.0.1:`,
/// `[fd00::1]:8080`. `[::]` is no restriction.
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
        IpAddr::V6(ip) if ip.is_loopback() => {
            Err("the kernel leads nothing from ::1 to a container; 127.0.0.1 it does".to_owned())
        }
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Err(format!("write the IPv4 address for {ip}")),
        IpAddr::V6(ip) if ip.is_unspecified() => Ok((None, ports)),
        _ => Ok((Some(address), ports)),
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host_ip, self.host) {
            (Some(ip), Some(host)) => write!(f, "{}:{host}:", bracketed(ip))?,
            (Some(ip), None) => write!(f, "{}::", bracketed(ip))?,
            (None, Some(host)) => write!(f, "{host}:")?,
            (None, None) => {}
        }
        write!(f, "{}/{}", self.container, self.protocol)?;
        self.from.iter().try_for_each(|source| write!(f, ",{FROM}{source}"))
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
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80/tcp"),
            ("[::]:8080:80", "8080:80/tcp"),
            ("[fd00::1]:8080:80", "[fd00::1]:8080:80/tcp"),
            ("[fd00::1]::80/udp", "[fd00::1]::80/udp"),
            ("80,from=fd00::7/8", "80/tcp,from=fd00::/8"),
            ("8000-8010:9000-9010", "8000-8010:9000-9010/tcp"),
            ("8000-8000:80", "8000:80/tcp"),
            ("8080:80,from=10.0.0.0/8", "8080:80/tcp,from=10.0.0.0/8"),
            ("80/udp, from=192.0.2.7,from=10.1.2.3/16", "80/udp,from=10.1.0.0/16,from=192.0.2.7/32"),
            ("80,from=10.1.0.0/16,from=10.0.0.0/8,from=10.0.0.0/8", "80/tcp,from=10.0.0.0/8"),
        ] {
            assert_eq!(shown(text), meaning, "{text}");
        }
    }

    #[test]
    fn a_port_mapping_is_written_as_it_would_be_asked_for() {
        for (text, ipv6, written) in [
            ("8080:80", true, "8080:80/tcp"),
            ("8080:80", false, "0.0.0.0:8080:80/tcp"),
            ("0.0.0.0:8080:80", true, "0.0.0.0:8080:80/tcp"),
            ("[fd00::1]:80-90:80-90/udp,from=fd00::/8", true, "[fd00::1]:80-90:80-90/udp,from=fd00::/8"),
        ] {
            let publish: Publish = text.parse().unwrap();
            let mapping = publish.at(publish.host.unwrap(), ipv6);
            assert_eq!(String::from(mapping.clone()), written);
            assert_eq!(PortMapping::try_from(written.to_owned()).unwrap(), mapping);
        }
        assert!(PortMapping::try_from("80/tcp".to_owned()).is_err());
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
            ("[::1]:80:80", "the kernel leads nothing from ::1"),
            ("[::ffff:10.0.0.1]:80:80", "write the IPv4 address"),
            ("1.2.3.4.5:80:80", "not an IP address"),
            ("80 -j ACCEPT", "not a port"),
            ("80,81", "'81' is not from=CIDR"),
            ("80,", "'' is not from=CIDR"),
            ("from=10.0.0.0/8", "no port stands before it"),
            ("80,from=10.0.0.0/33", "'10.0.0.0/33' is not an address or a subnet"),
            ("80,from=0.0.0.0/0", "everybody"),
            ("80,from=::/0", "everybody"),
        ] {
            assert!(shown(text).contains(reason), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn a_source_belongs_to_the_port_before_it() {
        for (text, meaning) in [
            ("80", &["80/tcp"][..]),
            (
                "80,81:81,from=10.0.0.0/8,from=192.0.2.7,82",
                &["80/tcp", "81:81/tcp,from=10.0.0.0/8,from=192.0.2.7/32", "82/tcp"],
            ),
            ("80 , from=10.0.0.0/8 , 81", &["80/tcp,from=10.0.0.0/8", "81/tcp"]),
        ] {
            let list: PublishList = text.parse().unwrap();
            assert_eq!(list.0.iter().map(ToString::to_string).collect::<Vec<_>>(), meaning);
            assert_eq!(list.to_string().parse::<PublishList>().unwrap(), list);
        }
        for text in ["", "80,", ",80", "from=10.0.0.0/8,80"] {
            assert!(text.parse::<PublishList>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back_the_same(
            ip in proptest::option::of(any::<[u8; 4]>()),
            first in 1u16..65000, count in 0u16..500, shift in 0u16..30,
            given in any::<bool>(), protocol in 0..3, from in proptest::option::of((any::<[u8; 4]>(), 1u8..33)),
        ) {
            let spec = Publish {
                host_ip: ip.map(IpAddr::from),
                host: given.then(|| Ports { first: first + shift, last: first + shift + count }),
                container: Ports { first, last: first + count },
                protocol: Protocol::ALL[protocol as usize],
                from: from.iter().flat_map(|(ip, prefix)| source(&format!("from={}/{prefix}", IpAddr::from(*ip)))).collect(),
            };
            prop_assert_eq!(spec.to_string().parse::<Publish>().unwrap(), spec);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9:./,=a-z\\[\\]-]{0,40}") {
            let _ = text.parse::<PublishList>();
        }
    }
}
