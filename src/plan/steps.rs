//! The steps of a plan under construction.

use std::path::PathBuf;

use super::{Case, Claimed};
use crate::error::{Error, Kind, Result};
use crate::model::observed::NameHolder;
use crate::model::record::Record;
use crate::model::request::Request;
use crate::model::sandbox::Netns;
use crate::model::step::{Scope, Step};
use crate::model::value::Iface;

/// Two lists under construction.
pub(super) struct Steps<'a> {
    pub(super) claimed: &'a Claimed,
    /// What will be undone one day.
    pub(super) held: Vec<Step>,
    /// What is to be done now.
    pub(super) taken: Vec<Step>,
}

impl<'a> Steps<'a> {
    pub(super) fn new(claimed: &'a Claimed) -> Self {
        Self { claimed, held: Vec::new(), taken: Vec::new() }
    }

    /// Does `step` now and undoes it one day.
    pub(super) fn make(&mut self, step: Step) {
        self.taken.push(step.clone());
        self.hold(step);
    }

    /// As [`Self::make`], of one that cannot be there yet: there may be hundreds.
    pub(super) fn make_new(&mut self, step: Step) {
        self.taken.push(step.clone());
        self.held.push(step);
    }

    pub(super) fn hold(&mut self, step: Step) {
        if !self.held.contains(&step) {
            self.held.push(step);
        }
    }

    /// As [`Self::make`], unless the record at hand has it already.
    pub(super) fn unless_held(&mut self, step: Step) {
        if !self.held.contains(&step) {
            self.make(step);
        }
    }

    /// What a container sends to its own addresses passes its loopback.
    pub(super) fn own_ipv6(&mut self, netns: Netns) {
        let (key, value) = ("net/ipv6/conf/lo/disable_ipv6".to_owned(), "0".to_owned());
        self.unless_held(Step::Sysctl { netns, key, value, before: None });
    }

    /// As [`Self::make`], but takes only a share where somebody holds it already.
    pub(super) fn once(&mut self, step: Step) {
        let shared = step.shared_name().is_some_and(|name| self.claimed.shared.contains(&name));
        if !shared && !self.held.contains(&step) {
            self.taken.push(step.clone());
        }
        self.hold(step);
    }

    /// A share in everything that whoever lives in the same network namespace holds of it.
    pub(super) fn hold_with(&mut self, mate: &Record) {
        let of_both = |step: &&Step| {
            let own = step.name_file().is_some()
                || matches!(step, Step::WriteFile { .. } | Step::AddHost { .. } | Step::Mount(_))
                || matches!(step, Step::WriteResolver { .. } | Step::Firewall(_));
            !own && step.traits().scope == Scope::Container || is_of_a_device(step)
        };
        self.held.extend(mate.steps.iter().filter(of_both).cloned());
    }

    /// IPv6 on `link`, before that is up, or none where the network has none: what each interface
    /// sends would be flooded to every port of the bridge. In neither case does a rogue router on
    /// it provide anything (CVE-2020-10749). Nor is anybody asked whether he has the address that
    /// a link gives itself, which would make that one wait.
    pub(super) fn ipv6(&mut self, netns: Netns, link: &Iface, is_on: bool) {
        let disabled = if is_on { "0" } else { "1" };
        let at_once = is_on.then_some(("accept_dad", "0"));
        for (key, value) in [("disable_ipv6", disabled), ("accept_ra", "0")].into_iter().chain(at_once) {
            let key = format!("net/ipv6/conf/{link}/{key}");
            self.make(Step::Sysctl { netns, key, value: value.to_owned(), before: None });
        }
    }

    /// Switches a parameter of the host on, unless it was found so; shares in the step of whoever
    /// of us did it first. That a claim of it exists says that it was off.
    pub(super) fn switch_on(&mut self, key: &str, found: &str) {
        let step = switched_on(key);
        let shared = step.shared_name().is_some_and(|name| self.claimed.shared.contains(&name));
        if ["", "0"].contains(&found) {
            self.make(step);
        } else if shared || self.held.contains(&step) {
            self.hold(step);
        }
    }

    /// A container that calls its own published port: with `br_netfilter` the kernel translates
    /// the packet while it is bridged, and it must leave by the port that it came in by. Set also
    /// where there is no `br_netfilter`, since another program may load it at any time.
    pub(super) fn hairpin(&mut self, record: &Record) {
        for link in record.host_interfaces().filter(|_| !record.ports.is_empty()) {
            self.make(Step::Hairpin { link: link.clone() });
        }
    }

    pub(super) fn loopback(&mut self, record: &Record) {
        if let Ok(link) = "lo".parse() {
            self.make(Step::SetUp { netns: record.sandbox.netns(), link });
        }
    }

    /// The namespace under the container's id in `ip netns`. A name that it has already is left
    /// to whoever gave it; if that is another container of ours, both hold it.
    pub(super) fn name(
        &mut self,
        Case { request, host, claimed, .. }: Case<'_>,
        record: &Record,
    ) -> Result<()> {
        let (netns, inode) = (record.sandbox.netns(), record.sandbox.netns);
        let name = record.container.id.clone();
        match &host.name {
            _ if !request.name_netns => {}
            NameHolder::Free | NameHolder::Stale => self.make(Step::NameNetns { name, netns, inode }),
            NameHolder::Same => {
                let same = |step: &&Step| matches!(step, Step::NameNetns { name: n, .. } if *n == name);
                let held = claimed.mates.iter().flat_map(|mate| &mate.steps).find(same);
                held.into_iter().for_each(|step| self.hold(step.clone()));
            }
            NameHolder::Others(who) => {
                let step = Step::NameNetns { name, netns, inode };
                let operation = format!("name the network namespace of {}: {step}", record.container);
                let id = record.id();
                let hint = format!("`ip netns del {id}` takes the name away, if it is not needed");
                return Err(Error::new(operation, who).of(Kind::Conflict).hint(hint));
            }
        }
        Ok(())
    }

    pub(super) fn ipfile(&mut self, request: &Request, record: &Record) {
        let file = &request.ipfile;
        let (base, path) = if file.is_absolute() {
            let name = file.file_name().map(PathBuf::from).unwrap_or_default();
            (file.parent().map(PathBuf::from).unwrap_or_default(), name)
        } else {
            (record.container.bundle.clone(), file.clone())
        };
        let address = record.addresses().next().map(|address| address.ip().to_string());
        if let (false, false, Some(contents)) =
            (base.as_os_str().is_empty(), path.as_os_str().is_empty(), address)
        {
            self.make(Step::WriteFile { base, path, contents });
        }
    }
}

/// What was given to a device of the host stays with it.
fn is_of_a_device(step: &Step) -> bool {
    matches!(step, Step::MoveDevice(_))
}

/// A parameter of the host is switched on: it was off, or nobody would have done it.
pub(crate) fn switched_on(key: &str) -> Step {
    let (off, on) = ("0".to_owned(), "1".to_owned());
    Step::Sysctl { netns: Netns::Host, key: key.to_owned(), value: on, before: Some(off) }
}

pub(super) fn route_localnet_key(bridge: &Iface) -> String {
    format!("net/ipv4/conf/{bridge}/route_localnet")
}

/// The step that lets the host route its loopback addresses out of a bridge.
pub(crate) fn route_localnet(bridge: &Iface) -> Step {
    switched_on(&route_localnet_key(bridge))
}
