//! What a container is called, and the two files by which it knows what others are called.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::host::Host;
use super::step::Step;
use super::steps::Steps;
use crate::bundle::Bundle;
use crate::config::Config;
use crate::config::value::Iface;
use crate::names::{self, resolver::Resolver};
use crate::store::journal;
use crate::store::record::Record;

/// Files of ours over files in a container's `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covering {
    /// A process in the container's mount namespace.
    pub pid: i32,
    /// The inode of that namespace.
    pub mntns: u64,
    /// The container's root directory, as it is to be found in that namespace.
    pub root: PathBuf,
    /// Whether the container runs already. If not, what is mounted goes with its namespace.
    pub runs: bool,
    /// Whether the files may be mounts already, and mounts may show on the host.
    pub careful: bool,
    /// The files.
    pub files: Vec<Cover>,
}

/// One file of ours over one in `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// The file on the host.
    pub source: PathBuf,
    /// The name in `/etc`.
    pub name: String,
    /// Whether it was asked for: then failing is an error.
    pub asked: bool,
}

impl fmt::Display for Covering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Cover { source, name, .. }) in self.files.iter().enumerate() {
            let and = if at == 0 { "" } else { " && " };
            let target = self.root.join("etc").join(name);
            let (pid, source, target) = (self.pid, source.display(), target.display());
            write!(f, "{and}nsenter -t {pid} -m mount -o bind,ro {source} {target}")?;
        }
        Ok(())
    }
}

/// What planning needs to know of a container's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// What its bundle says, if it has one.
    pub bundle: Option<Bundle>,
    /// The inode of its mount namespace, unless that is the host's.
    pub mntns: Option<u64>,
    /// Whether its root directory is still the host's, as before `pivot_root(2)`.
    pub unborn: bool,
}

/// A look at a bridge's `hosts` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    /// The first that are free.
    pub free: Vec<u32>,
    /// Where the file ends.
    pub end: u32,
}

impl Slots {
    /// Those that are free, from the first on. The first of all is nobody's.
    fn free(&self) -> impl Iterator<Item = u32> {
        self.free.iter().copied().chain(self.end.max(1)..)
    }
}

/// The directory of a bridge's files.
pub fn directory(state_dir: &Path, bridge: &Iface) -> PathBuf {
    state_dir.join("names").join(bridge.as_str())
}

/// The `resolv.conf` of an attached container, be it mounted or not: its own, or the one that
/// is made from the host's; `None` if the host's names no server that a container can ask.
pub fn resolv_conf(state_dir: &Path, record: &Record) -> Option<PathBuf> {
    let own = record.steps.iter().find_map(|step| match step {
        Step::WriteResolver { path, shared: false, .. } => Some(path.clone()),
        _ => None,
    });
    let of_all = || Some(directory(state_dir, record.bridge.as_ref()?).join("resolv.conf"));
    own.or_else(of_all).filter(|path| path.is_file())
}

impl Steps<'_> {
    /// The bridge's directory of files, and what the host's `resolv.conf` says now.
    pub(super) fn keep_names(&mut self, config: &Config, host: &Host) {
        let dir = directory(&config.state_dir, &config.bridge);
        let keep = Step::KeepNames { dir: dir.clone() };
        if !self.hold.contains(&keep) {
            self.make(keep);
        }
        if let Some(contents) = host.resolver.text()
            && host.resolv_conf.as_ref() != Some(&contents)
        {
            self.take.push(Step::WriteResolver { path: dir.join("resolv.conf"), contents, shared: true });
        }
    }

    /// A container's names for its neighbours, and its own two files.
    pub(super) fn names(&mut self, config: &Config, host: &Host, record: &Record) {
        let Some(bridge) = &record.bridge else { return };
        let dir = directory(&config.state_dir, bridge);
        let hostname = host.files.bundle.as_ref().and_then(|bundle| bundle.hostname.as_deref());
        let called = names::of(&record.id, hostname, &config.names);
        let ips = record.addresses.iter().map(|address| address.ip());
        let lines: Vec<String> = ips.flat_map(|ip| names::lines(ip, &called)).collect();
        for (line, slot) in lines.into_iter().zip(host.slots.free()) {
            self.make(Step::AddHost { path: dir.join("hosts"), slot, line });
        }
        let resolver = self.resolver(config, &host.resolver, record, &dir);
        self.cover(config, host, record, &[("resolv.conf", resolver), ("hosts", Some(dir.join("hosts")))]);
    }

    /// The container's `resolv.conf`: one of its own only where it asks for something.
    fn resolver(&mut self, config: &Config, host: &Resolver, record: &Record, dir: &Path) -> Option<PathBuf> {
        if !config.names.asks_for_resolver() {
            return host.text().map(|_| dir.join("resolv.conf"));
        }
        let contents = host.with(&config.names).text()?;
        let path = dir.join(format!("{:016x}.conf", journal::key(&record.id, &record.bundle)));
        self.make(Step::WriteResolver { path: path.clone(), contents, shared: false });
        Some(path)
    }

    /// Mounts the files in a container that is being made, unless the engine does; in any other
    /// case only those that were asked for.
    fn cover(&mut self, config: &Config, host: &Host, record: &Record, sources: &[(&str, Option<PathBuf>)]) {
        let names = &config.names;
        let Some(mntns) = host.files.mntns.filter(|_| !names.hands_off) else {
            return;
        };
        let bundle = host.files.bundle.as_ref().filter(|_| host.files.unborn);
        let engines = |name: &str| bundle.is_none_or(|bundle| bundle.mounts(&Path::new("/etc").join(name)));
        let mut files: Vec<Cover> = Vec::new();
        let mut careful = bundle.is_none_or(|bundle| bundle.shared);
        for (name, source) in sources {
            let asked = if *name == "hosts" { names.asks_for_hosts() } else { names.asks_for_resolver() };
            if let Some(source) = source.clone().filter(|_| asked || !engines(name)) {
                careful |= engines(name);
                files.push(Cover { source, name: (*name).to_owned(), asked });
            }
        }
        if !files.is_empty() {
            let root = bundle.map_or_else(|| "/".into(), |bundle| bundle.root.clone());
            let (pid, runs) = (record.process.pid, bundle.is_none());
            self.make(Step::Cover(Covering { pid, mntns, root, runs, careful, files }));
        }
    }
}
