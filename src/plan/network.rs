//! A network: the bridge, its address, forwarding, and its rules.

use ipnetwork::IpNetwork;

use super::Claimed;
use super::names;
use super::steps::{Steps, switched_on};
use super::veth::{IPV6_MIN_MTU, MAX_ALIAS, has_ipv6};
use crate::error::{Error, Kind, Result};
use crate::model::link::{BRIDGE_MAC, Bridge};
use crate::model::network::{Network, NetworkSpec};
use crate::model::observed::{Host, Link, ObservedNetwork, Route, Setting};
use crate::model::rule::{Backend, Family, Rule};
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value::{self, Iface, Mac, overlap};

/// The MTU where there is no default route to ask, in bytes: Ethernet's.
const DEFAULT_MTU: u32 = 1500;
/// The parameter by which the host forwards IPv4 between links.
pub const IP_FORWARD: &str = "net/ipv4/ip_forward";

/// A network as it will be, and the steps that lead there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPlan {
    /// Its record.
    pub network: Network,
    /// The steps to take now.
    pub steps: Vec<Step>,
}

/// A network as it should be, and the steps that lead there.
///
/// A step enters the record when it makes something that did not exist. What was found is used,
/// set right if it has drifted, and never undone, unless we made it: a bridge with the address
/// that only we give is ours, though its record may be lost.
///
/// # Errors
/// The bridge's name belongs to another kind of link; the bridge carries another subnet; a
/// route of the host already leads to the subnet.
pub fn network(
    spec: &NetworkSpec,
    host: &Host,
    observed: &ObservedNetwork,
    known: Option<&Network>,
    claimed: &Claimed,
) -> Result<NetworkPlan> {
    check(spec, observed, known)?;
    let found = observed.bridge.as_ref().filter(|_| spec.parent.is_none());
    let mtu = spec.mtu.or(known.map(|known| known.mtu));
    let mtu = mtu.or(found.map(|found| found.mtu)).or(observed.uplink_mtu).unwrap_or(DEFAULT_MTU);
    check_ipv6(spec, host, mtu)?;
    let mut steps = Steps::new(claimed);
    steps.held = known.map_or_else(Vec::new, |known| known.steps.clone());
    if let (None, Some(found)) = (known, found) {
        steps.held.extend(adopted(spec, found));
    }
    let backend = spec.backend(known);
    if let Some(parent) = &spec.parent {
        steps.parent(spec, parent, observed, (mtu, host.ipv6))?;
    } else {
        bridged(&mut steps, spec, host, observed, backend);
        bridge_steps(&mut steps, spec, observed, mtu, host.ipv6);
    }
    names::network(&mut steps, spec, host, observed);
    let network = Network {
        name: spec.name.clone(),
        bridge: spec.bridge.clone(),
        parent: spec.parent.clone(),
        subnets: spec.subnets.clone(),
        ranges: spec.ranges.clone(),
        reach: spec.reach,
        peers: spec.peers.clone(),
        routes: spec.routes.clone(),
        dns: spec.dns.clone(),
        mtu,
        firewall: backend,
        boot_id: claimed.boot_id.clone(),
        steps: steps.held,
    };
    Ok(NetworkPlan { network, steps: steps.taken })
}

/// The rules of a network on a bridge, and that the host forwards for it.
fn bridged(
    steps: &mut Steps<'_>,
    spec: &NetworkSpec,
    host: &Host,
    observed: &ObservedNetwork,
    backend: Backend,
) {
    for subnet in &spec.subnets {
        steps.once(Step::Firewall(Rule::Base { family: Family::of(subnet.ip()), backend }));
        let passage = spec.reach.passage(Family::of(subnet.ip()));
        let (bridge, subnet) = (spec.bridge.clone(), value::subnet(*subnet));
        let peers = spec.peers.of(Family::of(subnet.ip()));
        let rule = Rule::Network { bridge, subnet, passage, peers, backend };
        let rules = rule.on(backend, observed.has_iptables);
        rules.into_iter().for_each(|rule| steps.unless_held(Step::Firewall(rule)));
    }
    for family in spec.families() {
        let backend = if observed.has_iptables { Backend::Iptables } else { backend };
        forwarding(steps, family, host, backend);
    }
}

/// The host forwards between links. One that did not forwards nothing but ours then, and the
/// parameters that are changed together with this one are given back after it.
fn forwarding(steps: &mut Steps<'_>, family: Family, host: &Host, backend: Backend) {
    let forwarding = if family == Family::Ipv4 { &host.forwarding } else { &host.forwarding6 };
    let switch = switched_on(&forwarding.key);
    let shared = |step: &Step| step.shared_name().is_some_and(|name| steps.claimed.shared.contains(&name));
    let only_ours = |bridged, backend| Step::Firewall(Rule::OnlyOurs { family, bridged, backend });
    let rules =
        Backend::ALL.into_iter().flat_map(|backend| [false, true].map(|bridged| only_ours(bridged, backend)));
    if shared(&switch) || steps.held.contains(&switch) {
        let rules = rules.filter(|rule| shared(rule)).collect::<Vec<_>>();
        let with = steps.claimed.shared.iter().filter_map(|name| set_with(family, name)).collect::<Vec<_>>();
        rules.into_iter().chain(with).for_each(|step| steps.hold(step));
    } else if ["", "0"].contains(&forwarding.value.as_str()) {
        steps.make(only_ours(host.bridge_netfilter, backend));
        forwarding.with.iter().for_each(|Setting { key, value, before }| steps.make(set(key, value, before)));
    }
    steps.switch_on(&forwarding.key, &forwarding.value);
}

/// A parameter of the host becomes `value`, and what it was again once forwarding is off.
fn set(key: &str, value: &str, before: &str) -> Step {
    let (value, before) = (value.to_owned(), Some(before.to_owned()));
    Step::Sysctl { netns: Netns::Host, key: key.to_owned(), value, before }
}

/// The step that somebody shares under this name and that goes with the forwarding of a family:
/// what the kernel changes by itself is kept only where it is not what the kernel would make it.
fn set_with(family: Family, name: &str) -> Option<Step> {
    let conf = if family == Family::Ipv4 { "net:ipv4:conf:" } else { "net:ipv6:conf:" };
    let (link, what) = name.strip_prefix(conf)?.rsplit_once(':')?;
    let (value, before) = match (family, link, what) {
        (Family::Ipv4, _, "accept_redirects") => ("0", "0"),
        (Family::Ipv6, _, "accept_ra") => ("2", "1"),
        (_, "all", _) => return None,
        (Family::Ipv6, "default", "force_forwarding") => ("1", "0"),
        (_, _, "forwarding") | (Family::Ipv6, _, "force_forwarding") => ("1", "1"),
        _ => return None,
    };
    Some(set(&name.replace(':', "/"), value, before))
}

fn check(spec: &NetworkSpec, observed: &ObservedNetwork, known: Option<&Network>) -> Result<()> {
    if let Some(known) = known.filter(|known| known.parent != spec.parent) {
        let is = known.parent.as_ref().map_or_else(|| "on a bridge".to_owned(), ToString::to_string);
        let error = Error::new(format!("use network {}", spec.name), format!("it is there already, {is}"));
        return Err(error.of(Kind::Conflict).hint(format!("`netns rm {}` removes it", spec.name)));
    }
    if spec.parent.is_some() {
        return Ok(());
    }
    let bridge = &spec.bridge;
    let refuse = |cause: String, hint: &str| {
        Err(Error::new(format!("use bridge {bridge}"), cause).of(Kind::Conflict).hint(hint))
    };
    let other_ip = "pass --ip with its address, or --bridge with another name";
    let list =
        |subnets: &[IpNetwork]| subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    if let Some(known) = known.filter(|known| known.subnets != spec.subnets) {
        let cause = format!("it carries {}, not {}", list(&known.subnets), list(&spec.subnets));
        return refuse(cause, other_ip);
    }
    if let Some(found) = &observed.bridge {
        if found.kind.as_deref() != Some("bridge") {
            let kind = found.kind.as_deref().unwrap_or("physical interface");
            let hint = "remove it, or pass --bridge with another name";
            return refuse(format!("it exists but is a {kind}"), hint);
        }
        for subnet in &spec.subnets {
            let same_family = |other: &&IpNetwork| other.is_ipv4() == subnet.is_ipv4();
            let other = found.addresses.iter().find(same_family);
            if let Some(other) = other.filter(|_| !found.addresses.contains(subnet)) {
                return refuse(format!("it carries {other}, not {subnet}"), other_ip);
            }
        }
    }
    for subnet in spec.subnets.iter().map(|subnet| value::subnet(*subnet)) {
        let covering = |route: &&Route| {
            let called = observed.bridge.as_ref().map_or(bridge.as_str(), |found| &found.name);
            let elsewhere = route.link_name.as_deref() != Some(called) && !spec.peers.expect(route, subnet);
            elsewhere && route.destination.prefix() > 0 && overlap(route.destination, subnet)
        };
        if let Some(Route { destination, link_name, .. }) = observed.routes.iter().find(covering) {
            let link = link_name.as_deref().unwrap_or("no link");
            return Err(Error::new(
                format!("use subnet {subnet} for bridge {bridge}"),
                format!("the host already has a route to {destination} by {link}"),
            )
            .of(Kind::Conflict)
            .hint("pass --ip with an address of another subnet"));
        }
    }
    Ok(())
}

/// A subnet of IPv6 takes a kernel and links that have it.
fn check_ipv6(spec: &NetworkSpec, host: &Host, mtu: u32) -> Result<()> {
    let Some(subnet) = spec.subnets.iter().find(|subnet| subnet.is_ipv6()) else { return Ok(()) };
    let operation = || format!("use subnet {} for network {}", value::subnet(*subnet), spec.name);
    if !host.ipv6 {
        let error = Error::new(operation(), "this kernel has no IPv6").of(Kind::Conflict);
        return Err(error.hint("it may have been started with ipv6.disable=1"));
    }
    if mtu < IPV6_MIN_MTU {
        let cause = format!("its MTU is {mtu}, and IPv6 needs {IPV6_MIN_MTU} bytes");
        return Err(Error::new(operation(), cause).of(Kind::Conflict).hint("pass --mtu 1280 or more"));
    }
    Ok(())
}

fn mac_of(spec: &NetworkSpec) -> Option<Mac> {
    spec.subnets.first().map(|subnet| value::mac(BRIDGE_MAC, subnet.ip()))
}

/// What we must have done to a bridge that has the address that we give, and no record.
fn adopted(spec: &NetworkSpec, found: &Link) -> Vec<Step> {
    let Some(mac) = mac_of(spec).filter(|mac| found.address == mac.0) else {
        return Vec::new();
    };
    let name = &spec.bridge;
    let mut steps = vec![Step::AddBridge(Bridge { name: name.clone(), mac, mtu: found.mtu })];
    let ours = spec.subnets.iter().filter(|subnet| found.addresses.contains(subnet));
    steps.extend(ours.map(|address| Step::own_address(Netns::Host, name.clone(), *address)));
    steps
}

fn bridge_steps(steps: &mut Steps<'_>, spec: &NetworkSpec, observed: &ObservedNetwork, mtu: u32, ipv6: bool) {
    let name = &spec.bridge;
    let address = |address: &IpNetwork| Step::own_address(Netns::Host, name.clone(), *address);
    let up = Step::SetUp { netns: Netns::Host, link: name.clone() };
    let is_on = spec.subnets.iter().any(IpNetwork::is_ipv6);
    let Some(found) = &observed.bridge else {
        let Some(mac) = mac_of(spec) else { return };
        steps.make(Step::AddBridge(Bridge { name: name.clone(), mac, mtu }));
        // For whoever has another one: see `Run::check_state_dir`.
        let state_dir = steps.claimed.state_dir.to_str().filter(|dir| dir.len() <= MAX_ALIAS);
        if let Some(alias) = state_dir.map(str::to_owned) {
            steps.make(Step::SetAlias { link: name.clone(), alias });
        }
        if has_ipv6(ipv6, mtu) {
            steps.ipv6(Netns::Host, name, is_on);
        }
        spec.subnets.iter().for_each(|subnet| steps.make(address(subnet)));
        steps.make(up);
        // Held already, or gone with the links that they are about.
        let Claimed { restored, .. } = steps.claimed;
        // Routes by other links are there.
        let gone = |step: &&Step| !matches!(step, Step::AddHostRoute { link, .. } if link != name);
        steps.taken.extend(restored.iter().filter(gone).cloned());
        return;
    };
    if let Some(link) = found.name.parse::<Iface>().ok().filter(|link| link != name) {
        steps.taken.push(Step::Rename { link, name: name.clone() });
    }
    // What is done to a bridge of ours goes with it; on somebody else's it is undone.
    let ours = steps.held.iter().any(|step| matches!(step, Step::AddBridge(_)));
    let set_right =
        |steps: &mut Steps<'_>, step| if ours { steps.taken.push(step) } else { steps.make(step) };
    if found.mtu != mtu {
        set_right(steps, Step::SetMtu { link: name.clone(), mtu, before: found.mtu });
    }
    // Where the MTU had been too small for IPv6, or somebody has switched that off, the kernel
    // begins with it anew.
    let missing = || spec.subnets.iter().filter(|subnet| !found.addresses.contains(subnet));
    let anew = !has_ipv6(ipv6, found.mtu) || missing().any(IpNetwork::is_ipv6);
    if ours && has_ipv6(ipv6, mtu) && anew {
        steps.ipv6(Netns::Host, name, is_on);
    }
    missing().for_each(|subnet| set_right(steps, address(subnet)));
    if !found.up {
        set_right(steps, up);
        // Held already, and forgotten when it went down.
        let Claimed { restored, .. } = steps.claimed;
        let forgotten = restored.iter().filter(|step| match step {
            Step::AddNeighbour { link, .. } | Step::AddHostRoute { link, .. } => link == name,
            _ => false,
        });
        steps.taken.extend(forgotten.cloned());
    }
}
