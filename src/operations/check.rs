//! What of an attached container is not as it was made: asked of the kernel, the rules and the claims.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::rules::wanted_rules;
use super::run::Run;
use crate::config::Settings;
use crate::error::{Doing, Error, Kind, Result};
use crate::firewall;
use crate::kernel::inside::visit;
use crate::kernel::netlink::Netlink;
use crate::kernel::process;
use crate::model::container::ContainerId;
use crate::model::network::{Network, NetworkSpec};
use crate::model::observed::{Links, MAIN_TABLE, Route};
use crate::model::parent::Child;
use crate::model::range::LeaseRange;
use crate::model::record::Record;
use crate::model::route::Target;
use crate::model::rule::{Backend, Rule};
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::plan::lease;

/// What is missing of an attached container, each in words; nothing if all is well. Changes nothing.
///
/// # Errors
/// It is not attached, or its namespace is gone; or neither the kernel nor the rules can be asked.
pub fn check(settings: &Settings, container: &ContainerId) -> Result<Vec<String>> {
    let none = || Error::new(format!("find {container}"), "it is not attached").of(Kind::NotFound);
    let run = Run::existing(settings)?.ok_or_else(none)?;
    let record = run.record_of(container)?.ok_or_else(none)?;
    let netns = process::reopen(&record.sandbox, record.id()).map_err(|error| error.of(Kind::NotFound))?;
    let mut missing = Vec::new();
    if run.store.pending(&record.key())?.is_some() {
        missing.push("another run was interrupted half way, or is at it".to_owned());
    }
    if !run.store.has_all_claims(&record)? {
        missing.push("a lease or another claim is somebody else's or nobody's".to_owned());
    }
    let host = run.machine.kernel.netlink().links_in_full().doing(|| "look at the host's links")?;
    let limits = run.machine.kernel.netlink().limits(record.steps.iter(), &host);
    let limits = limits.doing(|| "look at the container's rates")?;
    let (inside, routes) = visit(&netns, || {
        let netlink = Netlink::open()?;
        let links = netlink.links_in_full().doing(|| "look at the container's links")?;
        let routes = netlink.routes(&links).doing(|| "look at the container's routes")?;
        Ok::<_, Error>((links, routes))
    })??;
    let steps = record
        .steps
        .iter()
        .filter(|step| !is_there(step, &host, &inside, &routes) || !limits.has(step, &host));
    missing.extend(steps.map(|step| format!("not as made by: {step}")));
    let records = run.store.records()?;
    let rules: Vec<Rule> =
        wanted_rules(&records).into_iter().filter(|rule| concerns(rule, &record)).collect();
    missing.extend(run.machine.firewall.missing(&rules)?.into_iter().map(|rule| format!("missing: {rule}")));
    Ok(missing)
}

/// Whether the container's traffic needs a rule: all but the ports of others.
fn concerns(rule: &Rule, record: &Record) -> bool {
    !matches!(rule, Rule::Publish { .. }) || record.rules().any(|own| own == rule)
}

/// Whether what a step has made is there; true of what cannot be seen on links and routes.
fn is_there(step: &Step, host: &Links, inside: &Links, routes: &[Route]) -> bool {
    let links = |netns: &Netns| if *netns == Netns::Host { host } else { inside };
    match step {
        Step::AddVeth(veth) => {
            let end = host.by_name(veth.name.as_str()).filter(|end| end.address == veth.mac.0);
            let bridge = end.and_then(|end| host.bridge_of(end)).map(|bridge| bridge.name.as_str());
            let peer = inside.by_name(veth.peer.as_str()).filter(|peer| peer.address == veth.peer_mac.0);
            bridge == Some(veth.bridge.as_str()) && peer.is_some_and(|peer| peer.mtu == veth.mtu)
        }
        Step::AddChild(Child { name, kind, mac, mtu, netns, .. }) => {
            let found = links(netns).by_name(name.as_str()).filter(|found| found.mtu == *mtu);
            let found = found.filter(|found| found.kind.as_deref() == Some(kind.driver()));
            found.is_some_and(|found| mac.is_none_or(|mac| found.address == mac.0))
        }
        Step::SetUp { netns, link } => links(netns).by_name(link.as_str()).is_some_and(|link| link.up),
        Step::AddAddress { netns, link, address, .. } => {
            links(netns).by_name(link.as_str()).is_some_and(|link| link.addresses.contains(address))
        }
        Step::AddRoute { netns, route, link, table } if *netns != Netns::Host => routes.iter().any(|found| {
            let hop = if let Target::Via(hop) = route.to { Some(hop) } else { None };
            found.destination == route.destination
                && found.gateway == hop
                && found.link_name.as_deref() == link.as_ref().map(|link| link.as_str())
                && found.table == table.map_or(MAIN_TABLE, u32::from)
        }),
        _ => true,
    }
}

/// Whether the next container could be attached to a network, with an address of these ranges; what
/// could not be done for it, if anything.
///
/// # Errors
/// Why it could not: no address is free, the firewall has no program, or the kernel does not answer.
pub fn ready(settings: &Settings, wanted: &NetworkSpec, ranges: &[LeaseRange]) -> Result<Option<Error>> {
    let Some(run) = Run::existing(settings)? else { return check_program(wanted, None).map(|()| None) };
    let known = run.network(&wanted.name)?;
    let program = check_program(wanted, known.as_ref());
    // Into the maps of a network that is there containers are entered without it.
    let enters = known.is_some() && wanted.backend(known.as_ref()) == Backend::Nftables;
    let limit = if enters { program.err() } else { program.map(|()| None)? };
    let leases: BTreeSet<IpAddr> = run.store.leases(&wanted.name)?.into_iter().collect();
    for subnet in &wanted.subnets {
        let own = lease::host_address(wanted, *subnet);
        let is_taken = |address| leases.contains(&address) || own == Some(address);
        if lease::candidates(*subnet, ranges, None).all(is_taken) {
            let cause = format!("all {} are taken", lease::capacity(*subnet, ranges));
            return Err(Error::new(format!("lease an address in {subnet}"), cause).of(Kind::Exhausted));
        }
    }
    Ok(limit)
}

fn check_program(wanted: &NetworkSpec, known: Option<&Network>) -> Result<()> {
    let backend = wanted.backend(known);
    if wanted.parent.is_some() || firewall::is_installed(backend) {
        return Ok(());
    }
    Err(Error::new(format!("use the firewall {backend}"), "its program is not installed"))
}
