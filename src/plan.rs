//! What is to be done, as values: the [`Step`]s and the two functions that list them.
//!
//! Pure: what the kernel looks like is passed in as a [`Host`], what others hold as a
//! [`Survey`]. A step's `Display`, in the dialect of `ip(8)`, `sysctl(8)` and `iptables(8)`, is
//! the text of `netns plan`, of the debug log, of the golden files and of errors.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::config::publish::{Ports, Published};
use crate::config::value::{self, Iface};
use crate::error::{Error, Result};
use crate::firewall::{Rule, iptables};
use crate::hook::Container;
use crate::kernel::process::Process;
use crate::lease;
use crate::link::bridge::{self, Bridge};
use crate::link::veth::{self, Veth};
use crate::store;
use crate::store::record::{Network, Record, Survey};

/// The MTU where there is no default route to ask, in bytes: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// The longest interface alias, in bytes (`IFALIASZ` less its NUL).
const MAX_ALIAS: usize = 255;

/// One reversible change of the machine.
///
/// `pid` is a process in whose network namespace the step is taken; without one it is the
/// host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Rules of the firewall.
    Firewall(Rule),
    /// A kernel parameter.
    Sysctl {
        /// Where.
        pid: Option<i32>,
        /// Below `/proc/sys`, with slashes.
        key: String,
        /// What it is set to.
        value: String,
        /// What it was, and is set to again; `None` where it goes with its device.
        before: Option<String>,
    },
    /// A new bridge.
    AddBridge(Bridge),
    /// A new cable.
    AddVeth(Veth),
    /// The text that `ip link` shows beside a link.
    SetAlias {
        /// The host's link.
        link: Iface,
        /// At most 255 bytes.
        alias: String,
    },
    /// A port of a bridge may send a packet back out of the port that it came in by.
    Hairpin {
        /// The host's link.
        link: Iface,
    },
    /// Another MTU for a link of the host.
    SetMtu {
        /// The link.
        link: Iface,
        /// In bytes.
        mtu: u32,
        /// What it was.
        before: u32,
    },
    /// A link comes up.
    SetUp {
        /// Where.
        pid: Option<i32>,
        /// The link.
        link: Iface,
    },
    /// An address for a link.
    AddAddress {
        /// Where.
        pid: Option<i32>,
        /// The link.
        link: Iface,
        /// With its prefix length; IPv4 gets the subnet's broadcast address too.
        address: IpNetwork,
    },
    /// A container's default route.
    AddRoute {
        /// Where.
        pid: i32,
        /// The next hop.
        gateway: IpAddr,
        /// The link that it leaves by.
        link: Iface,
    },
    /// A file for other hooks.
    WriteFile {
        /// The directory that symbolic links may lead to: the bundle, or the administrator's.
        base: PathBuf,
        /// Relative to `base`; no symbolic link is followed from here on.
        path: PathBuf,
        /// All of it.
        contents: String,
    },
}

/// The kernel as the plan finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// The link that has the bridge's name.
    pub bridge: Option<Link>,
    /// Routes of the main table; read only where the bridge still needs its address.
    pub routes: Vec<Route>,
    /// The MTU of the default route's link; read only where the bridge is still to be made.
    pub uplink_mtu: Option<u32>,
    /// Whether the host end's usual name is taken.
    pub host_interface_taken: bool,
    /// `net/ipv4/ip_forward`.
    pub ip_forward: String,
    /// `net/ipv4/conf/BRIDGE/route_localnet`, if there is a bridge.
    pub route_localnet: Option<String>,
    /// Whether the kernel has IPv6 at all.
    pub ipv6: bool,
    /// Free ports of the host, one range for each request that names none, in their order.
    pub free_ports: Vec<Ports>,
}

/// A link of the host as the plan needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// As `ip link show type` would take it; `None` for hardware.
    pub kind: Option<String>,
    /// In bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// Its IPv4 addresses.
    pub addresses: Vec<IpNetwork>,
}

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What it leads to.
    pub destination: IpNetwork,
    /// The link that it leaves by.
    pub link: String,
}

/// What an attach is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The network's record as it will be.
    pub network: Network,
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
/// published by another container.
pub fn attach(
    config: &Config,
    host: &Host,
    survey: &Survey,
    container: &Container,
    process: Process,
    now: u64,
) -> Result<Plan> {
    let (mut network, mut take) = network(config, host, survey)?;
    let address = lease(config, host, &network, survey, container)?;
    let published = resolve_ports(config, host, survey, container)?;
    let pid = process.pid;
    let veth = Veth {
        name: host_interface(container, pid, host.host_interface_taken)?,
        mac: value::mac(veth::HOST_MAC_KIND, address.ip()),
        bridge: config.bridge.clone(),
        peer: config.iface.clone(),
        peer_mac: value::mac(veth::PEER_MAC_KIND, address.ip()),
        pid,
        mtu: network.mtu,
    };
    let mut record = Record {
        id: container.id.clone(),
        bundle: container.bundle.clone(),
        process,
        bridge: config.bridge.clone(),
        interface: veth.peer.clone(),
        host_interface: veth.name.clone(),
        mac: veth.peer_mac,
        addresses: vec![address],
        gateway: config.gateway.ip(),
        published,
        since: now,
        steps: Vec::new(),
        done: true,
    };
    let mut steps = Steps { survey, hold: Vec::new(), take: Vec::new() };
    publish_steps(&mut steps, &record, host);
    cable_steps(&mut steps, veth, &record, host.ipv6);
    hairpin_step(&mut steps, &record);
    ipfile_step(&mut steps, config, &record);
    network.cursor = match config.static_ip {
        Some(_) => network.cursor,
        None => Some(address.ip()),
    };
    record.steps = steps.hold;
    take.extend(steps.take);
    // A stable sort: everything else keeps its order.
    take.sort_by_key(|step| !matches!(step, Step::Firewall(_)));
    Ok(Plan { network, record, take })
}

/// What a container takes that joins the namespace of `owner`, who is attached already: the
/// same interface and address, a share in every step, and ports of its own.
///
/// # Errors
/// It asks for an address that the namespace does not have, or for a port that is taken.
pub fn join(
    config: &Config,
    host: &Host,
    survey: &Survey,
    container: &Container,
    process: Process,
    now: u64,
    owner: &Record,
) -> Result<Plan> {
    let has = |wanted| owner.addresses.iter().any(|address| address.ip() == wanted);
    if let Some(wanted) = config.static_ip.filter(|wanted| !has(*wanted)) {
        return Err(Error::new(
            format!("use static address {wanted} for container {}", container.id),
            format!("it shares the network namespace of container {}", owner.id),
        ));
    }
    let lost = || Error::new(format!("join container {}", owner.id), "the record of its network is missing");
    let network = survey.network(&owner.bridge).cloned().ok_or_else(lost)?;
    let mut record = Record {
        id: container.id.clone(),
        bundle: container.bundle.clone(),
        process,
        published: resolve_ports(config, host, survey, container)?,
        since: now,
        ..owner.clone()
    };
    let cable = |step: &Step| {
        !matches!(step, Step::Firewall(_) | Step::WriteFile { .. } | Step::Sysctl { before: Some(_), .. })
    };
    let shared = owner.steps.iter().filter(|step| cable(step)).cloned().collect();
    let mut steps = Steps { survey, hold: shared, take: Vec::new() };
    publish_steps(&mut steps, &record, host);
    hairpin_step(&mut steps, &record);
    ipfile_step(&mut steps, config, &record);
    record.steps = steps.hold;
    Ok(Plan { network, record, take: steps.take })
}

/// Two lists under construction.
struct Steps<'a> {
    survey: &'a Survey,
    /// What will be undone one day.
    hold: Vec<Step>,
    /// What is to be done now.
    take: Vec<Step>,
}

impl Steps<'_> {
    /// Does `step` now and undoes it one day.
    fn make(&mut self, step: Step) {
        self.take.push(step.clone());
        if !self.hold.contains(&step) {
            self.hold.push(step);
        }
    }

    /// As [`Self::make`], but takes only a share where somebody holds it already.
    fn once(&mut self, step: Step) {
        if !self.survey.holds(&step) && !self.take.contains(&step) {
            self.take.push(step.clone());
        }
        if !self.hold.contains(&step) {
            self.hold.push(step);
        }
    }

    /// No IPv6 on `link`: the network has none, a rogue router on it must not provide any
    /// (CVE-2020-10749), and each interface's chatter would be flooded to every port of the
    /// bridge.
    fn quiet(&mut self, pid: Option<i32>, link: &Iface) {
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
    fn sysctl(&mut self, key: &str, value: &str, found: &str) {
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
}

fn lease(
    config: &Config,
    host: &Host,
    network: &Network,
    survey: &Survey,
    container: &Container,
) -> Result<IpNetwork> {
    let id = &container.id;
    // Whatever else the administrator has given the bridge would answer in the container's place.
    let bridge_has =
        |address| host.bridge.iter().flat_map(|bridge| &bridge.addresses).any(|taken| taken.ip() == address);
    let holder = |address| match survey.lessee(&config.bridge, address) {
        Some(record) => Some(format!("container {}", record.id)),
        None => bridge_has(address).then(|| format!("bridge {}", config.bridge)),
    };
    let address = match config.static_ip {
        Some(wanted) => {
            lease::check(config.gateway, wanted)?;
            if let Some(holder) = holder(wanted) {
                return Err(Error::new(
                    format!("use static address {wanted} for container {id}"),
                    format!("{holder} has it"),
                ));
            }
            wanted
        }
        None => lease::next(config.gateway, network.cursor, |address| holder(address).is_some())?
            .ok_or_else(|| {
                Error::new(
                    format!("lease an address in {} for container {id}", value::subnet(config.gateway)),
                    format!("all {} are taken", lease::capacity(config.gateway)),
                )
                .hint("`netns ls` shows by whom; `netns detach ID` frees one")
            })?,
    };
    IpNetwork::new(address, config.gateway.prefix())
        .map_err(|cause| Error::new(format!("lease {address} for container {id}"), cause))
}

fn resolve_ports(
    config: &Config,
    host: &Host,
    survey: &Survey,
    container: &Container,
) -> Result<Vec<Published>> {
    let mut free = host.free_ports.iter();
    let mut all: Vec<Published> = Vec::new();
    for publish in &config.publish {
        let operation = |side: &str| format!("publish {side} for container {}", container.id);
        let chosen = publish
            .host
            .or_else(|| free.next().copied())
            .ok_or_else(|| Error::new(operation(&publish.to_string()), "no port of the host is free"))?;
        let wanted = publish.at(chosen);
        let operation = || operation(&wanted.host_side());
        if all.iter().any(|other| other.conflicts(&wanted)) {
            return Err(Error::new(operation(), "it is asked for twice"));
        }
        for record in &survey.containers {
            if let Some(other) = record.published.iter().find(|other| other.conflicts(&wanted)) {
                let ip = record.addresses.first().map_or_else(String::new, |lease| lease.ip().to_string());
                return Err(Error::new(
                    operation(),
                    format!("already published by container {} ({ip}:{})", record.id, other.container),
                ));
            }
        }
        all.push(wanted);
    }
    Ok(all)
}

/// `netnsv0-PID`, as the Go hook names it; if that is taken, a name of the same form from the
/// container's identity.
fn host_interface(container: &Container, pid: i32, taken: bool) -> Result<Iface> {
    if taken {
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

fn publish_steps(steps: &mut Steps<'_>, record: &Record, host: &Host) {
    for published in &record.published {
        if let Some(block) = Rule::block_of(published) {
            steps.once(Step::Firewall(block));
        }
        for address in &record.addresses {
            steps.make(Step::Firewall(Rule::Publish {
                owner: record.id.clone(),
                published: *published,
                to: address.ip(),
            }));
        }
    }
    // Without it the kernel does not route 127.0.0.1 out of the bridge; with it the bridge
    // would accept such packets too, which is why raw drops them.
    if record.published.iter().any(Published::on_loopback) {
        let key = format!("net/ipv4/conf/{}/route_localnet", record.bridge);
        steps.sysctl(&key, "1", host.route_localnet.as_deref().unwrap_or("0"));
    }
}

/// A container that calls its own published port: with `br_netfilter` the kernel translates the
/// packet while it is bridged, and it must leave by the port that it came in by. Set also
/// where there is no `br_netfilter`, since another program may load it at any time.
fn hairpin_step(steps: &mut Steps<'_>, record: &Record) {
    if !record.published.is_empty() {
        steps.make(Step::Hairpin { link: record.host_interface.clone() });
    }
}

fn cable_steps(steps: &mut Steps<'_>, veth: Veth, record: &Record, ipv6: bool) {
    let (name, peer, pid) = (veth.name.clone(), veth.peer.clone(), veth.pid);
    let inside = Some(pid);
    steps.make(Step::AddVeth(veth));
    let alias = record.id.get(..record.id.len().min(MAX_ALIAS)).unwrap_or_default().to_owned();
    steps.make(Step::SetAlias { link: name.clone(), alias });
    if ipv6 {
        steps.quiet(None, &name);
        steps.quiet(inside, &peer);
    }
    if let Ok(lo) = "lo".parse() {
        steps.make(Step::SetUp { pid: inside, link: lo });
    }
    for address in &record.addresses {
        steps.make(Step::AddAddress { pid: inside, link: peer.clone(), address: *address });
    }
    steps.make(Step::SetUp { pid: inside, link: peer.clone() });
    steps.make(Step::AddRoute { pid, gateway: record.gateway, link: peer });
}

fn ipfile_step(steps: &mut Steps<'_>, config: &Config, record: &Record) {
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
        steps.make(Step::WriteFile { base, path, contents });
    }
}

impl Step {
    /// Whether several records can hold the very same step: what networks share, what
    /// containers share, and what the containers of a pod share, the cable and a bundle's file.
    pub fn may_be_shared(&self) -> bool {
        match self {
            Self::Firewall(rule) => !matches!(rule, Rule::Publish { .. }),
            Self::Sysctl { before, .. } => before.is_some(),
            Self::AddVeth(_) | Self::WriteFile { .. } => true,
            _ => false,
        }
    }

    /// Whether the step has an undoing of its own. What is done to an end of a cable goes with
    /// the cable, and a container's loopback is the container's own: runtimes bring it up too.
    pub fn is_undone(&self) -> bool {
        match self {
            Self::Sysctl { before, .. } => before.is_some(),
            Self::SetUp { pid, .. } | Self::AddAddress { pid, .. } => pid.is_none(),
            Self::SetAlias { .. } | Self::Hairpin { .. } | Self::AddRoute { .. } => false,
            _ => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firewall(rule) => {
                let lines: Vec<String> = iptables::commands(rule).iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Sysctl { pid, key, value, .. } => write!(f, "{}sysctl -w {key}={value}", inside(*pid)),
            Self::AddBridge(bridge) => bridge.fmt(f),
            Self::AddVeth(veth) => veth.fmt(f),
            Self::SetAlias { link, alias } => write!(f, "ip link set {link} alias {alias}"),
            Self::Hairpin { link } => write!(f, "ip link set {link} type bridge_slave hairpin on"),
            Self::SetMtu { link, mtu, .. } => write!(f, "ip link set {link} mtu {mtu}"),
            Self::SetUp { pid, link } => write!(f, "{}ip link set {link} up", inside(*pid)),
            Self::AddAddress { pid, link, address } => {
                write!(f, "{}ip addr add {address} brd + dev {link}", inside(*pid))
            }
            Self::AddRoute { pid, gateway, link } => {
                write!(f, "{}ip route add default via {gateway} dev {link}", inside(Some(*pid)))
            }
            Self::WriteFile { base, path, contents } => {
                write!(f, "echo -n {contents} > {}", base.join(path).display())
            }
        }
    }
}

fn inside(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!("nsenter -t {pid} -n "))
}
