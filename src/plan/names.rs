//! What a container is called, and the two files by which it knows what others are called.

use std::path::{Path, PathBuf};

use super::Case;
use super::steps::Steps;
use crate::model::hosts;
use crate::model::mount::{BindMount, BindMounts};
use crate::model::network::{NetworkName, NetworkSpec};
use crate::model::observed::{Host, ObservedNetwork};
use crate::model::record::Record;
use crate::model::sandbox::FoundBy;
use crate::model::step::Step;

/// The directory of a network's files.
pub fn directory(state_dir: &Path, network: &NetworkName) -> PathBuf {
    state_dir.join("names").join(network.as_str())
}

/// A network's hosts file.
pub fn hosts_file(state_dir: &Path, network: &NetworkName) -> PathBuf {
    directory(state_dir, network).join("hosts")
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
    steps.unless_held(Step::MakeNames { dir: dir.clone() });
    if let Some(contents) = host.resolver.text()
        && observed.resolv_conf.as_ref() != Some(&contents)
    {
        steps.taken.push(Step::WriteResolver { path: dir.join("resolv.conf"), contents, shared: true });
    }
}

impl Steps<'_> {
    /// A container's names for its neighbours, and its own two files.
    pub(super) fn names(&mut self, case: Case<'_>, record: &Record) {
        let Case { request, host, claimed, .. } = case;
        let Some(network) = record.first().and_then(|first| first.network.as_ref()) else { return };
        let hosts = hosts_file(&claimed.state_dir, network);
        let hostname = host.files.bundle.as_ref().and_then(|bundle| bundle.hostname.as_deref());
        let called = hosts::of(record.id(), hostname, &request.names);
        let addresses = record.first().into_iter().flat_map(|first| &first.addresses);
        let lines = addresses.flat_map(|address| hosts::lines(address.ip(), &called));
        for (line, slot) in lines.zip(claimed.slots.iter().copied()) {
            self.make(Step::AddHost { path: hosts.clone(), slot, line });
        }
        let resolver = self.resolver(case, record, &directory(&claimed.state_dir, network));
        self.mount(case, record, &[("resolv.conf", resolver), ("hosts", Some(hosts))]);
    }

    /// The container's `resolv.conf`: one of its own only where it asks for something.
    fn resolver(&mut self, case: Case<'_>, record: &Record, dir: &Path) -> Option<PathBuf> {
        let Case { request, host, .. } = case;
        if !request.names.asks_for_resolver() {
            return host.resolver.text().map(|_| dir.join("resolv.conf"));
        }
        let contents = host.resolver.with(&request.names).text()?;
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
