//! What single values must look like, by what the kernel, iptables and file names allow.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use sha2::{Digest, Sha256};

use super::link::{BRIDGE_MAC, CONTAINER_MAC, HOST_MAC, IFB_MAC};
use crate::error::Error;

/// An interface's name: 1 to 15 of the letters, digits and `_ . - @`.
///
/// Stricter than the kernel's `dev_valid_name`, because it also reaches iptables (where a
/// leading `-` or `!` and a trailing `+` have a meaning), the kernel's own name templates (`%`)
/// and the directories of `/proc/sys/net` (where `all` and `default` are not interfaces).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Iface(String);
shown_as_written! { Iface }
kept_as_text! { Iface Mac }

impl Iface {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Iface {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self, Error> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"_.-@".contains(&b);
        let cause = if name.is_empty() || name.len() > 15 {
            "an interface's name has 1 to 15 characters"
        } else if !name.bytes().all(fine) || name.starts_with('-') {
            "only letters, digits and _ . - @ may be in an interface's name"
        } else if ["all", "default", ".", ".."].contains(&name) {
            "the kernel keeps this name for itself"
        } else {
            return Ok(Self(name.to_owned()));
        };
        let shown: String = name.chars().take(32).collect();
        Err(Error::new(format!("interface name '{shown}'"), cause))
    }
}

/// An MTU in bytes: from 68, what IPv4 needs (RFC 791), to 65535, what a veth takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtu(pub u32);

impl FromStr for Mtu {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse()
            .ok()
            .filter(|mtu| (68..=65535).contains(mtu))
            .map(Self)
            .ok_or_else(|| Error::new(format!("mtu '{text}'"), "it must be from 68 to 65535 bytes"))
    }
}

/// A bridge's address with its prefix length: one that a host can have, in a subnet with room
/// for at least one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway(pub IpNetwork);

impl FromStr for Gateway {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |cause: String| Error::new(format!("address '{text}'"), cause);
        let network: IpNetwork =
            text.parse().map_err(|cause: ipnetwork::IpNetworkError| refuse(cause.to_string()))?;
        if !text.contains('/') {
            return Err(refuse("it lacks its prefix length, as in 172.19.0.1/16".to_owned()));
        }
        let prefixes = if network.is_ipv4() { 8..=30 } else { 16..=126 };
        if !prefixes.contains(&network.prefix()) {
            let cause = format!("the prefix length must be from {} to {}", prefixes.start(), prefixes.end());
            return Err(refuse(cause));
        }
        if network.ip() == network.network() || network.is_ipv4() && network.ip() == network.broadcast() {
            let not = if network.is_ipv4() { "network or broadcast" } else { "subnet-router anycast" };
            return Err(refuse(format!("it is the {not} address of {network}")));
        }
        match unusable(network.ip()) {
            Some(cause) => Err(refuse(cause.to_owned())),
            None => Ok(Self(network)),
        }
    }
}

/// Why no host can have an address that others route packets to.
fn unusable(address: IpAddr) -> Option<&'static str> {
    let special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    match address {
        _ if special => Some("no host can have it"),
        IpAddr::V4(ip) => (ip.octets()[0] == 0 || ip.octets()[0] >= 240).then_some("no host can have it"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("it stands for an IPv4 address"),
        IpAddr::V6(ip) if ip.to_ipv4().is_some() => Some("no host can have it"),
        IpAddr::V6(ip) => ip.is_unicast_link_local().then_some("every link has that subnet (fe80::/10)"),
    }
}

/// The subnet of an address with a prefix length: `172.19.0.1/16` gives `172.19.0.0/16`.
pub fn subnet(address: IpNetwork) -> IpNetwork {
    IpNetwork::new(address.network(), address.prefix()).unwrap_or(address)
}

/// The address of a subnet that gateways usually have.
pub fn first_host(subnet: IpNetwork) -> Option<IpNetwork> {
    let first = match subnet.network() {
        IpAddr::V4(ip) => IpAddr::from(Ipv4Addr::from(u32::from(ip).checked_add(1)?)),
        IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from(u128::from(ip).checked_add(1)?)),
    };
    IpNetwork::new(first, subnet.prefix()).ok()
}

/// Whether two subnets share an address.
pub fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

/// A stable MAC address for an IP address: locally administered, `kind` in the second byte.
///
/// Stable, so that a neighbour's ARP entry still holds when an address is leased again. Two
/// addresses of one /96 have two, and so have the gateways of two subnets, most likely: those of
/// IPv6 often end alike.
pub fn mac(kind: u8, address: IpAddr) -> Mac {
    let tail = match address {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let (prefix, tail) = octets.split_at(12);
            let hash = Sha256::digest(prefix);
            [0, 1, 2, 3].map(|at| tail[at] ^ hash[at])
        }
    };
    Mac([0x02, kind, tail[0], tail[1], tail[2], tail[3]])
}

/// An Ethernet address, written as `02:6e:ac:13:00:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether it is one of those that are made from IP addresses; see [`mac`].
    pub fn is_derived(self) -> bool {
        self.0[0] == 0x02 && [BRIDGE_MAC, HOST_MAC, CONTAINER_MAC, IFB_MAC].contains(&self.0[1])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let octets: Option<Vec<u8>> =
            text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
        let refuse = |cause: &str| Error::new(format!("MAC address '{text}'"), cause);
        let octets = octets.and_then(|octets| octets.try_into().ok());
        let octets: [u8; 6] = octets.ok_or_else(|| refuse("it is not six octets"))?;
        // The lowest bit of the first octet is that of a group (IEEE 802).
        if octets[0] & 1 == 1 || octets == [0; 6] {
            Err(refuse("no interface can have it"))
        } else {
            Ok(Self(octets))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_means_something_elsewhere_is_refused() {
        for name in
            ["", "-j", "!eth0", "eth+", "eth%d", "a/b", "a b", "all", "default", "..", "x123456789012345"]
        {
            assert!(name.parse::<Iface>().is_err(), "{name:?}");
        }
        for name in ["eth0", "br-lan", "eth0.100", "a", "x12345678901234"] {
            assert!(name.parse::<Iface>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_gateway_is_an_address_that_a_host_can_have() {
        for text in [
            "172.19.0.1",
            "172.19.0.0/16",
            "172.19.255.255/16",
            "10.0.0.1/31",
            "10.0.0.1/7",
            "127.0.0.1/8",
            "224.0.0.1/24",
            "x",
            "0.0.0.1/8",
            "240.0.0.1/8",
            "fd00::1",
        ] {
            assert!(text.parse::<Gateway>().is_err(), "{text}");
        }
        for (text, cause) in [
            ("fd00::1/15", "the prefix length must be from 16 to 126"),
            ("fd00::1/127", "the prefix length must be from 16 to 126"),
            ("fd00::/64", "it is the subnet-router anycast address of fd00::/64"),
            ("fe80::1/64", "every link has that subnet (fe80::/10)"),
            ("::ffff:10.0.0.1/120", "it stands for an IPv4 address"),
            ("::1/64", "no host can have it"),
            ("ff02::1/64", "no host can have it"),
        ] {
            let error = text.parse::<Gateway>().unwrap_err().to_string();
            assert_eq!(error, format!("address '{text}': {cause}"));
        }
        for (text, whole) in [
            ("172.19.0.1/16", "172.19.0.0/16"),
            ("fd00:19::1/64", "fd00:19::/64"),
            ("2001:db8::ffff/112", "2001:db8::/112"),
        ] {
            let Gateway(gateway) = text.parse().unwrap();
            assert_eq!(subnet(gateway).to_string(), whole);
        }
    }

    #[test]
    fn an_mtu_is_one_that_ipv4_can_use() {
        for text in ["67", "65536", "-1", "x", ""] {
            assert!(text.parse::<Mtu>().is_err(), "{text}");
        }
        assert_eq!("68".parse::<Mtu>().unwrap(), Mtu(68));
    }

    #[test]
    fn a_mac_survives_being_written_down() {
        let before = mac(0x6e, "172.19.0.2".parse().unwrap());
        assert_eq!(before.to_string(), "02:6e:ac:13:00:02");
        assert_eq!(before.to_string().parse::<Mac>().unwrap(), before);
        assert!("02:6e".parse::<Mac>().is_err());
    }

    #[test]
    fn addresses_of_two_subnets_that_end_alike_have_macs_of_their_own() {
        let of = |address: &str| mac(0x6e, address.parse().unwrap());
        assert_ne!(of("fd00:19::2"), of("fd00:20::2"));
        assert_ne!(of("fd00:19::2"), of("fd00:19::3"));
    }
}
