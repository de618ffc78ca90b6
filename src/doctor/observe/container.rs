//! Containers from within, and packets that are sent there. Whoever lives inside is hostile:
//! only netlink is asked, one file is read, and nothing of theirs is run. Of what they have, only
//! what is ours is kept.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::rules::ruleset;
use crate::doctor::facts::{Container, Facts, Inside, Probe};
use crate::firewall::rulesets;
use crate::kernel::inside::visit;
use crate::kernel::netlink::Netlink;
use crate::kernel::probe::{Answer, ask};
use crate::kernel::{listeners, process};
use crate::model::observed::{Links, Route};
use crate::model::port::{PortMapping, Protocol};
use crate::model::record::{Attachment, Record};
use crate::model::resolver::servers_in;
use crate::model::rule::Family;
use crate::rootfs::files;
use crate::rootfs::patience::{PATIENCE, within};

/// The most that is read of a container's own rules, in bytes.
const MAX_RULES: u64 = 4 << 20;
/// How long all probes may take together.
const PROBING: Duration = Duration::from_secs(4);
/// How many attachments are observed at a time.
const TOGETHER: usize = 32;
/// How many ports of one container are probed.
const MAX_PORTS: usize = 16;

/// Observes all from within, and sends packets to those that are to be probed.
pub(super) fn observe(facts: &mut Facts, probed: impl Fn(&Container) -> bool) {
    let mut seen = HashSet::new();
    let end = Instant::now() + PROBING;
    let mut living: Vec<&mut Container> =
        facts.containers.iter_mut().filter(|container| container.stale.is_none()).collect();
    for group in living.chunks_mut(TOGETHER) {
        std::thread::scope(|scope| {
            for container in group {
                let Container { record, attachment, .. } = &**container;
                let fresh = seen.insert((record.sandbox.netns, attachment.interface.to_string()));
                let probe = probed(container);
                scope.spawn(move || observe_one(container, fresh, probe, end));
            }
        });
    }
}

/// `fresh` says that no other container that shares the attachment has been observed yet.
fn observe_one(container: &mut Container, fresh: bool, probe: bool, end: Instant) {
    let (record, attachment) = (&container.record, &container.attachment);
    let Ok(netns) = process::reopen(&record.sandbox, record.id()) else { return };
    let there = visit(&netns, || (inside(attachment, container.gateway), listening()));
    let Ok((Some(inside), listeners)) = there else { return };
    let has_interface = inside.link.is_some();
    let resolvers = if fresh && container.first { resolv_conf(record) } else { None };
    container.inside = fresh.then_some(Inside { resolvers, ..inside });
    container.listeners = listeners;
    if probe && has_interface {
        container.probe = self::probe(container, &netns, fresh, end);
    }
}

/// The container end of its veth pair, from within. Other interfaces and addresses are not asked
/// for, or not kept: there may be any number of them.
fn inside(attachment: &Attachment, gateway: IpAddr) -> Option<Inside> {
    let netlink = Netlink::open().ok()?.bounded();
    let mut link = netlink.link(attachment.interface.as_str()).ok()?;
    if let Some(link) = &mut link {
        link.addresses = netlink.addresses(link.index).ok()?;
        link.addresses.retain(|address| attachment.addresses.contains(address));
    }
    let is_default = |route: &Route| {
        let destination = route.destination;
        destination.prefix() == 0 && destination.is_ipv4() == gateway.is_ipv4() && route.kind.is_none()
    };
    let default_route = netlink.routes(&Links::default()).ok()?.iter().any(is_default);
    Some(Inside { link, default_route, resolvers: None })
}

fn listening() -> Option<Vec<(Protocol, IpAddr, u16)>> {
    let mut all = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let found = listeners::listening(protocol)?;
        all.extend(found.into_iter().map(|(address, port)| (protocol, address, port)));
    }
    Some(all)
}

/// The resolvers that the container's programs would ask; `None` if it has no such file, or it
/// takes too long to be read.
fn resolv_conf(record: &Record) -> Option<Vec<IpAddr>> {
    let (sandbox, id) = (record.sandbox.clone(), record.id().to_owned());
    let text = within(PATIENCE, move |_| {
        files::resolv_conf_in(&files::root_of(&sandbox, &id).map_err(io::Error::other)?)
    });
    let text = text.ok()?;
    Some(servers_in(&String::from_utf8_lossy(&text)).collect())
}

fn probe(container: &Container, netns: &File, fresh: bool, end: Instant) -> Probe {
    let Container { attachment, gateway, .. } = container;
    let mut probe = Probe::default();
    if fresh && Instant::now() < end {
        probe.gateway = visit(netns, || answers(attachment, *gateway)).ok().flatten();
    }
    if probe.gateway == Some(false) {
        return probe;
    }
    for (mapping, port) in ports(container) {
        if Instant::now() > end {
            break;
        }
        let address = mapping.address().unwrap_or(*gateway);
        let answer = ask(mapping.protocol, SocketAddr::new(address, port));
        probe.ports.push((mapping, port, answer));
    }
    if probe.ports.iter().any(|(.., answer)| *answer != Answer::Fine) {
        let own = visit(netns, || rulesets::read(&[Family::of(*gateway)], MAX_RULES).ok()).ok().flatten();
        probe.rules = own.as_ref().map(ruleset).unwrap_or_default();
    }
    probe
}

/// Whether the gateway answers from within.
fn answers(attachment: &Attachment, gateway: IpAddr) -> Option<bool> {
    let netlink = Netlink::open().ok()?.bounded();
    let link = netlink.link(attachment.interface.as_str()).ok()??;
    if link.up { netlink.answers(link.index, gateway).ok() } else { None }
}

/// The host's ports that lead to a listener inside.
fn ports(container: &Container) -> Vec<(PortMapping, u16)> {
    let listeners = container.listeners.as_deref().unwrap_or_default();
    let listens = |protocol: Protocol, inside: u16| {
        listeners
            .iter()
            .any(|(spoken, address, port)| *spoken == protocol && *port == inside && !address.is_loopback())
    };
    // The host calls its own address by that address.
    let taken = container.ports().iter().filter(|it| it.takes(it.address().unwrap_or(container.gateway)));
    let all = taken.flat_map(|mapping| {
        let on_host =
            |inside: u16| (mapping.clone(), mapping.host.first + (inside - mapping.container.first));
        let inside = mapping.container.first..=mapping.container.last;
        inside.filter(|inside| listens(mapping.protocol, *inside)).map(on_host)
    });
    all.take(MAX_PORTS).collect()
}
