//! Subnets that nobody has chosen: the same on every run, and apart from those that were.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use sha2::{Digest, Sha256};

use crate::model::network::{NetworkName, NetworkSpec};
use crate::model::value::{Gateway, first_host, overlap};

/// Where IPv4 subnets are taken from, 256 addresses each: 10.160.0.0/11.
const POOL: (Ipv4Addr, u32) = (Ipv4Addr::new(10, 160, 0, 0), 8192);
/// What tells one machine from another.
const MACHINE_ID: &str = "/etc/machine-id";

/// Gives subnets to the networks that have none.
pub(super) fn fill<'a>(networks: impl Iterator<Item = &'a mut NetworkSpec>) {
    let (mut taken, mut wanting): (Vec<IpNetwork>, Vec<&mut NetworkSpec>) = (Vec::new(), Vec::new());
    for network in networks {
        let chosen = network.subnet_from.is_some() || !network.subnets.is_empty();
        if !chosen { wanting.push(network) } else { taken.extend(&network.subnets) }
    }
    if wanting.is_empty() {
        return;
    }
    let site = u128::from(number(&fs::read(MACHINE_ID).unwrap_or_default())) & 0xff_ffff_ffff;
    for network in wanting {
        let hash = number(network.name.as_str().as_bytes());
        let is_free = |found: IpNetwork| !taken.iter().any(|other| overlap(found, *other));
        let v4 = free_ipv4(&network.name, is_free);
        let v6 = (0..POOL.1).filter_map(|at| ipv6(site, hash, at)).find(|found| is_free(*found));
        network.lent = true;
        network.subnets.extend(v4.into_iter().chain(v6).filter_map(gateway));
        taken.extend(&network.subnets);
    }
}

/// The IPv4 subnet for a network of this name: the first on its list that is free.
pub(crate) fn free_ipv4(name: &NetworkName, is_free: impl Fn(IpNetwork) -> bool) -> Option<IpNetwork> {
    let hash = number(name.as_str().as_bytes());
    (0..POOL.1).filter_map(|at| ipv4(hash, at)).find(|found| is_free(*found))
}

/// What a bridge can have as its address.
pub(super) fn gateway(address: IpNetwork) -> Option<IpNetwork> {
    address.to_string().parse().ok().map(|Gateway(address)| address)
}

fn ipv4(hash: u64, at: u32) -> Option<IpNetwork> {
    let block = u32::try_from((hash + u64::from(at)) % u64::from(POOL.1)).ok()?;
    first_host(IpNetwork::new(Ipv4Addr::from(u32::from(POOL.0) + block * 256).into(), 24).ok()?)
}

/// A /64 of the machine's own /48 (RFC 4193).
fn ipv6(site: u128, hash: u64, at: u32) -> Option<IpNetwork> {
    let block = u128::from((hash + u64::from(at)) & 0xffff);
    let network = Ipv6Addr::from(0xfd << 120 | site << 80 | block << 64);
    first_host(IpNetwork::new(network.into(), 64).ok()?)
}

fn number(text: &[u8]) -> u64 {
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes) >> 1)
}
