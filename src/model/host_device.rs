//! The grammar of `--nic`: an interface of the host that moves into the container, as
//! `ens6f0[=name][,ip=12.0.0.10/8][,gateway=12.0.0.1][,mac=…][,mtu=…][,force]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;

use super::place::once;
use super::value::{Iface, Mac, Mtu};
use crate::error::Error;

/// The most addresses that one interface may be asked to have.
const MAX_ADDRESSES: usize = 32;

/// An interface of the host that a container asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Its name on the host.
    pub name: Iface,
    /// Its name inside.
    pub inside: Iface,
    /// What it is to have inside: the user's own addresses, and no leases.
    pub addresses: Vec<IpNetwork>,
    /// The container's default route's next hop, in the subnet of one of the addresses.
    pub gateway: Option<IpAddr>,
    /// Another link-layer address while it is inside.
    pub mac: Option<Mac>,
    /// Another MTU while it is inside, in bytes.
    pub mtu: Option<u32>,
    /// Also if the host's default route needs it.
    pub force: bool,
}

impl HostDevice {
    /// An interface as it is, and nothing said of it.
    fn plain(name: Iface, inside: Iface) -> Self {
        Self { name, inside, addresses: Vec::new(), gateway: None, mac: None, mtu: None, force: false }
    }

    /// Whether nothing is said but its name, and perhaps `force`: what a policy may allow.
    pub fn is_only_a_name(&self) -> bool {
        let force = self.force;
        *self == Self { force, ..Self::plain(self.name.clone(), self.name.clone()) }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let told = |error: Error| error.to_string();
        match key {
            "ip" => self.addresses.push(address(value)?),
            "gateway" => {
                let gateway = value.parse().map_err(|_| format!("'{value}' is not an IP address"))?;
                once(&mut self.gateway, key, gateway)?;
            }
            "mac" => once(&mut self.mac, key, value.parse().map_err(told)?)?,
            "mtu" => once(&mut self.mtu, key, value.parse().map(|Mtu(mtu)| mtu).map_err(told)?)?,
            "force" if value.is_empty() => self.force = true,
            "force" => return Err("force has no value".to_owned()),
            _ => return Err(format!("'{key}' is not one of ip, gateway, mac, mtu and force")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        if self.addresses.len() > MAX_ADDRESSES {
            return Err(format!("more than {MAX_ADDRESSES} addresses"));
        }
        for (at, address) in self.addresses.iter().enumerate() {
            if self.addresses[..at].iter().any(|other| other.ip() == address.ip()) {
                return Err(format!("{} is said twice", address.ip()));
            }
        }
        let Some(gateway) = self.gateway else { return Ok(()) };
        if self.addresses.iter().any(|address| address.ip() == gateway) {
            return Err(format!("gateway {gateway} is its own address"));
        }
        if !self.addresses.iter().any(|address| address.contains(gateway)) {
            return Err(format!("gateway {gateway} is in the subnet of none of its addresses"));
        }
        Ok(())
    }
}

impl FromStr for HostDevice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |cause: String| Error::new(format!("nic '{text}'"), cause);
        let mut parts = text.split(',').map(str::trim);
        let names = parts.next().unwrap_or_default();
        let (name, inside) = names.split_once('=').unwrap_or((names, names));
        let iface = |name: &str| name.parse().map_err(|error: Error| refuse(error.to_string()));
        let mut nic = Self::plain(iface(name)?, iface(inside)?);
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            nic.set(key, value).map_err(refuse)?;
        }
        nic.check().map_err(refuse)?;
        Ok(nic)
    }
}

/// An address that a host can have, with its prefix length.
fn address(text: &str) -> Result<IpNetwork, String> {
    if !text.contains('/') {
        return Err(format!("'{text}' lacks its prefix length, as in 12.0.0.10/8"));
    }
    let address: IpNetwork = text.parse().map_err(|_| format!("'{text}' is not an address"))?;
    let ip = address.ip();
    let no_hosts = match address {
        IpNetwork::V4(v4) => {
            let end = v4.prefix() < 31 && (v4.ip() == v4.network() || v4.ip() == v4.broadcast());
            end || v4.ip().octets()[0] == 0 || v4.ip().octets()[0] >= 240
        }
        IpNetwork::V6(_) => false,
    };
    if no_hosts || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || address.prefix() == 0 {
        return Err(format!("no host can have {address}"));
    }
    Ok(address)
}

impl fmt::Display for HostDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if self.inside != self.name {
            write!(f, "={}", self.inside)?;
        }
        self.addresses.iter().try_for_each(|address| write!(f, ",ip={address}"))?;
        self.gateway.iter().try_for_each(|gateway| write!(f, ",gateway={gateway}"))?;
        self.mac.iter().try_for_each(|mac| write!(f, ",mac={mac}"))?;
        self.mtu.iter().try_for_each(|mtu| write!(f, ",mtu={mtu}"))?;
        if self.force { f.write_str(",force") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        text.parse::<HostDevice>().map_or_else(|error| error.to_string(), |nic| nic.to_string())
    }

    #[test]
    fn every_documented_form_is_read() {
        for text in [
            "ens6f0",
            "ens6f0=eth1",
            "ens6f0,ip=12.0.0.10/8",
            "ens6f0=lan,ip=12.0.0.10/8,gateway=12.0.0.1,mac=02:00:00:00:00:01,mtu=9000",
            "ens6f0,ip=10.0.0.1/31,ip=fd00::2/64,gateway=fd00::1,force",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("ens6f0=ens6f0, mtu=1400"), "ens6f0,mtu=1400");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "1 to 15 characters"),
            ("=eth1", "1 to 15 characters"),
            ("a/b", "only letters"),
            ("a=all", "keeps this name"),
            ("a,ip=10.0.0.1", "lacks its prefix length"),
            ("a,ip=x/8", "'x/8' is not an address"),
            ("a,ip=10.0.0.0/8", "no host can have 10.0.0.0/8"),
            ("a,ip=127.0.0.1/8", "no host can have"),
            ("a,ip=10.0.0.1/8,ip=10.0.0.1/16", "10.0.0.1 is said twice"),
            ("a,gateway=10.0.0.1", "in the subnet of none"),
            ("a,ip=10.0.0.1/8,gateway=11.0.0.1", "in the subnet of none"),
            ("a,ip=10.0.0.1/8,gateway=10.0.0.1", "is its own address"),
            ("a,ip=10.0.0.1/8,gateway=router", "'router' is not an IP address"),
            ("a,mtu=1400,mtu=1500", "mtu is said twice"),
            ("a,mtu=1", "from 68 to 65535"),
            ("a,mac=01:00:5e:00:00:01", "no interface can have"),
            ("a,mac=02:00", "not six octets"),
            ("a,force=yes", "force has no value"),
            ("a,vlan=7", "'vlan' is not one of ip, gateway, mac, mtu and force"),
        ] {
            assert!(shown(text).contains(reason), "{text}: {}", shown(text));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_so_that_it_reads_back_the_same(
            text in "[a-z0-9]{1,6}(=[a-z0-9]{1,6})?(,(ip=1[0-9.]{6,9}/[0-9]{1,2}|mtu=[0-9]{2,5}|force|mac=02(:[0-9]{2}){5})){0,4}",
        ) {
            if let Ok(nic) = text.parse::<HostDevice>() {
                prop_assert_eq!(nic.to_string().parse::<HostDevice>().unwrap(), nic);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z0-9=,./:]{0,40}") {
            let _ = text.parse::<HostDevice>();
        }
    }
}
