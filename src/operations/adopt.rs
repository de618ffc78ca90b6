//! Records are made anew of what the kernel knows: of networks by their bridges, of containers
//! that live by their host ends and their rules. What else was done for them is not known: names,
//! files, devices of the host.

use std::path::PathBuf;

use ipnetwork::IpNetwork;

use super::apply::apply;
use super::attach::now;
use super::rules::is_of;
use super::run::Run;
use super::unrecorded::Unrecorded;
use crate::error::{Doing, Error, Result};
use crate::kernel::inside::visit;
use crate::kernel::netlink::Netlink;
use crate::kernel::process;
use crate::model::container::ContainerId;
use crate::model::limits::Limits;
use crate::model::network::{Network, NetworkSpec};
use crate::model::observed::{Host, Link, Links};
use crate::model::port::PortMapping;
use crate::model::rate::Rate;
use crate::model::record::Attachment;
use crate::model::request::{NetworkRequest, Request};
use crate::model::rule::{Backend, Rule};
use crate::model::step::Step;
use crate::model::value::{Iface, Mac};
use crate::plan::{self, Case, Claimed, NetworkPlan, Published};
use crate::store::{Claim, Owner};

impl Run<'_> {
    /// Adopts what has no record, and says what it was; what cannot be adopted is told.
    ///
    /// # Errors
    /// The records or the rules cannot be read, or the kernel does not answer.
    pub(super) fn adopt(&mut self) -> Result<Vec<String>> {
        self.share_rules(&[])?;
        let _lock = self.store.lock()?;
        let mut adopted = Vec::new();
        let records = self.store.records()?;
        for bridge in self.unrecorded_bridges(&records)? {
            adopted.push(format!("network {}", self.adopt_network(&bridge)?.name));
        }
        let published = self.machine.firewall.found()?;
        for one in self.living_unrecorded(&records)? {
            match self.adopt_container(&one, &published) {
                Ok(()) => adopted.push(format!("container {}", one.id)),
                Err(error) => self.log.warn(&error.during(format!("adopt container {}", one.id))),
            }
        }
        self.note_transactions();
        Ok(adopted)
    }

    /// Records a network by its bridge. The lock of everything is held.
    pub(super) fn adopt_network(&mut self, bridge: &Link) -> Result<Network> {
        let name: Iface = bridge.name.parse()?;
        let firewall = Some(self.machine.firewall.backend_of(name.as_str()));
        let (mtu, subnets) = (Some(bridge.mtu), bridge.addresses.clone());
        let defined = self.settings.network_on(name);
        let mut spec = NetworkSpec { mtu, firewall, subnets, lent: false, ..defined };
        let (host, _, observed) = self.observe_network(&mut spec, true)?;
        let mut claimed = self.claimed_by_network(&spec, None)?;
        claimed.shared.extend(self.witnessed()?);
        let NetworkPlan { network, steps } = plan::network(&spec, &host, &observed, None, &claimed)?;
        self.begin_network(&network, None, true)?;
        let others: Vec<&Step> = steps.iter().filter(|step| step.rule().is_none()).collect();
        apply(&others, &mut self.machine).map_err(|failed| failed.error)?;
        self.store.finish_network(&network.name)?;
        Ok(network)
    }

    /// The shared steps that must have been taken for the first network: by the rule that goes with
    /// it, the host did not forward before.
    fn witnessed(&self) -> Result<Vec<String>> {
        // Without its programs a firewall has no rules that we could ask for.
        let found = self.machine.firewall.found().unwrap_or_default().into_iter();
        let mut steps = Vec::new();
        for rule in found.filter(|rule| matches!(rule, Rule::OnlyOurs { .. })) {
            steps.extend(self.forwarding_of(rule.family())?);
            steps.push(Step::Firewall(rule));
        }
        Ok(steps.iter().filter_map(Step::shared_name).collect())
    }

    /// Records the networks that are asked for and whose records are lost, by their bridges;
    /// whether there were any. Their rules are there, for others too.
    pub(super) fn adopt_lost(&mut self, specs: &[&NetworkSpec]) -> Result<bool> {
        let mut adopted = false;
        for spec in specs {
            let _lock = self.store.lock()?;
            if let Some(bridge) = self.lost_bridge(spec)? {
                self.adopt_network(&bridge)?;
                adopted = true;
            }
        }
        if adopted {
            self.restore_rules()?;
        }
        Ok(adopted)
    }

    fn adopt_container(&mut self, one: &Unrecorded, found: &[Rule]) -> Result<()> {
        let operation = || "look for its network namespace";
        let reference = one.netns.clone().ok_or_else(|| Error::new(operation(), "nobody lives in it"))?;
        let (netns, sandbox) = process::open(&reference, &one.id)?;
        let inside = visit(&netns, || Netlink::open()?.links().doing(operation))??;
        let container = ContainerId { id: one.id.clone(), bundle: PathBuf::new() };
        let (ports, backend) = self.adopted_ports(one, found)?;
        let shared = self.store.all_shared()?.into_iter().collect();
        let mut claimed = Claimed { shared, ports, ..self.claimed_by_nobody() };
        let mut request = Request::new(container, reference);
        let (mut host, mut attachments, mut networks) = (Host::default(), Vec::new(), Vec::new());
        for link in &one.links {
            let (network, attachment) = self.attachment(link, &inside)?;
            let mut spec = NetworkSpec { firewall: backend.or(Some(network.firewall)), ..network.spec() };
            let (seen, _, observed) = self.observe_network(&mut spec, false)?;
            if observed.route_localnet.as_deref() == Some("1") {
                claimed.shared.extend(plan::route_localnet(&network.bridge).shared_name());
            }
            let networks_seen = std::mem::take(&mut host).networks;
            host = seen;
            host.networks = networks_seen.into_iter().chain([observed]).collect();
            let interface = attachment.interface.clone();
            let [rate_in, rate_out] = self.rates_of(&attachment)?;
            request.networks.push(NetworkRequest {
                static_ips: link.addresses.iter().map(IpNetwork::ip).collect(),
                mtu: Some(link.mtu),
                rate_in,
                rate_out,
                ..NetworkRequest::new(spec, interface)
            });
            claimed.addresses.push(attachment.addresses.iter().map(IpNetwork::ip).collect());
            attachments.push(attachment);
            networks.push(NetworkPlan { network, steps: Vec::new() });
        }
        let case = Case {
            request: &request,
            host: &host,
            claimed: &claimed,
            sandbox: &sandbox,
            now: now().as_secs(),
        };
        let record = plan::adopt(case, attachments, &networks)?;
        for key in
            self.keys_without_record(&self.store.records()?)?.into_iter().filter(|key| key.id() == one.id)
        {
            self.store.links_of(&key)?.iter().try_for_each(|link| self.store.remove_link(link))?;
            self.store.forget_key(&key)?;
        }
        let _own = self.store.begin(&record)?;
        self.store.finish(&record.key())
    }

    /// Its place on the network whose bridge the host end is a port of.
    fn attachment(&self, link: &Link, inside: &Links) -> Result<(Network, Attachment)> {
        let operation = || format!("look at link {}", link.name);
        let missing = |what: &str| Error::new(operation(), format!("it has no {what}"));
        let bridge = self.machine.kernel.netlink().links().doing(operation)?;
        let bridge = bridge.bridge_of(link).ok_or_else(|| missing("bridge"))?;
        let networks = self.store.records()?.networks;
        let network = networks.into_iter().find(|network| network.bridge.as_str() == bridge.name);
        let network = network.ok_or_else(|| missing("network"))?;
        let (mut addresses, mut gateways) = (Vec::new(), Vec::new());
        for subnet in &network.subnets {
            if let Some(lease) = link.addresses.iter().find(|lease| subnet.contains(lease.ip())) {
                let lease = IpNetwork::new(lease.ip(), subnet.prefix());
                addresses.push(lease.map_err(|cause| Error::new(operation(), cause))?);
                gateways.push(subnet.ip());
            }
        }
        if addresses.is_empty() {
            return Err(missing("address of its network"));
        }
        let peer = link.peer.and_then(|index| inside.by_index(index)).ok_or_else(|| missing("other end"))?;
        let attachment = Attachment {
            network: Some(network.name.clone()),
            bridge: Some(network.bridge.clone()),
            parent: None,
            interface: peer.name.parse()?,
            host_interface: Some(link.name.parse()?),
            mac: peer.address.as_slice().try_into().ok().map(Mac),
            addresses,
            gateways,
        };
        Ok((network, attachment))
    }

    /// How fast it receives and sends at most.
    fn rates_of(&self, attachment: &Attachment) -> Result<[Option<Rate>; 2]> {
        let Some(end) = &attachment.host_interface else { return Ok([None, None]) };
        let (netlink, operation) = (self.machine.kernel.netlink(), || format!("look at link {end}"));
        let limits = Limits { queues: netlink.queues().doing(operation)?, ..Limits::default() };
        let found = limits.of_host_end(end, &netlink.links().doing(operation)?);
        Ok(found.map(|found| found.and_then(|(_, queue)| Rate::new(queue.bits, None).ok())))
    }

    /// The ports that its rules publish, but for those that somebody else has got meanwhile; and
    /// who has the rules.
    fn adopted_ports(&self, one: &Unrecorded, found: &[Rule]) -> Result<(Vec<Published>, Option<Backend>)> {
        let ids = [one.id.clone()];
        let (mut ports, mut backend) = (Vec::new(), None);
        for rule in found {
            let Rule::Publish { owner, mapping, to, .. } = rule else { continue };
            let of_another = |holder: Owner| !matches!(holder, Owner::Container(key) if key.id() == one.id);
            let Some(at) =
                one.links.iter().position(|link| link.addresses.iter().any(|lease| lease.ip() == *to))
            else {
                continue;
            };
            let held = self.store.holder(&Claim::Ports(mapping.clone()))?;
            if is_of(&ids, owner) && !held.is_some_and(of_another) {
                backend = Some(rule.backend());
                ports.push(Published { at, mapping: mapping.clone() });
            }
        }
        // What is published by both families is found in each.
        let whole: Vec<PortMapping> = ports.iter().map(|one| one.mapping.clone()).collect();
        ports.retain(|one| {
            let of_both = |whole: &PortMapping| whole.address().is_none() && whole.host_ip.is_some();
            let part_of = |whole: &PortMapping| PortMapping { host_ip: None, ..whole.clone() } == one.mapping;
            !whole.iter().any(|whole| of_both(whole) && part_of(whole))
        });
        Ok((ports, backend))
    }
}
