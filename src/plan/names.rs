//! What a container is called, and the two files by which it knows what others are called.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use sha2::{Digest, Sha256};

use super::Case;
use super::steps::Steps;
use crate::model::dns::{HostEntry, MAX_SERVERS, Names, Server};
use crate::model::hosts;
use crate::model::mount::{BindMount, BindMounts};
use crate::model::network::{NetworkName, NetworkSpec};
use crate::model::observed::{Host, ObservedNetwork};
use crate::model::record::Record;
use crate::model::resolver::Resolver;
use crate::model::sandbox::FoundBy;
use crate::model::step::Step;

/// The longest name of a directory for several networks, in bytes: it is a part of other names.
const MAX_JOINED: usize = 200;

/// The directory of a network's files.
pub fn directory(state_dir: &Path, network: &NetworkName) -> PathBuf {
    state_dir.join("names").join(network.as_str())
}

/// A network's hosts file.
pub fn hosts_file(state_dir: &Path, network: &NetworkName) -> PathBuf {
    directory(state_dir, network).join("hosts")
}

/// The `hosts` file that containers of these networks have in common who call these others too, if
/// it is not that of one network; its directory is called after both.
pub fn joined<'a>(
    state_dir: &Path,
    networks: impl Iterator<Item = &'a NetworkName>,
    others: &[HostEntry],
) -> Option<Step> {
    let networks: BTreeSet<NetworkName> = networks.cloned().collect();
    let networks: Vec<NetworkName> = networks.into_iter().collect();
    let lines: Vec<String> = others.iter().map(|other| format!("{} {}", other.address, other.name)).collect();
    let digest = |text: &str| {
        Sha256::digest(text.as_bytes()).iter().take(16).map(|b| format!("{b:02x}")).collect::<String>()
    };
    let mut called = networks.iter().map(NetworkName::as_str).collect::<Vec<_>>().join("+");
    if called.len() > MAX_JOINED {
        called = format!("+{}", digest(&called));
    }
    if !lines.is_empty() {
        called.push_str(&format!("~{}", digest(&lines.join("\n"))));
    }
    let dir = state_dir.join("names").join(called);
    (networks.len() > 1 || !lines.is_empty()).then_some(Step::JoinNames { dir, networks, lines })
}

/// The `resolv.conf` of an attached container, be it mounted or not: its own, or the one that
/// is made from the host's; `None` if the host's names no server that a container can ask.
pub fn resolv_conf(state_dir: &Path, record: &Record) -> Option<PathBuf> {
    let own = record.steps.iter().find_map(|step| match step {
        Step::WriteResolver { path, shared: false, .. } => Some(path.clone()),
        _ => None,
    });
    let of_all = || Some(directory(state_dir, record.first()?.network.as_ref()?).join("resolv.conf"));
    own.or_else(of_all).filter(|path| path.is_file())
}

/// The network's directory of files, and what the host's `resolv.conf` says now.
pub(super) fn network(steps: &mut Steps<'_>, spec: &NetworkSpec, host: &Host, observed: &ObservedNetwork) {
    let dir = directory(&steps.claimed.state_dir, &spec.name);
    let gateways = || spec.subnets.iter().map(IpNetwork::ip);
    let gateway = gateways().find(IpAddr::is_ipv4).or_else(|| gateways().next());
    steps.unless_held(Step::MakeNames { dir: dir.clone(), gateway });
    if let Some(contents) = of_networks([spec].into_iter(), host).text()
        && observed.resolv_conf.as_ref() != Some(&contents)
    {
        steps.taken.push(Step::WriteResolver { path: dir.join("resolv.conf"), contents, shared: true });
    }
}

/// What the host's `resolv.conf` says, with the networks' own name servers.
fn of_networks<'a>(specs: impl Iterator<Item = &'a NetworkSpec> + Clone, host: &Host) -> Resolver {
    let subnets: Vec<_> = specs.clone().flat_map(|spec| spec.subnets.iter().copied()).collect();
    let servers = specs.flat_map(|spec| &spec.dns).take(MAX_SERVERS).map(|ip| Server(*ip)).collect();
    host.resolver.reached_from(&subnets).with(&Names { servers, ..Names::default() })
}

impl Steps<'_> {
    /// A container's names for its neighbours, and its own two files.
    pub(super) fn names(&mut self, case: Case<'_>, record: &Record) {
        let Case { request, host, claimed, .. } = case;
        let Some(network) = record.first().and_then(|first| first.network.as_ref()) else { return };
        let joined = joined(&claimed.state_dir, record.networks(), &request.names.hosts);
        let is_networks = joined.is_none();
        let dir = match &joined {
            Some(Step::JoinNames { dir, .. }) => dir.clone(),
            _ => directory(&claimed.state_dir, network),
        };
        joined.into_iter().for_each(|step| self.once(step));
        let hostname = host.files.bundle.as_ref().and_then(|bundle| bundle.hostname.as_deref());
        let places = record.attachments.iter().filter_map(|place| Some((place, place.network.as_ref()?)));
        for ((place, network), slots) in places.zip(&claimed.slots) {
            let mut names = request.names.clone();
            let wanted = request.networks.iter().find(|wanted| wanted.network.name == *network);
            names.aliases.extend(wanted.iter().flat_map(|wanted| wanted.aliases.iter().cloned()));
            let called = hosts::of(record.id(), hostname, &names);
            let lines = place.addresses.iter().flat_map(|address| hosts::lines(address.ip(), &called));
            let path = hosts_file(&claimed.state_dir, network);
            for (line, slot) in lines.zip(slots.iter().copied()) {
                self.make(Step::AddHost { path: path.clone(), slot, line });
            }
        }
        let resolver = self.resolver(case, record, &dir, is_networks);
        self.mount(case, record, &[("resolv.conf", resolver), ("hosts", Some(dir.join("hosts")))]);
    }

    /// The container's `resolv.conf`: one of its own only where it asks for something or `dir` is
    /// not that of one network.
    fn resolver(
        &mut self,
        case: Case<'_>,
        record: &Record,
        dir: &Path,
        is_networks: bool,
    ) -> Option<PathBuf> {
        let Case { request, host, .. } = case;
        let specs = request.networks.iter().map(|wanted| &wanted.network);
        let of_networks = of_networks(specs, host);
        if !request.names.asks_for_resolver() && is_networks {
            return of_networks.text().map(|_| dir.join("resolv.conf"));
        }
        let contents = of_networks.with(&request.names).text()?;
        let path = dir.join(format!("{:032x}.conf", record.container.hash()));
        self.make(Step::WriteResolver { path: path.clone(), contents, shared: false });
        Some(path)
    }

    /// Mounts the files in a container that is being created, unless the engine does; in any
    /// other case only those that were asked for.
    fn mount(&mut self, case: Case<'_>, record: &Record, sources: &[(&str, Option<PathBuf>)]) {
        let (names, seen) = (&case.request.names, &case.host.files);
        let FoundBy::Process { pid, .. } = record.sandbox.found_by else { return };
        let Some(mntns) = seen.mntns.filter(|_| !names.hands_off) else { return };
        let bundle = seen.bundle.as_ref().filter(|_| seen.before_pivot);
        let engines = |name: &str| bundle.is_none_or(|bundle| bundle.mounts(&Path::new("/etc").join(name)));
        let mut files: Vec<BindMount> = Vec::new();
        let mut careful = bundle.is_none_or(|bundle| bundle.shared);
        for (name, source) in sources {
            let asked = if *name == "hosts" { names.asks_for_hosts() } else { names.asks_for_resolver() };
            if let Some(source) = source.clone().filter(|_| asked || !engines(name)) {
                careful |= engines(name);
                files.push(BindMount { source, name: (*name).to_owned(), asked });
            }
        }
        if !files.is_empty() {
            let root = bundle.map_or_else(|| "/".into(), |bundle| bundle.root.clone());
            let (label, runs) = (format!("netns-{:032x}", record.container.hash()), bundle.is_none());
            self.make(Step::Mount(BindMounts { pid, mntns, root, runs, careful, label, files }));
        }
    }
}
