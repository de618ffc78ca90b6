//! Interfaces of the host that move into a container: who may have which, and the steps.

use super::case::Case;
use super::host::{Host, Interface};
use super::step::Step;
use super::steps::Steps;
use crate::config::Config;
use crate::config::nic::Nic;
use crate::config::value::{self, Iface, Mac};
use crate::error::{Error, Result};
use crate::hook::Container;
use crate::kernel::process::Process;
use crate::link::physical::Physical;
use crate::store::record::{Record, Survey};

/// The longest interface alias, in bytes (`IFALIASZ` less its NUL).
const MAX_ALIAS: usize = 255;

/// The interfaces that `container` asks for, as they are to be moved.
///
/// # Errors
/// One of them is not the container's to have, or cannot be called as it is to be inside; or
/// what is asked for besides needs a bridge, and there is to be none.
pub(super) fn moving(case: Case<'_>) -> Result<Vec<(Nic, Physical)>> {
    let Case { config, host, survey, container, process, .. } = case;
    check_together(config, container)?;
    let moved = config.nics.iter().map(|nic| {
        let found =
            find(nic, host, survey).map_err(|(cause, hint)| refusal(&nic.name, container, cause, hint))?;
        Ok((nic.clone(), physical(nic, found, container, process)))
    });
    moved.collect()
}

/// As [`moving`], for a container that joins the namespace of `owner`: what that one has moved
/// there is there.
///
/// # Errors
/// As of [`moving`].
pub(super) fn joining(case: Case<'_>, owner: &Record) -> Result<Vec<(Nic, Physical)>> {
    let there = |nic: &Nic| {
        owner.steps.iter().any(|step| matches!(step, Step::MoveNic(other) if other.name == nic.name))
    };
    let nics: Vec<Nic> = case.config.nics.iter().filter(|nic| !there(nic)).cloned().collect();
    if nics.is_empty() {
        return Ok(Vec::new());
    }
    let config = Config { nics, no_bridge: owner.bridge.is_none(), ..case.config.clone() };
    moving(Case { config: &config, ..case })
}

/// Refuses ports for a container that joins one without a bridge.
///
/// # Errors
/// It publishes ports.
pub(super) fn publishing_nothing(config: &Config, container: &Container, owner: &Record) -> Result<()> {
    if config.publish.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        format!("publish a port for container {}", container.id),
        format!("it shares the network namespace of container {}, which is on no bridge", owner.id),
    ))
}

/// Refuses names that something inside has already.
///
/// # Errors
/// The first that is taken.
pub fn check_inside<'a>(
    moves: &[&Step],
    container: &Container,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let moved = |step: &&Step, name| matches!(step, Step::MoveNic(nic) if nic.inside.as_str() == name);
    let taken = names.find_map(|name| moves.iter().find(|step| moved(step, name)));
    let Some(Step::MoveNic(nic)) = taken else { return Ok(()) };
    let Physical { name, inside, .. } = &**nic;
    let cause = format!("there is an interface {inside} inside already");
    Err(refusal(name, container, cause, format!("--nic {name}=NAME gives it another name")))
}

/// What can be seen without looking at the host.
fn check_together(config: &Config, container: &Container) -> Result<()> {
    if config.no_bridge {
        check_alone(config, container)?;
    }
    for (at, nic) in config.nics.iter().enumerate() {
        if let Some((cause, hint)) = clash(nic, &config.nics[..at], config) {
            return Err(refusal(&nic.name, container, cause, hint));
        }
    }
    Ok(())
}

/// Without a bridge there is nothing to publish by or to lease from.
fn check_alone(config: &Config, container: &Container) -> Result<()> {
    let refuse =
        |what: &str, cause: &str| Err(Error::new(format!("{what} container {}", container.id), cause));
    let nothing = "there is no bridge, and nothing that belongs to one";
    if config.nics.is_empty() {
        return refuse("attach", "without a bridge it has no interface")
            .map_err(|error: Error| error.hint("--nic moves one of the host in"));
    }
    if !config.publish.is_empty() {
        return refuse("publish a port for", nothing);
    }
    if config.static_ip.is_some() { refuse("use a static address for", nothing) } else { Ok(()) }
}

/// Why an interface cannot be beside the others and the one on the bridge.
fn clash(nic: &Nic, others: &[Nic], config: &Config) -> Option<Refusal> {
    let Nic { name, inside, .. } = nic;
    let with_bridge = !config.no_bridge;
    if others.iter().any(|other| other.name == *name) {
        return Some(("it is asked for twice".to_owned(), String::new()));
    }
    let called = |other: &Nic| other.inside == *inside;
    // Loopback itself is refused for what it is.
    let loopback = inside.as_str() == "lo" && name != inside;
    if loopback || (with_bridge && config.iface == *inside) || others.iter().any(called) {
        let cause = format!("another interface is to be called {inside} inside");
        return Some((cause, format!("--nic {name}=NAME gives it another name")));
    }
    let family = |nic: &Nic| nic.gateway.map(|gateway| gateway.is_ipv4());
    let both = |other: &&Nic| family(nic).is_some() && family(other) == family(nic);
    if let Some(other) = others.iter().find(both) {
        return Some((format!("the container has the gateway of {} already", other.name), String::new()));
    }
    let subnet = value::subnet(config.gateway);
    let address = nic.addresses.iter().find(|address| with_bridge && subnet.contains(address.ip()))?;
    let cause = format!("{} is in the subnet of bridge {}, {subnet}", address.ip(), config.bridge);
    Some((cause, String::new()))
}

fn refusal(name: &Iface, container: &Container, cause: String, hint: String) -> Error {
    let error = Error::new(format!("move interface {name} into container {}", container.id), cause);
    if hint.is_empty() { error } else { error.hint(hint) }
}

/// The cause and what to do about it.
type Refusal = (String, String);

fn find<'a>(nic: &Nic, host: &'a Host, survey: &Survey) -> std::result::Result<&'a Interface, Refusal> {
    let no = |cause: &str, hint: &str| Err((cause.to_owned(), hint.to_owned()));
    let Some(found) = host.interfaces.iter().find(|found| found.name == nic.name) else {
        return match holder(survey, &nic.name) {
            Some(id) => no(&format!("container {id} has it"), &format!("`netns detach {id}` gives it back")),
            None => no("there is no such interface", ""),
        };
    };
    let kind = found.before.identity.kind.as_deref();
    let cable = |step: &Step| matches!(step, Step::AddVeth(veth) if veth.name == nic.name);
    if let Some(owner) = survey.containers.iter().find(|entry| entry.shared.iter().any(cable)) {
        return no(&format!("it is the cable of container {}", owner.id), "");
    }
    if found.loopback {
        return no("it is the host's loopback interface", "");
    }
    if kind == Some("bridge") {
        return no("it is a bridge", "--bridge puts the container on it");
    }
    if found.immovable {
        return no("the kernel keeps it in its namespace", "");
    }
    if let Some(master) = found.master_kind.as_deref().filter(|kind| *kind != "bridge") {
        return no(&format!("it is part of a {master}"), "");
    }
    if found.uplink && !nic.force {
        let hint =
            format!("--nic {},force moves it all the same: the host is cut off until it is back", nic.name);
        return no("the host's default route needs it", &hint);
    }
    Ok(found)
}

/// Who has the interface that is called `name` on the host.
fn holder<'a>(survey: &'a Survey, name: &Iface) -> Option<&'a str> {
    let is = |step: &Step| matches!(step, Step::MoveNic(nic) if nic.name == *name);
    survey.containers.iter().find(|entry| entry.shared.iter().any(is)).map(|entry| entry.id.as_str())
}

fn physical(nic: &Nic, found: &Interface, container: &Container, process: &Process) -> Physical {
    let mut mark = format!("netns:{}:{}", nic.name, container.id);
    // Ids are ASCII.
    mark.truncate(MAX_ALIAS);
    Physical {
        name: nic.name.clone(),
        inside: nic.inside.clone(),
        pid: process.pid,
        netns: process.netns,
        mac: nic.mac,
        mtu: nic.mtu,
        mark,
        before: found.before.clone(),
    }
}

impl Physical {
    /// Its link-layer address inside, if it is an Ethernet address.
    fn mac_inside(&self) -> Option<Mac> {
        self.mac.or_else(|| self.before.identity.address.0.as_slice().try_into().ok().map(Mac))
    }
}

/// What the record of a container says that is on no bridge: that of its first interface.
pub(super) fn without_bridge(record: Record, nics: &[(Nic, Physical)]) -> Record {
    let Some((nic, physical)) = nics.first() else { return record };
    let addresses = nics.iter().flat_map(|(nic, _)| nic.addresses.clone()).collect();
    Record {
        interface: nic.inside.clone(),
        mac: physical.mac_inside(),
        addresses,
        gateway: nics.iter().find_map(|(nic, _)| nic.gateway),
        ..record
    }
}

impl Steps<'_> {
    /// Moves interfaces in, with their addresses and routes.
    pub(super) fn nics(&mut self, nics: Vec<(Nic, Physical)>) {
        for (nic, physical) in nics {
            let pid = physical.pid;
            let link = physical.inside.clone();
            self.make(Step::MoveNic(Box::new(physical)));
            for address in nic.addresses {
                self.make(Step::AddAddress { pid: Some(pid), link: link.clone(), address });
            }
            if let Some(gateway) = nic.gateway {
                self.make(Step::AddRoute { pid, gateway, link });
            }
        }
    }
}
