//! Devices of the host that move into a container: who may have which, and the steps.

use std::result::Result as StdResult;

use super::Case;
use super::steps::Steps;
use super::veth::MAX_ALIAS;
use crate::error::{Error, Kind, Result};
use crate::model::container::ContainerId;
use crate::model::device::MovedDevice;
use crate::model::host_device::HostDevice;
use crate::model::observed::Device;
use crate::model::record::{Attachment, Record};
use crate::model::request::Request;
use crate::model::route::RouteSpec;
use crate::model::sandbox::Sandbox;
use crate::model::step::Step;
use crate::model::value::{self, Iface, Mac};

/// The devices that a container asks for, as they are to be moved.
///
/// # Errors
/// One of them is not the container's to have, or cannot be called as it is to be inside; or
/// what is asked for besides needs a network, and there is to be none.
pub(super) fn moving(case: Case<'_>) -> Result<Vec<(HostDevice, MovedDevice)>> {
    let Case { request, sandbox, .. } = case;
    check_together(request)?;
    let moved = request.devices.iter().map(|device| {
        let found = find(device, case)
            .map_err(|(cause, hint)| refusal(&device.name, &request.container, cause, hint))?;
        Ok((device.clone(), moved(device, found, &request.container, sandbox)))
    });
    moved.collect()
}

/// As [`moving`], for a container that joins the namespace of `mate`: what that one has moved
/// there is there.
///
/// # Errors
/// As of [`moving`].
pub(super) fn joining(case: Case<'_>, mate: &Record) -> Result<Vec<(HostDevice, MovedDevice)>> {
    let there = |device: &HostDevice| mate.devices().any(|other| other.name == device.name);
    let devices = &case.request.devices;
    let devices: Vec<HostDevice> = devices.iter().filter(|device| !there(device)).cloned().collect();
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let networks = if mate.networks().next().is_none() { Vec::new() } else { case.request.networks.clone() };
    let request = Request { devices, networks, ..case.request.clone() };
    moving(Case { request: &request, ..case })
}

/// Refuses ports for a container that joins one without a network.
///
/// # Errors
/// It publishes ports.
pub(super) fn publishing_nothing(request: &Request, mate: &Record) -> Result<()> {
    if request.published().next().is_none() || mate.networks().next().is_some() {
        return Ok(());
    }
    Err(Error::new(
        format!("publish a port for {}", request.container),
        format!("it shares the network namespace of {}, which is on no bridge", mate.container),
    )
    .of(Kind::Conflict))
}

/// Refuses names that something inside has already.
///
/// # Errors
/// The first that is taken.
pub fn check_inside<'a>(
    steps: &[Step],
    container: &ContainerId,
    mut names: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let moved =
        |step: &&Step, name| matches!(step, Step::MoveDevice(device) if device.inside.as_str() == name);
    let taken = names.find_map(|name| steps.iter().find(|step| moved(step, name)));
    let Some(Step::MoveDevice(device)) = taken else { return Ok(()) };
    let MovedDevice { name, inside, .. } = &**device;
    let cause = format!("there is an interface {inside} inside already");
    Err(refusal(name, container, cause, format!("--nic {name}=NAME gives it another name")))
}

/// What can be seen without looking at the host.
fn check_together(request: &Request) -> Result<()> {
    if request.networks.is_empty() && request.devices.is_empty() {
        let operation = format!("attach {}", request.container);
        let error = Error::new(operation, "without a bridge it has no interface").of(Kind::Input);
        return Err(error.hint("--nic moves one of the host in"));
    }
    for (at, device) in request.devices.iter().enumerate() {
        if let Some((cause, hint)) = clash(device, &request.devices[..at], request) {
            return Err(refusal(&device.name, &request.container, cause, hint));
        }
    }
    Ok(())
}

/// The cause and what to do about it.
type Refusal = (String, String);

/// Why a device cannot be beside the others and the interfaces on networks.
fn clash(device: &HostDevice, others: &[HostDevice], request: &Request) -> Option<Refusal> {
    let HostDevice { name, inside, .. } = device;
    if others.iter().any(|other| other.name == *name) {
        return Some(("it is asked for twice".to_owned(), String::new()));
    }
    let called = |other: &HostDevice| other.inside == *inside;
    // Loopback itself is refused for what it is.
    let loopback = inside.as_str() == "lo" && name != inside;
    let on_network = request.networks.iter().any(|network| network.interface == *inside);
    if loopback || on_network || others.iter().any(called) {
        let cause = format!("another interface is to be called {inside} inside");
        return Some((cause, format!("--nic {name}=NAME gives it another name")));
    }
    let family = |device: &HostDevice| device.gateway.map(|gateway| gateway.is_ipv4());
    let both = |other: &&HostDevice| family(device).is_some() && family(other) == family(device);
    if let Some(other) = others.iter().find(both) {
        return Some((format!("the container has the gateway of {} already", other.name), String::new()));
    }
    for network in request.networks.iter().map(|network| &network.network) {
        for subnet in network.subnets.iter().map(|subnet| value::subnet(*subnet)) {
            if let Some(address) = device.addresses.iter().find(|address| subnet.contains(address.ip())) {
                let cause =
                    format!("{} is in the subnet of bridge {}, {subnet}", address.ip(), network.bridge);
                return Some((cause, String::new()));
            }
        }
    }
    None
}

fn refusal(name: &Iface, container: &ContainerId, cause: String, hint: String) -> Error {
    let error = Error::new(format!("move interface {name} into {container}"), cause).of(Kind::Conflict);
    if hint.is_empty() { error } else { error.hint(hint) }
}

fn find<'a>(device: &HostDevice, case: Case<'a>) -> StdResult<&'a Device, Refusal> {
    let no = |cause: &str, hint: &str| Err((cause.to_owned(), hint.to_owned()));
    let name = device.name.as_str();
    let holder = case.claimed.devices.iter().find(|(held, _)| held == name).map(|(_, id)| id);
    let Some(found) = case.host.devices.iter().find(|found| found.name == device.name) else {
        return match holder {
            Some(id) => no(&format!("container {id} has it"), &format!("`netns detach {id}` gives it back")),
            None => no("there is no such interface", ""),
        };
    };
    if let Some(id) = holder {
        return no(&format!("it is the host end of container {id}'s veth pair"), "");
    }
    if found.loopback {
        return no("it is the host's loopback interface", "");
    }
    if found.before.identity.kind.as_deref() == Some("bridge") {
        return no("it is a bridge", "--bridge puts the container on it");
    }
    if found.immovable {
        return no("the kernel keeps it in its namespace", "");
    }
    if let Some(master) = found.master_kind.as_deref().filter(|kind| *kind != "bridge") {
        return no(&format!("it is part of a {master}"), "");
    }
    if found.uplink && !device.force {
        let hint = format!("--nic {name},force moves it all the same: the host is cut off until it is back");
        return no("the host's default route needs it", &hint);
    }
    Ok(found)
}

fn moved(device: &HostDevice, found: &Device, container: &ContainerId, sandbox: &Sandbox) -> MovedDevice {
    let mut mark = format!("netns:{}:{}", device.name, container.id);
    // Ids are ASCII.
    mark.truncate(MAX_ALIAS);
    MovedDevice {
        name: device.name.clone(),
        inside: device.inside.clone(),
        netns: sandbox.netns(),
        inode: sandbox.netns,
        mac: device.mac,
        mtu: device.mtu,
        mark,
        before: found.before.clone(),
    }
}

/// The attachment of a container that is on no network: that of its first device.
pub(super) fn attachment(devices: &[(HostDevice, MovedDevice)]) -> Option<Attachment> {
    let (device, moved) = devices.first()?;
    let hardware = || moved.before.identity.address.0.as_slice().try_into().ok().map(Mac);
    Some(Attachment {
        network: None,
        bridge: None,
        parent: None,
        interface: device.inside.clone(),
        host_interface: None,
        mac: moved.mac.or_else(hardware),
        addresses: devices.iter().flat_map(|(device, _)| device.addresses.clone()).collect(),
        gateways: devices.iter().filter_map(|(device, _)| device.gateway).take(1).collect(),
    })
}

impl Steps<'_> {
    /// Moves devices in, with their addresses and routes.
    pub(super) fn devices(&mut self, devices: Vec<(HostDevice, MovedDevice)>) {
        for (device, moved) in devices {
            let (netns, link) = (moved.netns, moved.inside.clone());
            self.make(Step::MoveDevice(Box::new(moved)));
            for address in device.addresses {
                self.make(Step::AddAddress { netns, link: link.clone(), address, nodad: false });
            }
            if let Some(gateway) = device.gateway {
                let route = RouteSpec::default_via(gateway, None);
                self.make(Step::AddRoute { netns, route, link: Some(link), table: None });
            }
        }
    }
}
