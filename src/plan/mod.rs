//! What is to be done, as a value: from what is asked for, what was observed and what others
//! hold to a [`Plan`]. Pure: no disk, no kernel, no clock.
//!
//! [`lease`] and [`ports`] choose; each other file lists the steps of one subject.

mod devices;
pub mod lease;
mod names;
mod network;
mod parent;
pub mod ports;
pub mod publish;
mod rates;
mod routes;
mod steps;
mod veth;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use crate::error::{Error, Kind, Result};
use crate::model::link::CONTAINER_MAC;
use crate::model::network::{Network, NetworkName, NetworkSpec};
use crate::model::observed::Host;
use crate::model::record::{Attachment, Record};
use crate::model::request::{NetworkRequest, Request};
use crate::model::rule::Backend;
use crate::model::sandbox::Sandbox;
use crate::model::step::{Scope, Step};
use crate::model::value;
pub use devices::check_inside;
pub use names::{directory, hosts_file, joined, resolv_conf};
pub use network::{IP_FORWARD, NetworkPlan, network};
pub use publish::Published;
use steps::Steps;
pub(crate) use steps::{route_localnet, switched_on};
pub use veth::host_interface;

/// One container, and everything as it is found.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What it is to get.
    pub request: &'a Request,
    /// The kernel.
    pub host: &'a Host,
    /// What others hold, and what was chosen of what they do not.
    pub claimed: &'a Claimed,
    /// Its network namespace.
    pub sandbox: &'a Sandbox,
    /// In seconds since 1970.
    pub now: u64,
}

/// What others hold, as far as this container has to know, and what was chosen for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Where the state lives.
    pub state_dir: PathBuf,
    /// This boot.
    pub boot_id: String,
    /// The records of the networks that are asked for, in their order.
    pub networks: Vec<Option<Network>>,
    /// Those who share the container's network namespace.
    pub mates: Vec<Record>,
    /// Those who have other interfaces in it.
    pub beside: Vec<Record>,
    /// The shared steps that somebody holds, by their [`Step::shared_name`].
    pub shared: BTreeSet<String>,
    /// The addresses chosen on each network, one a subnet.
    pub addresses: Vec<Vec<IpAddr>>,
    /// The port mappings chosen.
    pub ports: Vec<Published>,
    /// Free lines of the hosts file of each of its networks, as many as the container may need.
    pub slots: Vec<Vec<u32>>,
    /// Who has which device of the host, and whose host end is called how.
    pub devices: Vec<(String, String)>,
    /// Steps that restore what containers need of a bridge that somebody has deleted.
    pub restored: Vec<Step>,
}

/// What an attach is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The networks as they will be, each with the steps that lead there.
    pub networks: Vec<NetworkPlan>,
    /// The container's record.
    pub record: Record,
    /// The container's steps to take now; the record has those too that others have taken.
    pub steps: Vec<Step>,
    /// The addresses that were leased, and not asked for: where the next search begins.
    pub leased: Vec<(NetworkName, IpAddr)>,
}

impl Plan {
    /// Every step to take now, the networks' first.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.networks.iter().flat_map(|network| &network.steps).chain(&self.steps)
    }

    /// Whether any network is to be made or changed.
    pub fn makes_a_network(&self) -> bool {
        self.networks.iter().any(|network| !network.steps.is_empty())
    }

    /// Those of the container's steps to take now that others may come to hold too.
    pub fn new_shared(&self) -> impl Iterator<Item = String> {
        let shared = self.steps.iter().filter(|step| step.traits().scope != Scope::Container);
        shared.filter_map(Step::shared_name)
    }
}

/// Steps as they are once another backend has the rules among them.
pub fn moved(steps: &[Step], to: Backend, has_iptables: bool) -> Vec<Step> {
    let mut moved = Vec::new();
    for step in steps {
        let again = match step {
            Step::Firewall(rule) => rule.on(to, has_iptables).into_iter().map(Step::Firewall).collect(),
            other => vec![other.clone()],
        };
        for step in again {
            if !moved.contains(&step) {
                moved.push(step);
            }
        }
    }
    moved
}

/// Everything that attaching a container takes, its networks included where they are not whole.
///
/// # Errors
/// Those of [`network()`]; a device of the host is not the container's to have.
pub fn attach(case: Case<'_>) -> Result<Plan> {
    if let Some(mate) = case.claimed.mates.first() {
        return join(case, mate);
    }
    let Case { request, host, claimed, .. } = case;
    let devices = devices::moving(case)?;
    let (mut networks, mut beside) = (Vec::new(), Cow::Borrowed(claimed));
    for (at, wanted) in request.networks.iter().enumerate() {
        let observed = host.networks.get(at).cloned().unwrap_or_default();
        let known = claimed.networks.get(at).and_then(Option::as_ref);
        // What is there keeps its MTU: other containers rely on it.
        let mtu = known.map_or(wanted.network.mtu, |known| Some(known.mtu));
        let spec = NetworkSpec { mtu, ..wanted.network.clone() };
        let planned = network(&spec, host, &observed, known, &beside)?;
        if request.networks.len() > 1 {
            // What one of them makes for all is there for the next.
            beside.to_mut().shared.extend(planned.steps.iter().filter_map(Step::shared_name));
        }
        networks.push(planned);
    }
    let mut steps = Steps::new(claimed);
    let mut record = empty_record(case);
    for (at, wanted) in request.networks.iter().enumerate() {
        if let (Some(network), Some(addresses)) = (networks.get(at), claimed.addresses.get(at)) {
            let attachment = attachment(case, wanted, &network.network, addresses, &record)?;
            record.attachments.push(attachment);
        }
    }
    steps.publish(request, host);
    // Before the veth pair: while the namespace is empty an interface keeps its number there.
    let gateways: Vec<IpAddr> = devices.iter().filter_map(|(device, _)| device.gateway).collect();
    if record.attachments.is_empty() {
        steps.loopback(&record);
        record.attachments.extend(devices::attachment(&devices));
    }
    steps.devices(devices);
    steps.interfaces(request, &record, &networks, host.ipv6)?;
    steps.routes(request, &record, &networks, &gateways)?;
    steps.hairpin(&record);
    finish(case, steps, record, networks)
}

/// The record of a container that has this already, though nobody has written it down.
///
/// # Errors
/// Its MTU is larger than its network's.
pub fn adopt(case: Case<'_>, attachments: Vec<Attachment>, networks: &[NetworkPlan]) -> Result<Record> {
    let mut steps = Steps::new(case.claimed);
    let record = Record { attachments, ..empty_record(case) };
    steps.publish(case.request, case.host);
    steps.interfaces(case.request, &record, networks, case.host.ipv6)?;
    steps.routes(case.request, &record, networks, &[])?;
    steps.hairpin(&record);
    Ok(Record { steps: steps.held, ..record })
}

/// What a container takes that joins the network namespace of `mate`, who is attached already:
/// the same interfaces and addresses, a share in every step, and ports of its own.
fn join(case: Case<'_>, mate: &Record) -> Result<Plan> {
    let Case { request, host, claimed, .. } = case;
    let has = |wanted: &IpAddr| mate.addresses().any(|address| address.ip() == *wanted);
    let mut fixed = request.networks.iter().flat_map(|network| &network.static_ips);
    if let Some(wanted) = fixed.find(|wanted| !has(wanted)) {
        return Err(Error::new(
            format!("use static address {wanted} for {}", request.container),
            format!("it shares the network namespace of {}", mate.container),
        )
        .of(Kind::Conflict));
    }
    devices::publishing_nothing(request, mate)?;
    let devices = devices::joining(case, mate)?;
    let record = Record { attachments: mate.attachments.clone(), ..empty_record(case) };
    let mut steps = Steps::new(claimed);
    steps.hold_with(mate);
    steps.publish(request, host);
    steps.hairpin(&record);
    steps.devices(devices);
    finish(case, steps, record, Vec::new())
}

/// The last steps of both, and the record of all.
fn finish(
    case: Case<'_>,
    mut steps: Steps<'_>,
    mut record: Record,
    networks: Vec<NetworkPlan>,
) -> Result<Plan> {
    steps.name(case, &record)?;
    steps.names(case, &record);
    steps.ipfile(case.request, &record);
    record.steps = steps.held;
    let wanted = case.request.networks.iter().zip(&case.claimed.addresses);
    let leased = wanted.flat_map(|(wanted, addresses)| {
        let leased = addresses.iter().filter(|address| !wanted.static_ips.contains(address));
        leased.map(|address| (wanted.network.name.clone(), *address))
    });
    Ok(Plan { networks, record, steps: steps.taken, leased: leased.collect() })
}

/// The record of a container that has nothing yet.
fn empty_record(Case { request, claimed, sandbox, now, .. }: Case<'_>) -> Record {
    Record {
        container: request.container.clone(),
        sandbox: sandbox.clone(),
        attachments: Vec::new(),
        ports: claimed.ports.iter().map(|port| port.mapping.clone()).collect(),
        labels: request.labels.clone(),
        since: now,
        steps: Vec::new(),
    }
}

fn attachment(
    case: Case<'_>,
    wanted: &NetworkRequest,
    network: &Network,
    addresses: &[IpAddr],
    record: &Record,
) -> Result<Attachment> {
    let Case { request, host, sandbox, .. } = case;
    let mut leases = Vec::new();
    for address in addresses {
        let operation = || format!("lease {address} for {}", request.container);
        let subnet = network.subnets.iter().find(|subnet| subnet.contains(*address));
        let subnet = subnet.ok_or_else(|| Error::new(operation(), "it is in no subnet of the network"))?;
        let lease = IpNetwork::new(*address, subnet.prefix());
        leases.push(lease.map_err(|cause| Error::new(operation(), cause))?);
    }
    let taken = |name: &_| host.taken.contains(name) || record.host_interfaces().any(|own| own == name);
    let host_end = || host_interface(&request.container, sandbox, &wanted.interface, taken);
    let has_own_mac = network.parent.as_ref().is_none_or(|parent| parent.kind.has_own_mac());
    let derived = || addresses.first().map(|address| value::mac(CONTAINER_MAC, *address));
    Ok(Attachment {
        network: Some(network.name.clone()),
        bridge: network.parent.is_none().then(|| network.bridge.clone()),
        parent: network.parent.as_ref().map(|parent| parent.lower().clone()),
        interface: wanted.interface.clone(),
        host_interface: network.parent.is_none().then(host_end).transpose()?,
        mac: wanted.mac.or_else(derived).filter(|_| has_own_mac),
        addresses: leases,
        gateways: network.gateways(),
    })
}
