//! The steps of a plan under construction.

use std::path::PathBuf;

use super::host::{Host, Name};
use super::step::Step;
use crate::config::Config;
use crate::config::publish::Published;
use crate::config::value::Iface;
use crate::error::{Error, Result};
use crate::firewall::Rule;
use crate::hook::Container;
use crate::kernel::process::Process;
use crate::link::veth::Veth;
use crate::store;
use crate::store::record::{Record, Survey};

/// The longest interface alias, in bytes (`IFALIASZ` less its NUL).
const MAX_ALIAS: usize = 255;

/// Two lists under construction.
pub(super) struct Steps<'a> {
    pub(super) survey: &'a Survey,
    /// What will be undone one day.
    pub(super) hold: Vec<Step>,
    /// What is to be done now.
    pub(super) take: Vec<Step>,
}

impl Steps<'_> {
    /// Does `step` now and undoes it one day.
    pub(super) fn make(&mut self, step: Step) {
        self.take.push(step.clone());
        if !self.hold.contains(&step) {
            self.hold.push(step);
        }
    }

    /// As [`Self::make`], but takes only a share where somebody holds it already.
    pub(super) fn once(&mut self, step: Step) {
        if !self.survey.holds(&step) && !self.take.contains(&step) {
            self.take.push(step.clone());
        }
        if !self.hold.contains(&step) {
            self.hold.push(step);
        }
    }

    /// What was deleted by hand with a bridge that is now made again, and that its containers
    /// still need: its parameters, and their cables in it.
    fn hang_again_steps(&self, bridge: &Iface) -> Vec<Step> {
        let mut again: Vec<Step> = Vec::new();
        for step in self.survey.containers.iter().flat_map(|entry| &entry.shared) {
            let wanted = match step {
                Step::AddVeth(veth) if veth.bridge == *bridge => {
                    Step::SetMaster { link: veth.name.clone(), bridge: bridge.clone() }
                }
                Step::Sysctl { key, .. } if key.split('/').nth(3) == Some(bridge.as_str()) => step.clone(),
                _ => continue,
            };
            if !again.contains(&wanted) {
                again.push(wanted);
            }
        }
        again
    }

    /// Takes [`Self::hang_again_steps`]; they are held already, or go with their cables.
    pub(super) fn hang_again(&mut self, bridge: &Iface) {
        let again = self.hang_again_steps(bridge);
        self.take.extend(again);
    }

    /// No IPv6 on `link`: the network has none, a rogue router on it must not provide any
    /// (CVE-2020-10749), and each interface's chatter would be flooded to every port of the
    /// bridge.
    pub(super) fn quiet(&mut self, pid: Option<i32>, link: &Iface) {
        for (key, value) in [("disable_ipv6", "1"), ("accept_ra", "0")] {
            self.make(Step::Sysctl {
                pid,
                key: format!("net/ipv6/conf/{link}/{key}"),
                value: value.to_owned(),
                before: None,
            });
        }
    }

    /// Sets a parameter of the host, unless it was found as it should be; shares in the step of
    /// whoever of us set it first, who knows what it was before.
    pub(super) fn sysctl(&mut self, key: &str, value: &str, found: &str) {
        let ours = |step: &&Step| matches!(step, Step::Sysctl { key: k, value: v, pid: None, .. } if k == key && v == value);
        let step = self.survey.held().find(ours).cloned();
        if found != value {
            let fresh = || Step::Sysctl {
                pid: None,
                key: key.to_owned(),
                value: value.to_owned(),
                before: Some(found.to_owned()),
            };
            self.make(step.unwrap_or_else(fresh));
        } else if let Some(step) = step.filter(|step| !self.hold.contains(step)) {
            self.hold.push(step);
        }
    }

    pub(super) fn publish(&mut self, record: &Record, host: &Host) {
        for published in &record.published {
            if let Some(block) = Rule::block_of(published) {
                self.once(Step::Firewall(block));
            }
            for address in &record.addresses {
                self.make(Step::Firewall(Rule::Publish {
                    owner: record.id.clone(),
                    published: *published,
                    to: address.ip(),
                }));
            }
        }
        // Without it the kernel does not route 127.0.0.1 out of the bridge; with it the bridge
        // would accept such packets too, which is why raw drops them.
        if let Some(bridge) = &record.bridge
            && record.published.iter().any(Published::on_loopback)
        {
            let key = format!("net/ipv4/conf/{bridge}/route_localnet");
            self.sysctl(&key, "1", host.route_localnet.as_deref().unwrap_or("0"));
        }
    }

    /// A container that calls its own published port: with `br_netfilter` the kernel translates the
    /// packet while it is bridged, and it must leave by the port that it came in by. Set also
    /// where there is no `br_netfilter`, since another program may load it at any time.
    pub(super) fn hairpin(&mut self, record: &Record) {
        if let Some(link) = record.host_interface.clone().filter(|_| !record.published.is_empty()) {
            self.make(Step::Hairpin { link });
        }
    }

    pub(super) fn cable(&mut self, veth: Veth, record: &Record, ipv6: bool) {
        let (name, peer, pid) = (veth.name.clone(), veth.peer.clone(), veth.pid);
        let inside = Some(pid);
        self.make(Step::AddVeth(veth));
        let alias = record.id.get(..record.id.len().min(MAX_ALIAS)).unwrap_or_default().to_owned();
        self.make(Step::SetAlias { link: name.clone(), alias });
        if ipv6 {
            self.quiet(None, &name);
            self.quiet(inside, &peer);
        }
        self.loopback(pid);
        for address in &record.addresses {
            self.make(Step::AddAddress { pid: inside, link: peer.clone(), address: *address });
        }
        self.make(Step::SetUp { pid: inside, link: peer });
    }

    pub(super) fn loopback(&mut self, pid: i32) {
        if let Ok(lo) = "lo".parse() {
            self.make(Step::SetUp { pid: Some(pid), link: lo });
        }
    }

    /// By the bridge, unless the container `has_gateway` on an interface of its own. Then only
    /// what is sent from its address on the bridge leaves by it: the answers of published
    /// ports must not go another way than the questions came.
    pub(super) fn default_route(&mut self, record: &Record, has_gateway: bool) {
        let (Some(gateway), pid) = (record.gateway, record.process.pid) else { return };
        let link = record.interface.clone();
        if !has_gateway {
            return self.make(Step::AddRoute { pid, gateway, link });
        }
        self.make(Step::AddSourceRoute { pid, gateway, link });
        for address in &record.addresses {
            self.make(Step::AddSourceRule { pid, source: address.ip() });
        }
    }

    /// The namespace under the container's id in `ip netns`. A name that it has already is left
    /// to whoever gave it; if that is another container of ours, both hold it.
    pub(super) fn name(&mut self, config: &Config, host: &Host, record: &Record) -> Result<()> {
        let Process { pid, netns, .. } = record.process;
        let step = Step::NameNetns { name: record.id.clone(), pid, netns };
        match &host.name {
            _ if !config.name_netns => {}
            Name::Free | Name::Stale => self.make(step),
            Name::Same => {
                let alike = |held: &&Step| matches!(held, Step::NameNetns { name, netns: n, .. } if *name == record.id && *n == netns);
                self.hold.extend(self.survey.held().find(alike).cloned());
            }
            Name::Others(who) => {
                return Err(Error::new(
                    format!("name the network namespace of container {}: {step}", record.id),
                    who,
                )
                .hint(format!("`ip netns del {}` takes the name away, if it is not needed", record.id)));
            }
        }
        Ok(())
    }

    pub(super) fn ipfile(&mut self, config: &Config, record: &Record) {
        let (base, path) = if config.ipfile.is_absolute() {
            let name = config.ipfile.file_name().map(PathBuf::from).unwrap_or_default();
            (config.ipfile.parent().map(PathBuf::from).unwrap_or_default(), name)
        } else {
            (record.bundle.clone(), config.ipfile.clone())
        };
        let address = record.addresses.first().map(|address| address.ip().to_string());
        if let (false, false, Some(contents)) =
            (base.as_os_str().is_empty(), path.as_os_str().is_empty(), address)
        {
            self.make(Step::WriteFile { base, path, contents });
        }
    }
}

/// `netnsv0-PID`, as the Go hook names it; if that is taken or there is no pid, a name of the same form from the
/// container's identity.
pub(super) fn host_interface(container: &Container, pid: i32, taken: bool) -> Result<Iface> {
    if taken || pid == 0 {
        let hash = store::journal::key(&container.id, &container.bundle) & 0x0fff_ffff;
        format!("netnsv0-{hash:07x}").parse()
    } else {
        usual_host_interface(pid)
    }
}

/// The host end's name for the container of `pid`, unless a stranger has it.
///
/// # Errors
/// None for a pid that Linux hands out (at most 4,194,304).
pub fn usual_host_interface(pid: i32) -> Result<Iface> {
    format!("netnsv0-{pid}").parse()
}
