//! What is known, without reading them, of the containers that are in nobody's way. Pure.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::config::publish::{Protocol, Published};
use crate::firewall::Rule;
use crate::plan::Step;

/// Everything that is known of those who were not read, so far as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rest {
    /// What they share.
    pub shares: Shares,
    /// How many publish each port, of the protocols that matter.
    pub ports: Vec<(Protocol, Counts)>,
    /// The addresses that are leased on the bridge that matters.
    pub leases: Option<Leases>,
}

impl Rest {
    /// Whether any of them holds a step of a kind that containers share by what they publish.
    pub fn holds(&self, step: &Step) -> bool {
        self.shares.of(step) > 0
    }

    /// Whether any of them publishes one of these ports, on whichever address.
    pub fn publishes(&self, wanted: &Published) -> Option<u16> {
        let (_, counts) = self.ports.iter().find(|(protocol, _)| *protocol == wanted.protocol)?;
        (wanted.host.first..=wanted.host.last).rev().find(|port| counts.of(*port) > 0)
    }
}

/// How many containers publish each port of a protocol; 255 are many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<u8>);

impl Counts {
    fn of(&self, port: u16) -> u8 {
        self.0.get(usize::from(port)).copied().unwrap_or(0)
    }
}

/// The steps that containers share by what they publish, and how many hold each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Of tcp, udp and sctp in turn, for each block of 256 ports.
    blocks: Vec<u16>,
    /// Kernel parameters, which differ by bridge only.
    parameters: Vec<(Step, u32)>,
}

impl Default for Shares {
    fn default() -> Self {
        Self { blocks: vec![0; BLOCKS], parameters: Vec::new() }
    }
}

/// Blocks of ports.
pub(super) const BLOCKS: usize = 3 * 256;

impl Shares {
    /// How many hold `step`.
    fn of(&self, step: &Step) -> u32 {
        match block(step) {
            Some(place) => self.blocks.get(place).copied().unwrap_or(0).into(),
            None => self.parameters.iter().find(|(held, _)| held == step).map_or(0, |(_, n)| *n),
        }
    }

    /// The kernel parameters that somebody holds.
    pub fn parameters(&self) -> impl Iterator<Item = &Step> {
        self.parameters.iter().filter(|(_, holders)| *holders > 0).map(|(step, _)| step)
    }

    /// One holder of `step` more, or less.
    pub fn count(&mut self, step: &Step, more: bool) {
        if let Some(place) = block(step) {
            if let Some(holders) = self.blocks.get_mut(place) {
                *holders = if more { holders.saturating_add(1) } else { holders.saturating_sub(1) };
            }
        } else if matches!(step, Step::Sysctl { .. }) {
            match self.parameters.iter_mut().find(|(held, _)| held == step) {
                Some((_, holders)) if more => *holders += 1,
                Some((_, holders)) => *holders = holders.saturating_sub(1),
                None if more => self.parameters.push((step.clone(), 1)),
                None => {}
            }
            self.parameters.retain(|(_, holders)| *holders > 0);
        }
    }

    pub(super) fn encode(&self) -> postcard::Result<Vec<u8>> {
        let mut bytes: Vec<u8> = self.blocks.iter().flat_map(|holders| holders.to_ne_bytes()).collect();
        bytes.extend(postcard::to_allocvec(&self.parameters)?);
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (blocks, parameters) = bytes.split_at_checked(2 * BLOCKS)?;
        let (blocks, _) = blocks.as_chunks::<2>();
        let blocks = blocks.iter().map(|bytes| u16::from_ne_bytes(*bytes)).collect();
        Some(Self { blocks, parameters: postcard::take_from_bytes(parameters).ok()?.0 })
    }
}

fn block(step: &Step) -> Option<usize> {
    match step {
        Step::Firewall(Rule::Block { protocol, block }) => {
            Some(256 * *protocol as usize + usize::from(*block))
        }
        _ => None,
    }
}

/// Which addresses of a part of a subnet are leased: a bit for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leases {
    subnet: IpNetwork,
    /// The number within the subnet of the first address that there is a bit for.
    first: u32,
    bits: Vec<u8>,
}

impl Leases {
    /// The bits of a subnet, from the address on that has this number in it; a multiple of 8.
    pub fn new(subnet: IpNetwork, first: u32, bits: Vec<u8>) -> Self {
        Self { subnet, first, bits }
    }

    /// Whether an address is leased, or outside the part.
    pub fn has(&self, address: IpAddr) -> bool {
        let Some(number) = number(self.subnet, address).and_then(|n| n.checked_sub(self.first)) else {
            return true;
        };
        let byte = self.bits.get(number as usize / 8);
        byte.is_none_or(|byte| byte & (1 << (number % 8)) != 0)
    }

    /// Whether at least this many of the part's addresses are in the subnet and not leased.
    pub fn has_room(&self, wanted: usize) -> bool {
        let IpNetwork::V4(subnet) = self.subnet else { return false };
        let inside = (subnet.size() - 1).saturating_sub(self.first) as usize;
        let free = (0..inside.min(8 * self.bits.len()))
            .filter(|number| self.bits.get(number / 8).is_some_and(|byte| byte & (1 << (number % 8)) == 0));
        free.take(wanted).count() == wanted
    }
}

/// The number of an IPv4 address within its subnet.
pub fn number(subnet: IpNetwork, address: IpAddr) -> Option<u32> {
    match (subnet, address) {
        (IpNetwork::V4(subnet), IpAddr::V4(address)) if subnet.contains(address) => {
            Some(u32::from(address) - u32::from(subnet.network()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_subnet_knows_its_own_leases_only() {
        let subnet: IpNetwork = "10.0.0.1/24".parse().unwrap();
        let leases = Leases::new(subnet, 8, vec![0b0000_0101, 0]);
        let has = |text: &str| leases.has(text.parse().unwrap());
        assert!(has("10.0.0.8") && has("10.0.0.10") && !has("10.0.0.9") && !has("10.0.0.23"));
        assert!(has("10.0.0.7") && has("10.0.0.24"), "outside the part nothing is known to be free");
        assert!(has("10.0.1.9") && has("::1"));
        assert!(leases.has_room(14) && !leases.has_room(15));
    }

    #[test]
    fn what_is_shared_reads_back() {
        let parameter = Step::Sysctl {
            pid: None,
            key: "net/ipv4/conf/netns0/route_localnet".to_owned(),
            value: "1".to_owned(),
            before: Some("0".to_owned()),
        };
        let block = Step::Firewall(Rule::Block { protocol: Protocol::Sctp, block: 255 });
        let mut shares = Shares::default();
        for step in [&parameter, &block, &block] {
            shares.count(step, true);
        }
        let read = Shares::decode(&shares.encode().unwrap()).unwrap();
        assert_eq!(read, shares);
        assert_eq!((read.of(&parameter), read.of(&block)), (1, 2));
        shares.count(&parameter, false);
        assert_eq!((shares.of(&parameter), shares.parameters().count()), (0, 0));
    }
}
