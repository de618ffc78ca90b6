//! Flags, environment, file and annotations to one [`Config`]: every default and every check, once.
//!
//! Pure but for [`file::read`]. What a value must look like is in [`value`], the grammar of
//! ports in [`publish`].

pub mod file;
pub mod names;
pub mod nic;
mod options;
pub mod policy;
pub mod publish;
pub mod value;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;

use crate::error::{Error, Result};
use names::Names;
use nic::Nic;
pub use options::Options;
use policy::Policy;
use publish::Publish;
use value::{Gateway, Iface, Mtu};

/// Where the state lives unless told otherwise: a tmpfs, so that leases die with the kernel
/// state that they describe. (`/run/netns` belongs to iproute2.)
pub const DEFAULT_STATE_DIR: &str = "/run/netns-hook";
/// The optional configuration file.
pub const DEFAULT_CONFIG: &str = "/etc/netns-hook.toml";
const DEFAULT_BRIDGE: &str = "netns0";
const DEFAULT_IFACE: &str = "eth0";
const DEFAULT_IP: &str = "172.19.0.1/16";
const DEFAULT_IPFILE: &str = ".ip";
/// What an annotation of ours begins with.
pub const ANNOTATION_PREFIX: &str = "org.netns.";

/// What one container (or a network alone) is to get, every question answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The bridge's name.
    pub bridge: Iface,
    /// The bridge's address, and with it the subnet that leases come from.
    pub gateway: IpNetwork,
    /// The interface's name inside the container.
    pub iface: Iface,
    /// In bytes; `None` means that of the default route's link.
    pub mtu: Option<u32>,
    /// The one address this container wants.
    pub static_ip: Option<IpAddr>,
    /// The ports to publish, in the order they were given.
    pub publish: Vec<Publish>,
    /// The interfaces of the host to move in, in the order they were given.
    pub nics: Vec<Nic>,
    /// No bridge, and nothing that belongs to one.
    pub no_bridge: bool,
    /// Where the leased address is written; relative to the bundle.
    pub ipfile: PathBuf,
    /// What it is called, and whom it asks for others' names.
    pub names: Names,
    /// Where the state lives.
    pub state_dir: PathBuf,
    /// Whether `ip netns` is to show its network namespace.
    pub name_netns: bool,
}

impl Config {
    /// Answers every question from the layers, the first that has an answer winning.
    ///
    /// # Errors
    /// A built-in default does not parse, which the tests exclude.
    pub fn resolve(layers: &[Options]) -> Result<Self> {
        let first = |pick: fn(&Options) -> Option<String>| layers.iter().find_map(pick);
        let or_default = |given: Option<String>, default: &str| given.unwrap_or(default.to_owned());
        let publish = layers.iter().find(|layer| !layer.publish.is_empty());
        let nics = layers.iter().find(|layer| !layer.nic.is_empty());
        Ok(Self {
            bridge: layers
                .iter()
                .find_map(|layer| layer.bridge.clone())
                .map_or_else(|| DEFAULT_BRIDGE.parse(), Ok)?,
            gateway: layers
                .iter()
                .find_map(|layer| layer.ip)
                .map_or_else(|| DEFAULT_IP.parse(), Ok::<Gateway, Error>)?
                .0,
            iface: layers
                .iter()
                .find_map(|layer| layer.iface.clone())
                .map_or_else(|| DEFAULT_IFACE.parse(), Ok)?,
            mtu: layers.iter().find_map(|layer| layer.mtu).map(|Mtu(mtu)| mtu),
            static_ip: layers.iter().find_map(|layer| layer.static_ip),
            publish: publish.map_or_else(Vec::new, |layer| layer.publish.clone()),
            nics: nics.map_or_else(Vec::new, |layer| layer.nic.clone()),
            no_bridge: layers.iter().find_map(|layer| layer.no_bridge).unwrap_or_default(),
            ipfile: or_default(first(|layer| layer.ipfile.clone()), DEFAULT_IPFILE).into(),
            names: Names::resolve(layers),
            state_dir: layers
                .iter()
                .find_map(|layer| layer.state_dir.clone())
                .unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            name_netns: layers.iter().find_map(|layer| layer.name_netns).unwrap_or_default(),
        })
    }
}

/// The annotations of ours as a layer of options, within the policy.
///
/// # Errors
/// An unknown `org.netns.` key (with the nearest known one), a value that does not parse or
/// that `policy` denies, or a key that only the administrator may set: whoever may annotate a
/// container decides what the container gets, not where the hook keeps its files.
pub fn annotations(annotations: &BTreeMap<String, String>, policy: &Policy) -> Result<Options> {
    let mut options = Options::default();
    for (key, value) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION_PREFIX) else {
            continue;
        };
        let operation = || format!("use annotation {key}={value}");
        if options::ADMINISTRATORS.contains(&name) {
            return Err(Error::new(operation(), "only a flag, the environment or the file may set it"));
        }
        options.set(name, value).map_err(|problem| problem.into_error(operation(), ANNOTATION_PREFIX))?;
        let escapes = |path: &str| path.starts_with('/') || path.split('/').any(|part| part == "..");
        if name == "ipfile" && escapes(value) {
            return Err(Error::new(operation(), "an annotation may only name a file in the bundle"));
        }
        policy.check(name, &options).map_err(|denial| Error::new(operation(), denial))?;
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<Options> {
        let map = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        annotations(&map.collect(), &Policy::default())
    }

    #[test]
    fn every_default_is_the_documented_one() {
        let config = Config::resolve(&[]).unwrap();
        assert_eq!(config.bridge.as_str(), "netns0");
        assert_eq!(config.gateway.to_string(), "172.19.0.1/16");
        assert_eq!(config.iface.as_str(), "eth0");
        assert_eq!(config.ipfile, PathBuf::from(".ip"));
        assert_eq!((config.mtu, config.static_ip), (None, None));
    }

    #[test]
    fn an_annotation_beats_a_flag_and_a_flag_the_file() {
        let annotation = from(&[("org.netns.bridge", "a0"), ("other", "x")]).unwrap();
        let mut flag = Options::default();
        flag.set("bridge", "b0").unwrap();
        flag.set("mtu", "1400").unwrap();
        let mut file = Options::default();
        file.set("mtu", "1300").unwrap();
        file.set("publish", "80:80,81:81").unwrap();
        let config = Config::resolve(&[annotation, flag, file]).unwrap();
        assert_eq!(config.bridge.as_str(), "a0");
        assert_eq!(config.mtu, Some(1400));
        assert_eq!(config.publish.len(), 2);
    }

    #[test]
    fn an_unknown_annotation_suggests_the_nearest() {
        let error = from(&[("org.netns.publsh", "80")]).unwrap_err().to_string();
        assert!(error.contains("unknown"), "{error}");
        assert!(error.contains("org.netns.publish"), "{error}");
    }

    #[test]
    fn an_annotation_cannot_choose_where_root_writes() {
        for (key, value) in [
            ("org.netns.state-dir", "/etc"),
            ("org.netns.log", "/etc/passwd"),
            ("org.netns.config", "/x"),
            ("org.netns.ipfile", "/etc/passwd"),
            ("org.netns.ipfile", "a/../../b"),
            ("org.netns.ipfile", "a\nnetns: all is well"),
        ] {
            assert!(from(&[(key, value)]).is_err(), "{key}={value}");
        }
        assert!(from(&[("org.netns.ipfile", "net/ip")]).is_ok());
    }

    #[test]
    fn one_container_cannot_ask_for_so_many_ports_that_others_wait() {
        let many = |n: u16| (1..=n).map(|port| format!("{port}:{port}")).collect::<Vec<_>>().join(",");
        assert!(from(&[("org.netns.publish", &many(1024))]).is_ok());
        let error = from(&[("org.netns.publish", &many(1025))]).unwrap_err().to_string();
        assert!(error.ends_with(": more than 1024 ports or ranges"), "{error}");
    }

    #[test]
    fn a_bad_value_names_the_annotation() {
        let error = from(&[("org.netns.mtu", "many")]).unwrap_err().to_string();
        assert!(error.starts_with("use annotation org.netns.mtu=many: "), "{error}");
    }
}
