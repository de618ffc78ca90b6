//! A network configuration as what a container is to get.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde_json::{Value, json};

use super::answer::{Fault, UNSUPPORTED};
use super::call::Call;
use super::config::{Bandwidth, Config, PortMapping, Range, Route};
use crate::config::Settings;
use crate::error::Error;
use crate::model::network::NetworkSpec;
use crate::model::publish::Publish;
use crate::model::range::LeaseRange;
use crate::model::rate::Rate;
use crate::model::request::{NetworkRequest, Request};
use crate::model::route::{RouteSpec, Target};
use crate::model::rule::Family;
use crate::model::value::{Gateway, Iface, Mac, first_host};

type Result<T> = std::result::Result<T, Fault>;

/// The bridge where none is named, as of the plugin `bridge`.
const BRIDGE: &str = "cni0";

impl Config {
    /// What the container is to get.
    pub(super) fn request(&self, settings: &Settings, call: &Call) -> Result<Request> {
        self.check_supported()?;
        let container = call.attachment(&self.name);
        let mut place = NetworkRequest::new(self.network(settings)?, call.interface.clone());
        place.ranges = self.lease_ranges(&place.network)?;
        place.static_ips = self.static_ips(call)?;
        place.mac = self.mac(call)?;
        place.default_route = self.network.is_some() || self.has_default_route();
        place.routes = self.container_routes(&place.network)?;
        (place.rate_in, place.rate_out) = self.rates()?;
        for name in self.runtime_config.aliases.get(&self.name).into_iter().flatten() {
            place.aliases.push(name.parse().map_err(Fault::from_input)?);
        }
        let mut request = Request::new(container, call.netns());
        request.publish = self.publish()?;
        request.labels = call.labels();
        request.networks = vec![place];
        Ok(request)
    }

    /// The network that it is about.
    pub(super) fn network(&self, settings: &Settings) -> Result<NetworkSpec> {
        if let Some(name) = &self.network {
            return Ok(settings.network(Some(name))?);
        }
        let bridge: Iface = self.bridge.as_deref().unwrap_or(BRIDGE).parse().map_err(Fault::from_input)?;
        let mut subnets = Vec::new();
        for set in self.range_sets() {
            let Some(first) = set.first() else { continue };
            if set.iter().any(|range| range.subnet != first.subnet) {
                return Err(Fault::config("use ipam.ranges", "all ranges of one set must be in one subnet"));
            }
            let gateway = first.gateway.or_else(|| Some(first_host(first.subnet)?.ip()));
            let gateway = gateway.unwrap_or_else(|| first.subnet.network());
            let Gateway(subnet) =
                format!("{gateway}/{}", first.subnet.prefix()).parse().map_err(Fault::from_input)?;
            subnets.push(subnet);
        }
        if subnets.is_empty() {
            return Err(Fault::config("use ipam", "it names no subnet, and \"network\" no network"));
        }
        let mut spec = settings.network_on(bridge);
        spec.subnets = subnets;
        spec.firewall = spec.firewall.or(settings.firewall()?);
        spec.mtu = if self.mtu > 0 { Some(self.mtu) } else { spec.mtu };
        spec.reach.unmasqueraded = !self.ip_masq && !spec.defined;
        // Whoever is no gateway leads nowhere.
        spec.reach.internal |= !self.is_gateway && !self.is_default_gateway && self.ipam.routes.is_empty();
        Ok(spec)
    }

    /// The routes of the answer; by a network of ours the default ones, by these `gateways`.
    pub(super) fn routes(&self, gateways: impl Iterator<Item = IpAddr>) -> Vec<Value> {
        if self.network.is_some() {
            let default = |gateway| RouteSpec::default_via(gateway, None).destination;
            return gateways.map(|gateway| json!({ "dst": default(gateway), "gw": gateway })).collect();
        }
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
        let Bandwidth { shaped_subnets, unshaped_subnets, .. } = self.bandwidth();
        if !shaped_subnets.is_empty() || !unshaped_subnets.is_empty() {
            return unsupported("shapedSubnets or unshapedSubnets", "a rate is that of all packets");
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

    /// From which addresses to lease: those of the network, where the client names none.
    pub(super) fn lease_ranges(&self, network: &NetworkSpec) -> Result<Vec<LeaseRange>> {
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
            ranges.push(LeaseRange(first, last));
        }
        Ok(if ranges.is_empty() { network.ranges.clone() } else { ranges })
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

    /// That of the configuration comes before that of the runtime, as in the plugin `bandwidth`.
    fn bandwidth(&self) -> &Bandwidth {
        let runtime = self.runtime_config.bandwidth.as_ref();
        runtime.filter(|_| self.bandwidth == Bandwidth::default()).unwrap_or(&self.bandwidth)
    }

    /// How fast the container receives and sends at most. A burst of 0 is nobody's choice.
    fn rates(&self) -> Result<(Option<Rate>, Option<Rate>)> {
        let rate = |name: &str, bits: u64, burst: u64| {
            if bits == 0 && burst != 0 {
                return Err(Fault::config(format!("use {name}Burst"), format!("there is no {name}Rate")));
            }
            let too_large = |_| Fault::config(format!("use {name}Burst"), "it is more than 4 GiB");
            let burst = Some(u32::try_from(burst / 8).map_err(too_large)?).filter(|_| burst > 0);
            let rate = (bits > 0).then(|| Rate::new(bits, burst).map_err(Fault::from_input));
            rate.transpose()
        };
        let bandwidth = self.bandwidth();
        Ok((
            rate("ingress", bandwidth.ingress_rate, bandwidth.ingress_burst)?,
            rate("egress", bandwidth.egress_rate, bandwidth.egress_burst)?,
        ))
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
