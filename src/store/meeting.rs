//! Whom a run has to know: a newcomer those whom it could be mistaken for, whoever leaves those
//! it shares a namespace with. Of all others the catalogue knows enough, or all are read.

use std::net::IpAddr;
use std::path::Path;

use ipnetwork::IpNetwork;

use super::index::Entry;
use super::leases::LeaseFile;
use super::rest::Rest;
use super::{Store, journal};
use crate::config::publish::Publish;
use crate::config::value::Iface;

/// What a newcomer wants that others may have.
#[derive(Debug)]
pub struct Wish<'a> {
    /// As in [`super::record::Record`].
    pub id: &'a str,
    /// As in [`super::record::Record`].
    pub bundle: &'a Path,
    /// The inode of its network namespace.
    pub netns: u64,
    /// As in [`super::record::Network`].
    pub bridge: &'a Iface,
    /// As in [`super::record::Network`].
    pub gateway: IpNetwork,
    /// As in [`super::record::Network`].
    pub cursor: Option<IpAddr>,
    /// The address that it must have, if it is to be that one.
    pub static_ip: Option<IpAddr>,
    /// The ports that it asks for.
    pub publish: &'a [Publish],
}

/// As many free addresses as must be known of, since the bridge may have some of them itself.
const ROOM: usize = 32;

impl Store {
    /// Those who share a namespace with any of `entries`, themselves among them, and what is
    /// known of the rest; `None` if everyone must be read.
    pub fn mates(&self, entries: &[Entry]) -> Option<(Vec<Entry>, Rest)> {
        let catalogue = self.catalogue.as_ref()?;
        let mut rows = Vec::new();
        for entry in entries {
            rows.extend(catalogue.by_namespace(entry.process.netns).ok()?);
        }
        Some((self.entries(rows)?, catalogue.rest()))
    }

    /// Those whom a newcomer could be mistaken for or share a namespace with, and what is known
    /// of the rest; `None` if anyone else may be in its way, and everyone must be read.
    pub fn meet(&self, wish: &Wish<'_>) -> Option<(Vec<Entry>, Rest)> {
        let catalogue = self.catalogue.as_ref()?;
        let mut rows = catalogue.by_namespace(wish.netns).ok()?;
        rows.extend(catalogue.by_key(journal::key(wish.id, wish.bundle)).ok()?);
        let near = self.entries(rows)?;
        let mut rest = catalogue.rest();
        for publish in wish.publish {
            if rest.ports.iter().all(|(protocol, _)| *protocol != publish.protocol) {
                rest.ports.push((publish.protocol, catalogue.ports(publish.protocol).ok()?));
            }
            if publish.host.is_some_and(|host| rest.publishes(&publish.at(host)).is_some()) {
                return None;
            }
        }
        let leases = LeaseFile::part(&self.dir, wish.bridge, wish.gateway, wish.cursor).ok()?;
        if wish.static_ip.is_some_and(|wanted| leases.has(wanted)) || !leases.has_room(ROOM) {
            return None;
        }
        rest.leases = Some(leases);
        Some((near, rest))
    }
}
