//! Facts, from the records and the kernel.

mod container;
mod host;
mod parents;
mod rules;

use std::collections::BTreeSet;
use std::path::Path;

use super::facts::{Container, Facts, OnWire};
use super::shell::quoted;
use super::{Finding, diagnose};
use crate::config::{DEFAULT_STATE_DIR, Settings};
use crate::error::{Error, Kind, Result};
use crate::model::container::ContainerId;
use crate::operations;
use crate::store::Records;

/// What was observed, and whom it is about.
pub(super) struct Observed {
    pub(super) facts: Facts,
    /// The one container that was asked for.
    about: Option<ContainerId>,
}

impl Observed {
    /// What is wrong with the container, its network and the host; its neighbours are not asked
    /// for.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let others = self.facts.containers.iter().filter(|container| !is(self.about.as_ref(), container));
        let others: Vec<String> = others.map(Container::object).collect();
        let mut findings = diagnose(&self.facts);
        findings.retain(|finding| !others.contains(&finding.object));
        findings
    }

    /// How many containers it is about.
    pub(super) fn containers(&self) -> usize {
        let mine = |container: &&Container| container.first && is(self.about.as_ref(), container);
        let alone = self.facts.parents.iter().flat_map(|on| &on.containers).filter(|one| one.alone);
        let alone: BTreeSet<&str> = alone.map(|one| one.object.as_str()).collect();
        self.facts.containers.iter().filter(mine).count() + alone.len()
    }
}

fn is(about: Option<&ContainerId>, container: &Container) -> bool {
    about.is_none_or(|about| *about == container.record.container)
}

/// Observes what `id` is about, or everything; sends packets too if `probe`.
pub(super) fn observe(settings: &Settings, id: Option<&str>, probe: bool) -> Result<Observed> {
    let records = Records::read(&settings.state_dir)?;
    operations::warn_of_damage(&settings.log, &records);
    let about = id.map(|id| operations::find(&records, "look at", id)).transpose()?;
    let mut facts = host::observe(settings, &records)?;
    if settings.state_dir != Path::new(DEFAULT_STATE_DIR) {
        facts.netns = format!("netns --state-dir {}", quoted(&settings.state_dir));
    }
    if let Some(record) = about {
        let bridges = record.attachments.iter().filter_map(|attachment| attachment.bridge.as_ref());
        if record.networks().next().is_none() {
            let error =
                Error::new(format!("look at container {}", record.id()), "it is on no network of ours");
            return Err(error.of(Kind::Input).hint("`netns inspect` shows its interfaces"));
        }
        facts.unrecorded.clear();
        facts.strangers.clear();
        facts.changed.retain(|(name, _)| record.networks().any(|network| network == name));
        facts.parents.retain(|on| record.networks().any(|name| *name == on.network.name));
        let own = |one: &OnWire| one.object == record.container.to_string();
        facts.parents.iter_mut().for_each(|on| on.containers.retain(own));
        facts.networks.retain(|network| bridges.clone().any(|bridge| *bridge == network.bridge));
        facts.containers.retain(|container| bridges.clone().any(|bridge| *bridge == container.bridge));
    }
    let about = about.map(|record| record.container.clone());
    container::observe(&mut facts, |container| probe && is(about.as_ref(), container));
    Ok(Observed { facts, about })
}
