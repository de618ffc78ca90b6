//! The network configuration that a CNI client gives: one that was written for the plugins `bridge`,
//! `host-local`, `portmap`, `firewall` and `tuning`, or one that names a network of ours. Keys that
//! are not known are for others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::Value;

use super::VERSIONS;
use super::answer::{CONFIG, DECODE, Fault, VERSION};
use crate::error::Error;
use crate::model::network::NetworkName;

/// What is being done while the configuration is read.
pub(super) const READ: &str = "read the network configuration from standard input";

type Result<T> = std::result::Result<T, Fault>;

/// A network configuration, as far as it is ours to read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    #[serde(rename = "cniVersion")]
    pub(super) version: String,
    /// The network's name.
    pub(super) name: String,
    /// The plugin's name.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// The name of one of the administrator's own definitions, in place of all that describes one.
    pub(super) network: Option<String>,
    pub(super) bridge: Option<String>,
    pub(super) is_gateway: bool,
    pub(super) is_default_gateway: bool,
    pub(super) ip_masq: bool,
    pub(super) mtu: u32,
    pub(super) vlan: u32,
    pub(super) mac: Option<String>,
    pub(super) ipam: Ipam,
    pub(super) dns: Value,
    #[serde(flatten)]
    pub(super) bandwidth: Bandwidth,
    pub(super) runtime_config: RuntimeConfig,
    pub(super) args: Args,
    /// What the plugins before us have answered.
    #[serde(rename = "prevResult")]
    pub(super) before: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub(super) valid: Option<Vec<Valid>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Ipam {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(flatten)]
    pub(super) only: Option<Range>,
    pub(super) ranges: Vec<Vec<Range>>,
    pub(super) routes: Vec<Route>,
}

/// Where leases come from. (Programs in Go ignore case, and containerd makes use of that.)
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Range {
    #[serde(alias = "Subnet")]
    pub(super) subnet: IpNetwork,
    #[serde(alias = "RangeStart")]
    pub(super) range_start: Option<IpAddr>,
    #[serde(alias = "RangeEnd")]
    pub(super) range_end: Option<IpAddr>,
    #[serde(alias = "Gateway")]
    pub(super) gateway: Option<IpAddr>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Route {
    pub(super) dst: IpNetwork,
    pub(super) gw: Option<IpAddr>,
    pub(super) priority: Option<u32>,
}

/// What the runtime says of this container, by our capabilities.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RuntimeConfig {
    pub(super) port_mappings: Vec<PortMapping>,
    pub(super) ips: Vec<String>,
    pub(super) mac: Option<String>,
    pub(super) ip_ranges: Vec<Vec<Range>>,
    pub(super) bandwidth: Option<Bandwidth>,
    pub(super) aliases: BTreeMap<String, Vec<String>>,
    pub(super) dns: Value,
}

/// The keys of the plugin `bandwidth`: bits per second, and bits. In is towards the container.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Bandwidth {
    #[serde(alias = "IngressRate")]
    pub(super) ingress_rate: u64,
    #[serde(alias = "IngressBurst")]
    pub(super) ingress_burst: u64,
    #[serde(alias = "EgressRate")]
    pub(super) egress_rate: u64,
    #[serde(alias = "EgressBurst")]
    pub(super) egress_burst: u64,
    pub(super) shaped_subnets: Vec<IpNetwork>,
    pub(super) unshaped_subnets: Vec<IpNetwork>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PortMapping {
    #[serde(default, alias = "HostPort")]
    pub(super) host_port: u16,
    #[serde(alias = "ContainerPort")]
    pub(super) container_port: u16,
    #[serde(default, alias = "Protocol")]
    pub(super) protocol: String,
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    pub(super) host_ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Args {
    pub(super) cni: OfCni,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OfCni {
    pub(super) ips: Vec<String>,
    pub(super) mac: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Valid {
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
    pub(super) ifname: String,
}

impl Config {
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let value: Value =
            serde_json::from_slice(text).map_err(|cause| Fault::new(DECODE, Error::new(READ, cause)))?;
        let mut config: Self =
            serde_json::from_value(value).map_err(|cause| Fault::new(CONFIG, Error::new(READ, cause)))?;
        if !config.runtime_config.dns.is_null() {
            config.dns = config.runtime_config.dns.take();
        }
        Ok(config)
    }

    /// The version that a configuration names which is wrong otherwise.
    pub(super) fn version_of(text: &[u8]) -> String {
        let value: Option<Value> = serde_json::from_slice(text).ok();
        value.and_then(|value| Some(value.get("cniVersion")?.as_str()?.to_owned())).unwrap_or_default()
    }

    /// Whether it is the plugin `loopback` that is asked for.
    pub(super) fn is_loopback(&self) -> bool {
        self.kind == "loopback"
    }

    pub(super) fn check_version(&self) -> Result<()> {
        if VERSIONS.contains(&self.version.as_str()) {
            self.name.parse::<NetworkName>().map_err(|error| Fault::new(CONFIG, error))?;
            return Ok(());
        }
        let operation = format!("speak cniVersion '{}'", self.version);
        Err(Fault::new(VERSION, Error::new(operation, format!("only {} are spoken", VERSIONS.join(", ")))))
    }

    /// Whether an address says of which family it is.
    pub(super) fn is_before_1(&self) -> bool {
        self.version.starts_with("0.")
    }

    /// The attachments that `GC` leaves alone: ids and interfaces.
    pub(super) fn valid_attachments(&self) -> Result<Vec<(&str, &str)>> {
        let valid = self.valid.as_ref().ok_or_else(|| {
            Fault::config("collect garbage", "the configuration has no \"cni.dev/valid-attachments\"")
        })?;
        Ok(valid.iter().map(|one| (one.container_id.as_str(), one.ifname.as_str())).collect())
    }
}
