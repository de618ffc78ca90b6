//! The network configuration that a CNI client gives: one that was written for the plugins `bridge`,
//! `host-local`, `portmap`, `firewall` and `tuning`, or one that names a network of ours. Keys that
//! are not known are for others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Value, json};

use super::VERSIONS;
use super::answer::{CONFIG, DECODE, Fault, UNSUPPORTED, VERSION};
use super::call::Call;
use crate::config::Settings;
use crate::error::Error;
use crate::model::network::{NetworkName, NetworkSpec};
use crate::model::publish::Publish;
use crate::model::request::{NetworkRequest, Request};
use crate::model::route::{RouteSpec, Target};
use crate::model::rule::Family;
use crate::model::sandbox::NetnsRef;
use crate::model::value::{Gateway, Iface, Mac};

type Result<T> = std::result::Result<T, Fault>;

/// The bridge where none is named, as of the plugin `bridge`.
const BRIDGE: &str = "cni0";

/// A network configuration, as far as it is ours to read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    #[serde(rename = "cniVersion")]
    pub(super) version: String,
    /// The network's name.
    pub(super) name: String,
    /// The name of one of the administrator's own definitions, in place of all that describes one.
    network: Option<String>,
    bridge: Option<String>,
    is_gateway: bool,
    is_default_gateway: bool,
    ip_masq: bool,
    mtu: u32,
    vlan: u32,
    mac: Option<String>,
    ipam: Ipam,
    pub(super) dns: Value,
    runtime_config: RuntimeConfig,
    args: Args,
    /// What the plugins before us have answered.
    #[serde(rename = "prevResult")]
    pub(super) before: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<Valid>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    #[serde(rename = "type")]
    kind: String,
    #[serde(flatten)]
    only: Option<Range>,
    ranges: Vec<Vec<Range>>,
    routes: Vec<Route>,
}

/// Where leases come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
    subnet: IpNetwork,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

#[derive(Debug, Clone, Deserialize)]
struct Route {
    dst: IpNetwork,
    gw: Option<IpAddr>,
    priority: Option<u32>,
}

/// What the runtime says of this container, by our capabilities.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeConfig {
    port_mappings: Vec<PortMapping>,
    ips: Vec<String>,
    mac: Option<String>,
    ip_ranges: Vec<Vec<Range>>,
    bandwidth: BTreeMap<String, u64>,
    aliases: BTreeMap<String, Vec<String>>,
    dns: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    host_port: u16,
    container_port: u16,
    #[serde(default)]
    protocol: String,
    #[serde(default, rename = "hostIP")]
    host_ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: OfCni,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfCni {
    ips: Vec<String>,
    mac: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Valid {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

impl Config {
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let operation = "read the network configuration from standard input";
        let value: Value =
            serde_json::from_slice(text).map_err(|cause| Fault::new(DECODE, Error::new(operation, cause)))?;
        let mut config: Self = serde_json::from_value(value)
            .map_err(|cause| Fault::new(CONFIG, Error::new(operation, cause)))?;
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

    /// What the container is to get.
    pub(super) fn request(&self, settings: &Settings, call: &Call) -> Result<Request> {
        self.check_supported()?;
        let netns = NetnsRef::Path(call.netns.clone().unwrap_or_default());
        let container = call.attachment(&self.name);
        let mut place = NetworkRequest::new(self.network(settings)?, call.interface.clone());
        place.ranges = self.lease_ranges()?;
        place.static_ips = self.static_ips(call)?;
        place.mac = self.mac(call)?;
        place.default_route = self.network.is_some() || self.has_default_route();
        place.routes = self.container_routes(&place.network)?;
        let mut request = Request::new(container, netns);
        for name in self.runtime_config.aliases.get(&self.name).into_iter().flatten() {
            request.names.aliases.push(name.parse().map_err(Fault::from_input)?);
        }
        request.publish = self.publish()?;
        request.labels = call.labels();
        request.networks = vec![place];
        Ok(request)
    }

    /// The network that it is about.
    pub(super) fn network(&self, settings: &Settings) -> Result<NetworkSpec> {
        if let Some(name) = &self.network {
            return Err(Fault::config(format!("use network {name}"), "not yet"));
        }
        let bridge: Iface = self.bridge.as_deref().unwrap_or(BRIDGE).parse().map_err(Fault::from_input)?;
        let mut subnets = Vec::new();
        for set in self.range_sets() {
            let Some(first) = set.first() else { continue };
            if set.iter().any(|range| range.subnet != first.subnet) {
                return Err(Fault::config("use ipam.ranges", "all ranges of one set must be in one subnet"));
            }
            let gateway = first.gateway.unwrap_or_else(|| first_host(first.subnet));
            let Gateway(subnet) =
                format!("{gateway}/{}", first.subnet.prefix()).parse().map_err(Fault::from_input)?;
            subnets.push(subnet);
        }
        if subnets.is_empty() {
            return Err(Fault::config("use ipam", "it names no subnet, and \"network\" no network"));
        }
        let mut spec = NetworkSpec::described(bridge, subnets);
        spec.firewall = settings.network(None)?.firewall;
        spec.mtu = (self.mtu > 0).then_some(self.mtu);
        // Whoever is no gateway leads nowhere.
        spec.reach.internal = !self.is_gateway && !self.is_default_gateway && self.ipam.routes.is_empty();
        Ok(spec)
    }

    /// The routes of the answer.
    pub(super) fn routes(&self) -> Vec<Value> {
        let route = |route: &Route| match route.gw {
            Some(hop) => json!({ "dst": route.dst, "gw": hop }),
            None => json!({ "dst": route.dst }),
        };
        self.ipam.routes.iter().map(route).collect()
    }

    fn check_supported(&self) -> Result<()> {
        let unsupported = |field: &str, cause: &str| {
            Err(Fault::new(UNSUPPORTED, Error::new(format!("use {field}"), cause)))
        };
        let kind = self.ipam.kind.as_str();
        if self.network.is_none() && !kind.is_empty() && kind != "host-local" {
            return unsupported(&format!("ipam.type {kind}"), "only host-local's configuration is read");
        }
        if self.vlan != 0 {
            return unsupported("vlan", "VLAN filtering is not built");
        }
        if self.runtime_config.bandwidth.values().any(|rate| *rate != 0) {
            return unsupported("runtimeConfig.bandwidth", "limits are not built");
        }
        Ok(())
    }

    /// Those of the runtime come before those of the configuration.
    fn range_sets(&self) -> Vec<Vec<Range>> {
        let only = self.ipam.only.iter().map(|only| vec![only.clone()]);
        let mut sets: Vec<Vec<Range>> = Vec::new();
        for set in self.runtime_config.ip_ranges.iter().cloned().chain(only).chain(self.ipam.ranges.clone()) {
            let is_ipv4 = set.first().map(|range| range.subnet.is_ipv4());
            if !sets.iter().any(|other| other.first().map(|range| range.subnet.is_ipv4()) == is_ipv4) {
                sets.push(set);
            }
        }
        sets
    }

    fn lease_ranges(&self) -> Result<Vec<(IpAddr, IpAddr)>> {
        let mut ranges = Vec::new();
        for range in self.range_sets().into_iter().flatten() {
            let (first, last) = (range.range_start, range.range_end);
            let mut ends = [first, last].into_iter().flatten();
            if let Some(end) = ends.find(|end| !range.subnet.contains(*end)) {
                return Err(Fault::config("use ipam.ranges", format!("{end} is not in {}", range.subnet)));
            }
            let (first, last) =
                (first.unwrap_or(range.subnet.network()), last.unwrap_or(range.subnet.broadcast()));
            if first > last {
                return Err(Fault::config("use ipam.ranges", format!("{first} comes after {last}")));
            }
            ranges.push((first, last));
        }
        Ok(ranges)
    }

    fn static_ips(&self, call: &Call) -> Result<Vec<IpAddr>> {
        let of_args = call.args.get("IP").map(|ip| ip.split(',').map(str::to_owned).collect::<Vec<_>>());
        let asked = [of_args.unwrap_or_default(), self.args.cni.ips.clone(), self.runtime_config.ips.clone()];
        let parse = |text: &String| {
            let ip = text.split('/').next().unwrap_or_default();
            ip.parse().map_err(|cause| Fault::config(format!("use address {text}"), cause))
        };
        asked.iter().flatten().map(parse).collect()
    }

    fn mac(&self, call: &Call) -> Result<Option<Mac>> {
        let runtime = self.runtime_config.mac.as_ref();
        let asked = runtime.or(self.args.cni.mac.as_ref()).or(call.args.get("MAC")).or(self.mac.as_ref());
        asked.filter(|mac| !mac.is_empty()).map(|mac| mac.parse()).transpose().map_err(Fault::from_input)
    }

    fn has_default_route(&self) -> bool {
        self.is_default_gateway || self.ipam.routes.iter().any(|route| route.dst.prefix() == 0)
    }

    /// Those routes that are not the default ones by the gateway.
    fn container_routes(&self, network: &NetworkSpec) -> Result<Vec<RouteSpec>> {
        let mut routes = Vec::new();
        for Route { dst, gw, priority } in &self.ipam.routes {
            let family = Family::of(dst.ip());
            let gateway = network.subnets.iter().map(IpNetwork::ip).find(|ip| Family::of(*ip) == family);
            let Some(hop) = gw.or(gateway) else {
                return Err(Fault::config(
                    format!("use route {dst}"),
                    "the network has no address of its family",
                ));
            };
            if dst.prefix() > 0 || Some(hop) != gateway {
                routes.push(RouteSpec { destination: *dst, to: Target::Via(hop), metric: *priority });
            }
        }
        Ok(routes)
    }

    fn publish(&self) -> Result<Vec<Publish>> {
        let wanted = self.runtime_config.port_mappings.iter().filter(|mapping| mapping.host_port != 0);
        let spec = |mapping: &PortMapping| {
            let ip = match mapping.host_ip.as_str() {
                "" => String::new(),
                ip if ip.contains(':') => format!("[{ip}]:"),
                ip => format!("{ip}:"),
            };
            let protocol = if mapping.protocol.is_empty() { "tcp" } else { &mapping.protocol };
            let (host, container) = (mapping.host_port, mapping.container_port);
            format!("{ip}{host}:{container}/{}", protocol.to_ascii_lowercase())
        };
        wanted.map(|mapping| spec(mapping).parse().map_err(Fault::from_input)).collect()
    }
}

/// The first address of a subnet that a host can have.
fn first_host(subnet: IpNetwork) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) + 1).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) + 1).into()),
    }
}
