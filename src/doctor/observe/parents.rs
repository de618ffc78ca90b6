//! Networks on links of the host, and whether the interfaces of their containers are there.

use crate::doctor::facts::{OnParent, OnWire, Stale};
use crate::error::Result;
use crate::kernel::children;
use crate::model::record::Record;
use crate::store::Records;

/// All of them; `stale` says of each container why it is to be garbage-collected, if it is.
pub(super) fn observe(
    records: &Records,
    stale: impl Fn(&Record) -> Result<Option<Stale>>,
) -> Result<Vec<OnParent>> {
    let mut all = Vec::new();
    for network in &records.networks {
        let Some(parent) = network.parent.clone() else { continue };
        let mut containers = Vec::new();
        for record in &records.containers {
            let place = record.attachments.iter().find(|place| place.network.as_ref() == Some(&network.name));
            let Some(interface) = place.map(|place| &place.interface) else { continue };
            let child = record.children().find(|child| child.name == *interface);
            containers.push(OnWire {
                object: record.container.to_string(),
                interface: interface.clone(),
                there: child.map_or(Ok(false), children::is_there)?,
                alone: record.attachments.iter().all(|place| place.bridge.is_none()),
                stale: stale(record)?,
            });
        }
        all.push(OnParent { network: network.clone(), parent, containers });
    }
    Ok(all)
}
