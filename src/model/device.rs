//! A device of the host that is moved into a container, and what it takes to bring it back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::sandbox::Netns;
use super::value::{Iface, Mac};
use crate::error::Error;

/// An interface that is moved. All of it is recorded before the move: whoever brings it back
/// has nothing else to go by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedDevice {
    /// Its name on the host.
    pub name: Iface,
    /// Its name inside the container.
    pub inside: Iface,
    /// The container's network namespace.
    pub netns: Netns,
    /// The inode of that namespace.
    pub inode: u64,
    /// Another link-layer address while it is inside.
    pub mac: Option<Mac>,
    /// Another MTU while it is inside, in bytes.
    pub mtu: Option<u32>,
    /// Its alias while it is away. A container can forge it: nothing is known by it.
    pub mark: String,
    /// How it was found.
    pub before: Before,
}

/// What an interface of the host is and has, to be recognised by and given back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// What it is.
    pub identity: Identity,
    /// In bytes.
    pub mtu: u32,
    /// Whether it was administratively up.
    pub up: bool,
    /// Its alias.
    pub alias: Option<String>,
    /// The bridge that it was a port of.
    pub master: Option<String>,
    /// Its addresses, IPv4 and IPv6.
    pub addresses: Vec<SavedAddress>,
    /// The routes of all tables that went by it or from an address of it, IPv4 and IPv6.
    pub routes: Vec<SavedRoute>,
    /// Its parameters below `net/ipv4/conf` and `net/ipv6/conf` that are not the defaults:
    /// family, name, value.
    pub parameters: Vec<(String, String, String)>,
}

/// By what an interface can be known again under another name in another namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number on the host. A move keeps it where it is free.
    pub index: u32,
    /// As `ip link show type` would take it; `None` for hardware.
    pub kind: Option<String>,
    /// Its link-layer address.
    pub address: Octets,
    /// The address that the hardware was made with, which nobody can change.
    pub permanent: Option<Octets>,
    /// Its device, as `pci/0000:01:00.0`.
    pub device: Option<String>,
    /// Of what has no such device or address: the inode of its directory in sysfs, which no
    /// other link ever has.
    pub inode: Option<u64>,
}

impl Identity {
    /// Whether the kernel gives it back to the host when the container's namespace dies. What
    /// has a kind is virtual, and is destroyed; some kinds of hardware (CAN) have one too.
    pub fn is_given_back(&self) -> bool {
        self.kind.is_none() || self.device.is_some()
    }

    /// Whether it has what its hardware was made with, by which it is known even after its
    /// driver was loaded again.
    pub fn is_hardware(&self) -> bool {
        self.permanent.is_some() && self.device.is_some()
    }
}

impl fmt::Display for MovedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, inside, netns, mark, .. } = self;
        let netns = netns.name();
        write!(f, "ip link set {name} netns {netns} name {inside} alias {mark}")?;
        self.mac.iter().try_for_each(|mac| write!(f, " address {mac}"))?;
        self.mtu.iter().try_for_each(|mtu| write!(f, " mtu {mtu}"))?;
        f.write_str(" up")
    }
}

/// Bytes, written as hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);
kept_as_text! { Octets }

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl FromStr for Octets {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let octets = digits.filter(|digits| digits.len() % 2 == 0).map(|digits| {
            digits
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | *digit as u8))
                .collect()
        });
        octets.map(Self).ok_or_else(|| Error::new("read saved octets", "they are not hexadecimal"))
    }
}

/// An `RTM_NEWADDR` message without its netlink header: text would lose half of what it can be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAddress(pub Octets);

/// An `RTM_NEWROUTE` message without its netlink header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoute(pub Octets);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_survive_being_written_down() {
        let octets = Octets(vec![0, 1, 0x7f, 0xff]);
        assert_eq!(octets.to_string(), "00017fff");
        assert_eq!("00017fff".parse::<Octets>().unwrap(), octets);
        for text in ["0", "0g", "+1", "0x"] {
            assert!(text.parse::<Octets>().is_err(), "{text}");
        }
    }
}
