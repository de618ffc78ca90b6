//! What a container has on a network beside an address: a link-layer address that nobody else has,
//! and lines of the file of names.

use std::fs;
use std::path::Path;

use super::run::Run;
use super::stale::Admitted;
use crate::error::{Doing, Error, Kind, Result};
use crate::model::hosts::SLOT;
use crate::model::network::NetworkName;
use crate::model::observed::ObservedNetwork;
use crate::model::record::Record;
use crate::model::request::{NetworkRequest, Request};
use crate::plan;
use crate::store::Claim;

/// How many free lines of a hosts file are looked for beside each other.
const PROBES: u32 = 8;

impl Run<'_> {
    /// A bridge sends to the container what is for its address by the port that it is on: nobody
    /// may ask for a neighbour's, or for one that is made for others' addresses.
    pub(super) fn check_mac(
        &self,
        request: &Request,
        wanted: &NetworkRequest,
        observed: &ObservedNetwork,
    ) -> Admitted<()> {
        let Some(mac) = wanted.mac else { return Ok(()) };
        let network = &wanted.network.name;
        let refuse = |cause: String, kind: Kind| {
            let operation = format!("use MAC address {mac} on network {network} for {}", request.container);
            Err(Error::new(operation, cause).of(kind).into())
        };
        if mac.is_derived() {
            return refuse("it is one that others get by their address".to_owned(), Kind::Input);
        }
        if let Some(owner) = self.store.holder(&Claim::Mac(network.clone(), mac))? {
            return refuse(format!("{} has it", self.verify(&owner)?.container), Kind::Conflict);
        }
        if let Some(parent) = wanted.network.parent.as_ref().filter(|parent| !parent.kind.has_own_mac()) {
            return refuse(format!("{} has the address of its parent", parent.kind), Kind::Input);
        }
        let Some(bridge) = observed.bridge.as_ref().filter(|_| wanted.network.parent.is_none()) else {
            return Ok(());
        };
        let operation = || format!("look for {mac} on bridge {}", bridge.name);
        let netlink = self.machine.kernel.netlink();
        if bridge.address == mac.0 || netlink.bridge_has_port_with(bridge.index, mac).doing(operation)? {
            return refuse(format!("a port of bridge {} has it", bridge.name), Kind::Conflict);
        }
        Ok(())
    }

    /// Free lines of a network's hosts file, as many as the container may need. They are looked
    /// for from a place of its own on, in a table of about twice as many lines as there are.
    pub(super) fn free_slots(
        &self,
        request: &Request,
        network: &NetworkName,
        addresses: usize,
    ) -> Result<Vec<u32>> {
        let here = request.networks.iter().find(|wanted| wanted.network.name == *network);
        let aliases = request.names.aliases.len() + here.map_or(0, |wanted| wanted.aliases.len());
        // An id and a hostname fill two at most.
        let wanted = addresses * (2 + aliases);
        let lines = lines_of(&plan::hosts_file(self.state_dir(), network)).max(PROBES);
        let start = (request.container.hash() % u128::from(u32::MAX)) as u32;
        let mut free = Vec::new();
        for size in (0..24).map(|doubled| lines.saturating_mul(1 << doubled)) {
            for slot in (0..PROBES).map(|at| 1 + start.wrapping_add(at) % size) {
                let claim = Claim::Slot(network.clone(), slot);
                if free.len() < wanted && !free.contains(&slot) && self.store.holder(&claim)?.is_none() {
                    free.push(slot);
                }
            }
            if free.len() == wanted {
                break;
            }
        }
        Ok(free)
    }
}

/// The networks that a container will be on, and how many addresses it will have on each.
pub(super) fn places(request: &Request, mates: &[Record]) -> Vec<(NetworkName, usize)> {
    match mates.first() {
        Some(mate) => {
            let places = mate.attachments.iter();
            places.filter_map(|place| Some((place.network.clone()?, place.addresses.len()))).collect()
        }
        None => {
            let networks = request.networks.iter().map(|wanted| &wanted.network);
            networks.map(|network| (network.name.clone(), network.subnets.len())).collect()
        }
    }
}

/// How many lines a hosts file has.
fn lines_of(path: &Path) -> u32 {
    let bytes = fs::metadata(path).map_or(0, |found| found.len());
    u32::try_from(bytes / SLOT as u64).unwrap_or(u32::MAX)
}
