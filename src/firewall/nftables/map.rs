//! The maps and sets that hold published ports, and what a packet is looked up in them by.

use super::statics::TABLE;
use crate::firewall::nft_word;
use crate::model::rule::Family;

/// A map that leads to containers, or a set of what is let through to their own addresses.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Map {
    pub(super) name: &'static str,
    /// Its keys begin with who may call, a subnet, and all addresses in them are subnets.
    pub(super) from: bool,
    /// An address is in its keys: one of the host, or in a set the container's own.
    pub(super) on: bool,
    /// Not for long ranges, as a counter takes longer to make than all else.
    pub(super) counted: bool,
    pub(super) leads: bool,
}

const fn map(name: &'static str, from: bool, on: bool, counted: bool) -> Map {
    Map { name, from, on, counted, leads: name.as_bytes()[0] == b'p' }
}

/// All of them.
pub(super) static MAPS: [Map; 8] = [
    map("publish", false, false, true),
    map("publish_on", false, true, true),
    map("publish_range", false, false, false),
    map("publish_range_on", false, true, false),
    map("publish_from", true, true, true),
    map("open", false, true, true),
    map("open_range", false, true, false),
    map("open_from", true, true, true),
];

impl Map {
    /// The command that makes it.
    pub(super) fn declaration(&self, family: Family) -> String {
        let (ip, address) =
            (nft_word(family), if family == Family::Ipv4 { "ipv4_addr" } else { "ipv6_addr" });
        let address = format!("{address} . ");
        let key = address.repeat(usize::from(self.from) + usize::from(self.on)) + "inet_proto . inet_service";
        let data = if self.leads { format!(" : {address}inet_service") } else { String::new() };
        let interval = if self.from { "flags interval; " } else { "" };
        let counter = if self.counted { "counter; " } else { "" };
        format!("add {} {ip} {TABLE} {} {{ type {key}{data}; {interval}{counter}}}", self.kind(), self.name)
    }

    /// What it is to `nft`.
    pub(super) fn kind(&self) -> &'static str {
        if self.leads { "map" } else { "set" }
    }

    /// The rule that looks a packet up in it.
    pub(super) fn lookup(&self, family: Family) -> String {
        let ip = nft_word(family);
        let from = if self.from { format!("{ip} saddr . ") } else { String::new() };
        let on = if self.on { format!("{ip} daddr . ") } else { String::new() };
        let key = format!("{from}{on}meta l4proto . th dport");
        // Without it nft refuses a map of intervals here.
        let ports = if self.from { "meta l4proto { tcp, udp, sctp } " } else { "" };
        match self.leads {
            true => format!("{ports}dnat {ip} to {key} map @{}", self.name),
            false => format!("{ports}{key} @{} accept", self.name),
        }
    }
}
