//! A look into containers, and packets that are sent there. Whoever lives inside is hostile:
//! only netlink is asked, one file is read, and nothing of theirs is run.

use std::collections::HashSet;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::host::{link, ruleset};
use crate::config::publish::{Protocol, Published};
use crate::doctor::facts::{Container, Facts, Inside, Probe};
use crate::firewall::iptables::rulesets;
use crate::kernel::inside::visit;
use crate::kernel::netlink::Netlink;
use crate::kernel::probe::{Answer, ask};
use crate::kernel::sysctl::Sysctl;
use crate::kernel::{files, listeners, process};
use crate::names::resolver::servers_in;
use crate::store::record::Record;

/// The most that is read of a container's own rules, in bytes.
const MAX_RULES: u64 = 4 << 20;
/// How long a file system may take that the container may have made itself.
const READING: Duration = Duration::from_millis(500);
/// How long all probes may take together.
const PROBING: Duration = Duration::from_secs(4);
/// How many containers are probed at a time.
const TOGETHER: usize = 32;
/// How many ports of one container are probed.
const MAX_PORTS: usize = 16;

/// Looks into all, and sends packets to those that are to be probed.
pub(super) fn look(facts: &mut Facts, probed: impl Fn(&Container) -> bool) {
    let mut seen = HashSet::new();
    let end = Instant::now() + PROBING;
    let mut living: Vec<&mut Container> =
        facts.containers.iter_mut().filter(|container| !container.dead).collect();
    for group in living.chunks_mut(TOGETHER) {
        std::thread::scope(|scope| {
            for container in group {
                let first = seen.insert(container.record.process.netns);
                let probe = probed(container);
                scope.spawn(move || look_into(container, first, probe, end));
            }
        });
    }
}

fn look_into(container: &mut Container, first: bool, probe: bool, end: Instant) {
    let record = container.record.clone();
    // A namespace that outlived its process is alive, but there is no way in by the pid.
    let Ok((netns, found)) = process::open(record.process.pid, &record.id) else { return };
    if found != record.process {
        return;
    }
    let there = visit(&netns, || (inside(&record), heard()));
    let Ok((Some(inside), listeners)) = there else { return };
    let interface = inside.link.as_ref().map(|link| link.name.clone());
    container.inside = first.then(|| Inside { resolvers: resolv_conf(&record), ..inside });
    container.listeners = listeners;
    if probe && interface.is_some() {
        container.probe = self::probe(container, &netns, first, end);
    }
}

/// The container's side of its cable, from within.
fn inside(record: &Record) -> Option<Inside> {
    let netlink = Netlink::open().ok()?;
    let links = netlink.links_in_full().ok()?;
    let interface = links.by_name(record.interface.as_str());
    let link = interface.map(|found| link(&Sysctl::default(), &links, found));
    let routes = netlink.all_routes().ok()?;
    let default_route =
        routes.iter().any(|found| found.route.destination.prefix() == 0 && found.kind.is_none());
    Some(Inside { link, default_route, resolvers: None })
}

fn heard() -> Option<Vec<(Protocol, IpAddr, u16)>> {
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
    let (sender, answer) = mpsc::channel();
    let process = record.process.clone();
    let id = record.id.clone();
    // Nobody waits for this thread: the container's file system may be its own program.
    std::thread::spawn(move || {
        let root = files::root_of(&process, &id).ok();
        let text = root.and_then(|root| files::resolv_conf_in(&root).ok());
        let _ = sender.send(text);
    });
    let text = answer.recv_timeout(READING).ok()??;
    Some(servers_in(&String::from_utf8_lossy(&text)).collect())
}

fn probe(container: &Container, netns: &File, first: bool, end: Instant) -> Probe {
    let record = &container.record;
    let mut probe = Probe::default();
    if first && Instant::now() < end {
        probe.gateway = visit(netns, || gateway_answers(record, container.gateway)).ok().flatten();
    }
    if probe.gateway == Some(false) {
        return probe;
    }
    for (published, port) in ports(container) {
        if Instant::now() > end {
            break;
        }
        let address = published.host_ip.unwrap_or(container.gateway);
        let answer = ask(published.protocol, SocketAddr::new(address, port));
        probe.ports.push((published, port, answer));
    }
    if probe.ports.iter().any(|(.., answer)| *answer != Answer::Fine) {
        let own = visit(netns, || rulesets::read(MAX_RULES).ok()).ok().flatten();
        probe.rules = own.as_ref().map(ruleset).unwrap_or_default();
    }
    probe
}

fn gateway_answers(record: &Record, gateway: IpAddr) -> Option<bool> {
    let IpAddr::V4(gateway) = gateway else { return None };
    let netlink = Netlink::open().ok()?;
    let link = netlink.link(record.interface.as_str()).ok()??;
    if !link.up {
        return None;
    }
    netlink.answers(link.index, gateway).ok()
}

/// The host's ports that lead to a listener inside.
fn ports(container: &Container) -> Vec<(Published, u16)> {
    let listeners = container.listeners.as_deref().unwrap_or_default();
    let listens = |protocol: Protocol, inside: u16| {
        listeners
            .iter()
            .any(|(spoken, address, port)| *spoken == protocol && *port == inside && !address.is_loopback())
    };
    let all = container.record.published.iter().flat_map(|published| {
        let shift = |inside: u16| (*published, published.host.first + (inside - published.container.first));
        let inside = published.container.first..=published.container.last;
        inside.filter(|inside| listens(published.protocol, *inside)).map(shift)
    });
    all.take(MAX_PORTS).collect()
}
