//! What the planner is told in these tests: hosts, and what is recorded of others.

use std::collections::BTreeSet;
use std::net::IpAddr;

use netns::config::{self, DEFAULT_STATE_DIR, Options};
use netns::error::Result;
use netns::model::container::ContainerId;
use netns::model::device::{Before, Identity, Octets};
use netns::model::network::{Network, NetworkSpec};
use netns::model::observed::{Device, Forwarding, Host, Link, ObservedNetwork, Route};
use netns::model::port::PortMapping;
use netns::model::record::Record;
use netns::model::request::{NetworkRequest, Request};
use netns::model::sandbox::{FoundBy, NetnsRef, Sandbox};
use netns::model::step::Step;
use netns::plan::{self, Case, Claimed, Plan, Published, lease, publish};

/// A route of the host by a link of this name.
pub fn route(destination: &str, link: &str) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        gateway: None,
        link: Some(2),
        link_name: Some(link.to_owned()),
        table: netns::model::observed::MAIN_TABLE,
        metric: 0,
        kind: None,
    }
}

/// A host with IPv6 on which nothing of ours is yet, but for these routes.
pub fn host_with_routes(routes: Vec<Route>) -> Host {
    let networks = vec![ObservedNetwork { routes, ..ObservedNetwork::default() }];
    Host { forwarding: forwarding("0"), ipv6: true, networks, ..Host::default() }
}

/// Whether a host forwards IPv4.
pub fn forwarding(value: &str) -> Forwarding {
    Forwarding { key: plan::IP_FORWARD.to_owned(), value: value.to_owned(), with: Vec::new() }
}

/// A host with IPv6 on which nothing of ours is yet.
pub fn fresh_host() -> Host {
    host_with_routes(vec![route("10.0.0.0/24", "wire0")])
}

/// A host that has this link in place of the bridge.
pub fn host_with(kind: Option<&str>, mtu: u32, up: bool, address: Option<&str>) -> Host {
    let addresses = address.into_iter().map(|address| address.parse().unwrap()).collect();
    let name = "netns0".to_owned();
    let link = Link { name, kind: kind.map(str::to_owned), mtu, up, addresses, ..Link::default() };
    let mut host = fresh_host();
    host.networks[0].bridge = Some(link);
    host.networks[0].route_localnet = Some("0".to_owned());
    host
}

/// The same host once the network is there.
pub fn host_with_network() -> Host {
    Host { forwarding: forwarding("1"), ..host_with(Some("bridge"), 1500, true, Some("172.19.0.1/16")) }
}

/// A device of the host as it may be asked for.
pub fn device(name: &str) -> Device {
    let identity = Identity { index: 3, address: Octets(vec![2, 0xaa, 0, 0, 0, 1]), ..Identity::default() };
    Device {
        name: name.parse().unwrap(),
        loopback: false,
        immovable: false,
        uplink: false,
        master_kind: None,
        before: Before { identity, mtu: 1500, up: true, ..Before::default() },
    }
}

pub fn devices(specs: &[&str]) -> Options {
    Options { nic: specs.iter().map(|spec| spec.parse().unwrap()).collect(), ..Options::default() }
}

pub fn publish(specs: &str) -> Options {
    let publish = specs.split(' ').map(|spec| spec.parse().unwrap()).collect();
    Options { publish, ..Options::default() }
}

/// A process that is alone in its network namespace.
pub fn sandbox(pid: i32) -> Sandbox {
    let found_by = FoundBy::Process { pid, start_time: 1 };
    Sandbox { netns: pid.unsigned_abs().into(), boot_id: "boot".to_owned(), found_by }
}

/// The plan of attaching container `id`, whose process has this pid and is alone in its network
/// namespace.
pub fn attach(options: Options, host: &Host, known: &Known, id: &str, pid: i32) -> Result<Plan> {
    known.attach(options, host, &sandbox(pid), id)
}

/// What is remembered once this plan has been carried out.
pub fn after(plan: &Plan) -> Known {
    let networks = plan.networks.iter().map(|network| network.network.clone());
    Known { networks: networks.collect(), containers: vec![plan.record.clone()], ..Known::default() }
}

/// All that is recorded.
#[derive(Default)]
pub struct Known {
    /// The networks that the configuration file defines.
    pub defined: Vec<NetworkSpec>,
    pub networks: Vec<Network>,
    pub containers: Vec<Record>,
}

impl Known {
    /// The plan of attaching container `id`, which lives there.
    pub fn attach(&self, options: Options, host: &Host, sandbox: &Sandbox, id: &str) -> Result<Plan> {
        let container = ContainerId { id: id.to_owned(), bundle: format!("/bundles/{id}").into() };
        // No file of a namespace is opened: its sandbox is given.
        let netns = NetnsRef::Pid(sandbox.pid().unwrap_or(1));
        let request = config::resolve(&Options::default(), &options, &self.defined, container, netns)?;
        let claimed = self.claimed(&request, host, sandbox)?;
        plan::attach(Case { request: &request, host, claimed: &claimed, sandbox, now: 0 })
    }

    /// What others hold, and what is chosen of what they do not.
    fn claimed(&self, request: &Request, host: &Host, sandbox: &Sandbox) -> Result<Claimed> {
        let mates = self.containers.iter().filter(|record| record.sandbox.netns == sandbox.netns);
        let mates: Vec<Record> = mates.cloned().collect();
        let mut addresses = Vec::new();
        for (wanted, observed) in request.networks.iter().zip(&host.networks).filter(|_| mates.is_empty()) {
            let choose = |subnet: &_| {
                let holder = |address| Ok(self.holder(wanted, observed, address));
                lease::choose(&request.container, wanted, *subnet, None, holder)
            };
            addresses.push(wanted.network.subnets.iter().map(choose).collect::<Result<_>>()?);
        }
        let recorded = |wanted: &NetworkRequest| {
            self.networks.iter().find(|network| network.name == wanted.network.name).cloned()
        };
        let mut claimed = Claimed {
            state_dir: DEFAULT_STATE_DIR.into(),
            boot_id: sandbox.boot_id.clone(),
            networks: request.networks.iter().map(recorded).collect(),
            mates,
            beside: Vec::new(),
            shared: self.shared(),
            addresses,
            ports: Vec::new(),
            slots: vec![self.free_slots(); 16],
            devices: self.devices(),
            restored: Vec::new(),
        };
        claimed.ports = self.ports(request, host, &claimed)?;
        Ok(claimed)
    }

    fn holder(&self, wanted: &NetworkRequest, observed: &ObservedNetwork, address: IpAddr) -> Option<String> {
        let has = |record: &&Record| record.addresses().any(|lease| lease.ip() == address);
        let container = self.containers.iter().find(has).map(|record| record.container.to_string());
        let bridge = observed.bridge.iter().flat_map(|bridge| &bridge.addresses);
        let on_bridge = bridge.map(|own| own.ip()).any(|own| own == address);
        container.or_else(|| on_bridge.then(|| format!("bridge {}", wanted.network.bridge)))
    }

    fn ports(&self, request: &Request, host: &Host, claimed: &Claimed) -> Result<Vec<Published>> {
        let all = || self.containers.iter().flat_map(|record| &record.ports);
        let published = |protocol, block: u8| {
            let blocks = |mapping: &PortMapping| mapping.host.first >> 8..=mapping.host.last >> 8;
            let here = |mapping: &&PortMapping| {
                mapping.protocol == protocol && blocks(mapping).contains(&block.into())
            };
            Ok(all().filter(here).cloned().collect())
        };
        publish::choose(request, claimed, &host.listeners, published, |mapping| {
            let record = self.containers.iter().find(|record| record.ports.contains(mapping)).unwrap();
            Ok(format!("{} publishes it", record.container))
        })
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        let networks = self.networks.iter().flat_map(|network| &network.steps);
        networks.chain(self.containers.iter().flat_map(|record| &record.steps))
    }

    fn shared(&self) -> BTreeSet<String> {
        self.steps().filter_map(Step::shared_name).collect()
    }

    fn free_slots(&self) -> Vec<u32> {
        let taken =
            |slot: &u32| self.steps().any(|step| matches!(step, Step::AddHost { slot: s, .. } if s == slot));
        (1..100).filter(|slot| !taken(slot)).take(20).collect()
    }

    fn devices(&self) -> Vec<(String, String)> {
        let of_record = |record: &Record| {
            let moved = record.devices().map(|device| device.name.to_string());
            let names: Vec<String> = moved.chain(record.host_interfaces().map(ToString::to_string)).collect();
            names.into_iter().map(|name| (name, record.id().to_owned())).collect::<Vec<_>>()
        };
        self.containers.iter().flat_map(of_record).collect()
    }
}
