//! A look at what decides a container's names: the host's `resolv.conf`, the bundle, and whose
//! files the container sees.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::names;
use super::process::Process;
use crate::bundle::Bundle;
use crate::config::Config;
use crate::config::value::Iface;
use crate::error::Error;
use crate::hook::Container;
use crate::log::Log;
use crate::names::resolver::Resolver;
use crate::plan::{Files, Host, directory};

/// Where the host's name servers are found: where its own programs look, and where those that
/// put a stub at 127.0.0.1 keep the real ones.
const HOSTS: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];

/// The most that is read of a `resolv.conf`, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// Looks at the host's `resolv.conf` and at the bridge's, unless no file is wanted.
pub fn network(host: &mut Host, config: &Config) {
    if config.names.hands_off {
        return;
    }
    host.resolver = of_host();
    host.resolv_conf = read(&directory(&config.state_dir, &config.bridge).join("resolv.conf"));
}

/// The first file that names a server which a container can ask.
pub fn of_host() -> Resolver {
    let mut found = HOSTS.iter().filter_map(|path| read(Path::new(path)));
    let usable =
        found.find_map(|text| Some(Resolver::of_host(&text)).filter(|found| !found.servers.is_empty()));
    usable.unwrap_or_default()
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = vec![0; MAX_BYTES];
    let length = File::open(path).ok()?.read(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Looks at the container's bundle, at its mount namespace, and at its bridge's `hosts` file.
pub fn container(
    host: &mut Host,
    config: &Config,
    bridge: Option<&Iface>,
    container: &Container,
    process: &Process,
    log: &Log,
) {
    let Some(bridge) = bridge else { return };
    let hosts = directory(&config.state_dir, bridge).join("hosts");
    // An id and a hostname fill two at most.
    host.slots = names::free_slots(&hosts, 2 + config.names.aliases.len());
    let bundle = Bundle::read(&container.bundle).unwrap_or_else(|cause| {
        let operation = format!("read config.json in bundle {}", container.bundle.display());
        log.debug(&format!("# {}", Error::new(operation, cause)));
        None
    });
    let wanted = bundle.is_some() || config.names.asks_for_hosts();
    host.files = Files { bundle, ..Files::default() };
    if !wanted || config.names.hands_off {
        return;
    }
    let look = |path: &str| fs::metadata(format!("/proc/{}/{path}", process.pid)).ok();
    let own = fs::metadata("/proc/self/ns/mnt").ok().map(|found| found.ino());
    host.files.mntns = look("ns/mnt").map(|found| found.ino()).filter(|inode| own != Some(*inode));
    let of_the_host = fs::metadata("/").ok().map(|found| (found.dev(), found.ino()));
    host.files.unborn = look("root").map(|found| (found.dev(), found.ino())) == of_the_host;
}
