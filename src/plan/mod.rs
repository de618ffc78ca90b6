//! What is to be done, as values: the [`Step`]s and the functions that list them.
//!
//! Pure: what the kernel looks like is passed in as a [`Host`], what others hold as a
//! [`Survey`]. A step's `Display`, in the dialect of `ip(8)`, `sysctl(8)` and `iptables(8)`, is
//! the text of `netns plan`, of the debug log, of the golden files and of errors.

mod case;
mod claims;
mod host;
mod names;
pub mod nics;
mod step;
mod steps;

use ipnetwork::IpNetwork;

use crate::config::Config;
use crate::config::nic::Nic;
use crate::config::value;
use crate::error::{Error, Result};
use crate::firewall::Rule;
use crate::link::bridge::{self, Bridge};
use crate::link::physical::Physical;
use crate::link::veth::{self, Veth};
use crate::store::record::{Network, Record, Survey};
pub use case::Case;
use claims::{lease, resolve_ports};
pub use host::{Host, Interface, Link, Listener, Name, Route};
pub use names::{Cover, Covering, Files, Slots, directory, resolv_conf};
pub use step::{SOURCE_TABLE, Step};
use steps::Steps;
pub use steps::usual_host_interface;

/// The MTU where there is no default route to ask, in bytes: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// What an attach is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The network's record as it will be, unless the container is on none.
    pub network: Option<Network>,
    /// The container's record as it will be.
    pub record: Record,
    /// The steps to take: firewall first, so that its program can run while the rest is done.
    pub take: Vec<Step>,
}

/// The network's record as it should be, and the steps that lead there.
///
/// A step enters the record when it makes something that did not exist. What was found is
/// used, mended if it has drifted, and never undone, unless we made it.
///
/// # Errors
/// The bridge's name belongs to another kind of link; the bridge carries another subnet; a
/// route of the host already leads to the subnet.
pub fn network(config: &Config, host: &Host, survey: &Survey) -> Result<(Network, Vec<Step>)> {
    let known = survey.network(&config.bridge);
    check_bridge(config, host, known)?;
    let mtu = config.mtu.or(known.map(|known| known.mtu)).unwrap_or_else(|| {
        host.bridge.as_ref().map(|found| found.mtu).or(host.uplink_mtu).unwrap_or(DEFAULT_MTU)
    });
    let mut steps =
        Steps { survey, hold: known.map_or_else(Vec::new, |n| n.steps.clone()), take: Vec::new() };
    steps.once(Step::Firewall(Rule::Base));
    steps.once(Step::Firewall(Rule::Network {
        bridge: config.bridge.clone(),
        subnet: value::subnet(config.gateway),
    }));
    steps.sysctl("net/ipv4/ip_forward", "1", &host.ip_forward);
    bridge_steps(&mut steps, config, host, mtu);
    steps.keep_names(config, host);
    let network = Network {
        bridge: config.bridge.clone(),
        gateway: config.gateway,
        mtu,
        cursor: known.and_then(|known| known.cursor),
        steps: steps.hold,
        done: true,
    };
    Ok((network, steps.take))
}

fn check_bridge(config: &Config, host: &Host, known: Option<&Network>) -> Result<()> {
    let bridge = &config.bridge;
    let operation = format!("use bridge {bridge}");
    let subnet = value::subnet(config.gateway);
    if let Some(known) = known.filter(|known| known.gateway != config.gateway) {
        return Err(Error::new(operation, format!("it carries {}, not {}", known.gateway, config.gateway))
            .hint("pass --ip with its address, or --bridge with another name"));
    }
    if let Some(found) = &host.bridge {
        if found.kind.as_deref() != Some("bridge") {
            let kind = found.kind.as_deref().unwrap_or("physical interface");
            return Err(Error::new(operation, format!("it exists but is a {kind}"))
                .hint("remove it, or pass --bridge with another name"));
        }
        let other = found.addresses.first().filter(|_| !found.addresses.contains(&config.gateway));
        if let Some(other) = other {
            return Err(Error::new(operation, format!("it carries {other}, not {}", config.gateway))
                .hint("pass --ip with its address, or --bridge with another name"));
        }
    }
    let covering = |route: &&Route| {
        route.link != bridge.as_str() && route.destination.prefix() > 0 && overlap(route.destination, subnet)
    };
    match host.routes.iter().find(covering) {
        None => Ok(()),
        Some(Route { destination, link }) => Err(Error::new(
            format!("use subnet {subnet} for bridge {bridge}"),
            format!("the host already has a route to {destination} by {link}"),
        )
        .hint("pass --ip with an address of another subnet")),
    }
}

fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    a.contains(b.network()) || b.contains(a.network())
}

fn bridge_steps(steps: &mut Steps<'_>, config: &Config, host: &Host, mtu: u32) {
    let name = &config.bridge;
    let address = Step::AddAddress { pid: None, link: name.clone(), address: config.gateway };
    let up = Step::SetUp { pid: None, link: name.clone() };
    match &host.bridge {
        None => {
            let mac = value::mac(bridge::MAC_KIND, config.gateway.ip());
            steps.make(Step::AddBridge(Bridge { name: name.clone(), mac, mtu }));
            if host.ipv6 {
                steps.quiet(None, name);
            }
            steps.make(address);
            steps.make(up);
            steps.hang_again(name);
        }
        Some(found) => {
            // What hangs on a bridge of ours goes with it; on somebody else's it is undone.
            let ours = steps.hold.iter().any(|step| matches!(step, Step::AddBridge(_)));
            let mut mend = |step| if ours { steps.take.push(step) } else { steps.make(step) };
            if found.mtu != mtu {
                mend(Step::SetMtu { link: name.clone(), mtu, before: found.mtu });
            }
            if !found.addresses.contains(&config.gateway) {
                mend(address);
            }
            if !found.up {
                mend(up);
            }
        }
    }
}

/// Everything that attaching `container` takes, the network included where it is not whole.
///
/// # Errors
/// Those of [`network`]; no address is free, or the one asked for is not; a port is already
/// published by another container; an interface is not the container's to have.
pub fn attach(case: Case<'_>) -> Result<Plan> {
    let Case { config, host, survey, container, process, .. } = case;
    let nics = nics::moving(case)?;
    if config.no_bridge {
        return without_bridge(case, nics);
    }
    let (mut network, mut take) = network(config, host, survey)?;
    let address = lease(case, &network)?;
    let published = resolve_ports(case)?;
    let pid = process.pid;
    let veth = Veth {
        name: steps::host_interface(container, pid, host.host_interface_taken)?,
        mac: value::mac(veth::HOST_MAC_KIND, address.ip()),
        bridge: config.bridge.clone(),
        peer: config.iface.clone(),
        peer_mac: value::mac(veth::PEER_MAC_KIND, address.ip()),
        pid,
        mtu: network.mtu,
    };
    let mut record = Record {
        bridge: Some(config.bridge.clone()),
        host_interface: Some(veth.name.clone()),
        mac: Some(veth.peer_mac),
        addresses: vec![address],
        gateway: Some(config.gateway.ip()),
        published,
        ..bare(case)
    };
    let mut steps = Steps { survey, hold: Vec::new(), take: Vec::new() };
    steps.publish(&record, host);
    // Before the cable: while the namespace is empty an interface keeps its number there.
    let has_gateway = nics.iter().any(|(nic, _)| nic.gateway.is_some_and(|gateway| gateway.is_ipv4()));
    steps.nics(nics);
    steps.cable(veth, &record, host.ipv6);
    steps.default_route(&record, has_gateway);
    steps.hairpin(&record);
    steps.name(config, host, &record)?;
    steps.names(config, host, &record);
    steps.ipfile(config, &record);
    network.cursor = match config.static_ip {
        Some(_) => network.cursor,
        None => Some(address.ip()),
    };
    record.steps = steps.hold;
    take.extend(steps.take);
    // A stable sort: everything else keeps its order.
    take.sort_by_key(|step| !matches!(step, Step::Firewall(_)));
    Ok(Plan { network: Some(network), record, take })
}

/// The record of a container that has nothing yet.
fn bare(Case { config, container, process, now, .. }: Case<'_>) -> Record {
    Record {
        id: container.id.clone(),
        bundle: container.bundle.clone(),
        process: process.clone(),
        bridge: None,
        interface: config.iface.clone(),
        host_interface: None,
        mac: None,
        addresses: Vec::new(),
        gateway: None,
        published: Vec::new(),
        since: now,
        steps: Vec::new(),
        done: true,
    }
}

/// What a container takes that is on no bridge: interfaces of the host alone.
fn without_bridge(case: Case<'_>, nics: Vec<(Nic, Physical)>) -> Result<Plan> {
    let Case { config, host, survey, process, .. } = case;
    let mut record = nics::without_bridge(bare(case), &nics);
    let mut steps = Steps { survey, hold: Vec::new(), take: Vec::new() };
    steps.loopback(process.pid);
    steps.nics(nics);
    steps.name(config, host, &record)?;
    steps.ipfile(config, &record);
    record.steps = steps.hold;
    Ok(Plan { network: None, record, take: steps.take })
}

/// What a container takes that joins the namespace of `owner`, who is attached already: the
/// same interface and address, a share in every step, and ports of its own.
///
/// # Errors
/// It asks for an address that the namespace does not have, or for a port that is taken.
pub fn join(case: Case<'_>, owner: &Record) -> Result<Plan> {
    let Case { config, host, survey, container, process, now } = case;
    let has = |wanted| owner.addresses.iter().any(|address| address.ip() == wanted);
    if let Some(wanted) = config.static_ip.filter(|wanted| !has(*wanted)) {
        return Err(Error::new(
            format!("use static address {wanted} for container {}", container.id),
            format!("it shares the network namespace of container {}", owner.id),
        ));
    }
    let lost = || Error::new(format!("join container {}", owner.id), "the record of its network is missing");
    let network = match &owner.bridge {
        Some(bridge) => Some(survey.network(bridge).cloned().ok_or_else(lost)?),
        None => nics::publishing_nothing(config, container, owner).map(|()| None)?,
    };
    let nics = nics::joining(case, owner)?;
    let mut record = Record {
        id: container.id.clone(),
        bundle: container.bundle.clone(),
        process: process.clone(),
        published: resolve_ports(case)?,
        since: now,
        ..owner.clone()
    };
    let cable = |step: &Step| {
        let own = step.name_file().is_some() || matches!(step, Step::Firewall(_) | Step::WriteFile { .. });
        !own && !step.is_of_names() && !matches!(step, Step::Sysctl { before: Some(_), .. })
    };
    let shared = owner.steps.iter().filter(|step| cable(step)).cloned().collect();
    let mut steps = Steps { survey, hold: shared, take: Vec::new() };
    steps.publish(&record, host);
    steps.hairpin(&record);
    steps.name(config, host, &record)?;
    steps.nics(nics);
    steps.names(config, host, &record);
    steps.ipfile(config, &record);
    record.steps = steps.hold;
    Ok(Plan { network, record, take: steps.take })
}
