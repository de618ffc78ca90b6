//! What is in a container's network namespace. Its inhabitants make interfaces and addresses as
//! they like: see [`crate::model::bounded`].

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;

use super::{links_of, on_host};
use crate::error::{Doing, Result};
use crate::graph::{End, Link, Outside, Place};
use crate::kernel::netlink::Netlink;
use crate::kernel::process;
use crate::model::bounded::bounded;
use crate::model::observed::{self, Links};
use crate::model::record::Record;
use crate::store::Records;

/// See [`is_fallback`]; `net.core.fb_tunnels_only_for_init_net` is about the same.
const FALLBACKS: [&str; 9] =
    ["tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0"];

/// A namespace that was entered.
pub(super) struct Inside<'a> {
    netlink: &'a Netlink,
    /// The container that it was found by.
    id: &'a str,
    host: &'a Links,
    /// The number by which it knows the host's namespace.
    host_number: Option<i32>,
    records: &'a Records,
    /// The containers whose namespaces it knows, by their numbers.
    containers: OnceCell<HashMap<i32, &'a str>>,
}

impl<'a> Inside<'a> {
    pub(super) fn new(
        netlink: &'a Netlink,
        id: &'a str,
        host: &'a Links,
        records: &'a Records,
    ) -> Result<Self> {
        let operation = || "look for the host's network namespace";
        let own = File::open("/proc/thread-self/ns/net").doing(operation)?;
        let host_number = netlink.number_of(own.as_fd()).doing(operation)?;
        Ok(Self { netlink, id, host, host_number, records, containers: OnceCell::new() })
    }

    /// Every interface but loopback, and how many more there are.
    pub(super) fn ends(&self, group: &[&Record]) -> Result<(Vec<End>, usize)> {
        let links = links_of(self.netlink)?;
        let shown: Vec<_> = links.0.iter().filter(|link| !link.loopback && !is_fallback(link)).collect();
        let attachments: Vec<_> = group.iter().flat_map(|record| &record.attachments).collect();
        let (shown, more) = bounded(shown, |link| {
            attachments.iter().any(|attachment| attachment.interface.as_str() == link.name)
        });
        let end = |found: &observed::Link| {
            let ours = |address: &_| attachments.iter().any(|one| one.addresses.contains(address));
            let mut link = Link::from(found);
            (link.addresses, link.more_addresses) = bounded(link.addresses, ours);
            End { inside: Some(link), outside: self.outside(found) }
        };
        Ok((shown.into_iter().map(end).collect(), more))
    }

    /// What an interface leads to.
    fn outside(&self, link: &observed::Link) -> Option<Outside> {
        let index = link.peer.filter(|index| *index != 0)?;
        let place = match link.peer_netns {
            None => Place::Container(self.id.to_owned()),
            number if number == self.host_number => return Some(on_host(self.host, index)),
            Some(number) => match self.containers().get(&number) {
                Some(id) => Place::Container((*id).to_owned()),
                None => Place::Elsewhere,
            },
        };
        Some(Outside { place, index, ..Outside::default() })
    }

    fn containers(&self) -> &HashMap<i32, &'a str> {
        let number = |record: &'a Record| {
            let netns = process::reopen(&record.sandbox, record.id()).ok()?;
            Some((self.netlink.number_of(netns.as_fd()).ok().flatten()?, record.id()))
        };
        // Of several in one namespace the first stands for all.
        let all = || self.records.containers.iter().rev().filter_map(number).collect();
        self.containers.get_or_init(all)
    }
}

/// Whether it is one of those that the kernel puts into every new namespace where certain
/// tunnels are loaded, and nobody uses.
fn is_fallback(link: &observed::Link) -> bool {
    !link.up && FALLBACKS.contains(&link.name.as_str())
}
