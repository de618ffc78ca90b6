//! The ports of the host that are published: a directory for each 256 of a protocol's.

use std::net::{IpAddr, Ipv4Addr};

use super::{Store, names_in};
use crate::error::Result;
use crate::model::port::{PortMapping, Ports, Protocol};

/// The links of a mapping: `ports/tcp/31/8080@0.0.0.0`; a range has one in each directory that
/// it touches.
pub(super) fn links(mapping: &PortMapping) -> Vec<String> {
    let PortMapping { host_ip, host, protocol, .. } = mapping;
    let ip = host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    host.blocks().map(|block| format!("ports/{protocol}/{block}/{host}@{ip}")).collect()
}

fn parse(name: &str, protocol: Protocol) -> Option<PortMapping> {
    let (ports, ip) = name.split_once('@')?;
    let (host, ip): (Ports, IpAddr) = (ports.parse().ok()?, ip.parse().ok()?);
    let host_ip = Some(ip).filter(|ip| ip.is_ipv6() || !ip.is_unspecified());
    Some(PortMapping { host_ip, host, container: host, protocol, from: Vec::new() })
}

impl Store {
    /// What is published of 256 ports; the containers' ports are not known here.
    pub(crate) fn ports(&self, protocol: Protocol, block: u8) -> Result<Vec<PortMapping>> {
        let dir = self.dir.join(format!("ports/{protocol}/{block}"));
        let mut names = names_in(&dir)?;
        if !self.gone.is_empty() {
            names.retain(|name| self.owner(&dir.join(name)).is_ok_and(|owner| owner.is_some()));
        }
        Ok(names.iter().filter_map(|name| parse(name, protocol)).collect())
    }
}
