//! What others hold, and what is chosen for a container of what they do not. The lock of
//! everything is held: nobody else claims meanwhile.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::observe::Known;
use super::places::places;
use super::run::Run;
use super::stale::{Admitted, Obstacle};
use crate::error::{Doing, Error, Kind, Result};
use crate::kernel::listeners;
use crate::model::container::Key;
use crate::model::link::HOST_MAC;
use crate::model::network::{Network, NetworkName, NetworkSpec};
use crate::model::observed::{Host, ObservedNetwork};
use crate::model::port::PortMapping;
use crate::model::publish::Publish;
use crate::model::record::Record;
use crate::model::request::{NetworkRequest, Request};
use crate::model::rule::Family;
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value;
use crate::plan::{self, Claimed, Published, lease, publish};
use crate::store::{Claim, Held, Owner, Pending};

/// How many addresses are tried before all that are leased are read.
const TRIES: usize = 64;

impl Run<'_> {
    /// What is claimed of what a network needs alone.
    pub(super) fn claimed_by_network(&self, spec: &NetworkSpec, known: Option<Network>) -> Result<Claimed> {
        let mut claimed = self.claimed_by_nobody();
        self.claimed_beside(&mut claimed, spec, known)?;
        Ok(claimed)
    }

    /// The place and the time that all claims are of.
    pub(super) fn claimed_by_nobody(&self) -> Claimed {
        let (state_dir, boot_id) = (self.state_dir().to_path_buf(), self.boot_id.clone());
        Claimed { state_dir, boot_id, ..Claimed::default() }
    }

    fn claimed_beside(
        &self,
        claimed: &mut Claimed,
        spec: &NetworkSpec,
        known: Option<Network>,
    ) -> Result<()> {
        // A network in place holds its share of these already.
        let in_place = known.as_ref().is_some_and(|known| known.firewall == spec.backend(Some(known)));
        if !in_place {
            claimed.shared.extend(self.shared_steps(self.store.all_shared()?)?);
        }
        claimed.networks.push(known);
        Ok(())
    }

    /// Everything that planning a container has to know of others, and its choices; and those
    /// who are applying or undoing a step that it is to share.
    pub(super) fn claimed(
        &self,
        request: &Request,
        host: &Host,
        networks: &[Known],
        mates: Vec<Record>,
    ) -> Admitted<(Claimed, Vec<Key>)> {
        let mut claimed = self.claimed_by_nobody();
        for (wanted, known) in request.networks.iter().zip(networks) {
            self.claimed_beside(&mut claimed, &wanted.network, known.network.clone())?;
        }
        // What comes by CNI shares nothing: each time it is an interface of its own.
        match request.container.cni() {
            Some(_) => claimed.beside = mates,
            None => claimed.mates = mates,
        }
        if claimed.mates.is_empty() {
            for (wanted, observed) in request.networks.iter().zip(&host.networks) {
                self.check_mac(request, wanted, observed)?;
                let subnets = wanted.network.subnets.iter();
                let chosen = subnets.map(|subnet| self.choose_address(request, wanted, *subnet, observed));
                claimed.addresses.push(chosen.collect::<Admitted<_>>()?);
            }
        }
        claimed.ports = self.choose_ports(request, host, &claimed)?;
        let mut names = publish::shared_names(request, &claimed);
        let places = places(request, &claimed.mates);
        let joined =
            plan::joined(self.state_dir(), places.iter().map(|(network, _)| network), &request.names.hosts);
        names.extend(joined.and_then(|step| step.shared_name()));
        let mut changing = Vec::new();
        for name in &names {
            changing.extend(self.is_changing(name)?);
        }
        claimed.shared.extend(self.shared_steps(names)?);
        for (network, addresses) in &places {
            claimed.slots.push(self.free_slots(request, network, *addresses)?);
        }
        let forgotten = |(network, observed): (&Option<Network>, &ObservedNetwork)| {
            network.as_ref().is_some_and(Network::has_host_link) && observed.has_forgotten()
        };
        let is_forgotten = claimed.networks.iter().zip(&host.networks).any(forgotten);
        if is_forgotten || !request.devices.is_empty() {
            self.read_everybody(&mut claimed)?;
        }
        Ok((claimed, changing))
    }

    /// The one place that reads all records while a container is attached: where a device of
    /// the host is asked for, which anybody may have, or a bridge is made or set up again, which they
    /// are to be ports of.
    pub(super) fn read_everybody(&self, claimed: &mut Claimed) -> Result<()> {
        for record in self.store.records()?.containers {
            for step in &record.steps {
                match step {
                    Step::MoveDevice(device) => {
                        claimed.devices.push((device.name.to_string(), record.id().to_owned()));
                    }
                    Step::AddVeth(veth) => {
                        claimed.devices.push((veth.name.to_string(), record.id().to_owned()));
                        let (link, bridge) = (veth.name.clone(), veth.bridge.clone());
                        claimed.restored.push(Step::SetMaster { link, bridge });
                    }
                    Step::AddHostRoute { .. }
                    | Step::AddNeighbour { .. }
                    | Step::PinPort { .. }
                    | Step::Hairpin { .. }
                    | Step::Isolate { .. }
                    | Step::Sysctl { netns: Netns::Host, before: Some(_), .. }
                        if !claimed.restored.contains(step) =>
                    {
                        claimed.restored.push(step.clone());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn choose_address(
        &self,
        request: &Request,
        wanted: &NetworkRequest,
        subnet: IpNetwork,
        observed: &ObservedNetwork,
    ) -> Admitted<IpAddr> {
        let network = &wanted.network.name;
        let (asked, family) = (wanted.static_ip(subnet).is_some(), Family::of(subnet.ip()));
        let cursor = self.store.note(&cursor_note(network, family)).and_then(|text| text.parse().ok());
        let (mut tries, mut all) = (0, None);
        lease::choose(&request.container, wanted, subnet, cursor, |address| {
            let claim = Claim::Lease(network.clone(), address);
            tries += 1;
            if !asked && tries > TRIES {
                let leased = match &all {
                    Some(leased) => leased,
                    None => all.insert(self.store.leases(network)?),
                };
                if leased.contains(&address) {
                    return self.named(&Owner::Unknown, false);
                }
            } else if let Some(owner) = self.store.holder(&claim)? {
                return self.named(&owner, asked);
            }
            Ok(self.has_address(wanted, observed, address)?)
        })
        .or_else(|obstacle| self.or_stale(network, obstacle))
    }

    /// Who holds an address; one who has what is asked for by name is verified.
    fn named(&self, owner: &Owner, verify: bool) -> Admitted<Option<String>> {
        let lives = if verify { Some(self.verify(owner)?) } else { None };
        Ok(Some(lives.map_or_else(|| owner.to_string(), |record| record.container.to_string())))
    }

    /// The kernel is the second witness: whatever else the administrator has given the bridge
    /// would answer in the container's place, and so would one whose record is lost.
    fn has_address(
        &self,
        wanted: &NetworkRequest,
        observed: &ObservedNetwork,
        address: IpAddr,
    ) -> Result<Option<String>> {
        if wanted.network.parent.is_some() {
            let of_host = |subnet: &IpNetwork| lease::host_address(&wanted.network, *subnet) == Some(address);
            let is_host = wanted.network.subnets.iter().any(of_host);
            return Ok(is_host.then(|| "the host's own interface".to_owned()));
        }
        let Some(bridge) = &observed.bridge else { return Ok(None) };
        if bridge.addresses.iter().any(|taken| taken.ip() == address) {
            return Ok(Some(format!("bridge {}", wanted.network.bridge)));
        }
        let operation = || format!("look for {address} on bridge {}", bridge.name);
        let netlink = self.machine.kernel.netlink();
        let mut taken =
            netlink.bridge_has_port_with(bridge.index, value::mac(HOST_MAC, address)).doing(operation)?;
        // The port of a container of both families has its MAC address from the one of IPv4.
        if !taken && address.is_ipv6() {
            taken = netlink.bridge_leads_to(bridge.index, address).doing(operation)?;
        }
        Ok(taken.then(|| "a container that no record tells of".to_owned()))
    }

    /// Where no address is free, those who hold one are looked at before that is said.
    fn or_stale(&self, network: &NetworkName, obstacle: Obstacle) -> Admitted<IpAddr> {
        let Obstacle::Failed(error) = obstacle else { return Err(obstacle) };
        if error.kind() != Kind::Exhausted {
            return Err(error.into());
        }
        let leases = self.store.leases(network)?;
        for address in leases.into_iter().take(TRIES) {
            let owner = self.store.holder(&Claim::Lease(network.clone(), address))?;
            match owner.map(|owner| self.verify(&owner)) {
                Some(Err(Obstacle::Failed(_))) | Some(Ok(_)) | None => {}
                Some(Err(obstacle)) => return Err(obstacle),
            }
        }
        Err(error.into())
    }

    fn choose_ports(&self, request: &Request, host: &Host, claimed: &Claimed) -> Admitted<Vec<Published>> {
        let absent = |(publish, _): &(&Publish, _)| {
            publish.host_ip.is_some_and(|ip| !ip.is_unspecified() && !listeners::has_address(ip))
        };
        if let Some((publish, _)) = request.published().find(absent) {
            let operation = format!("publish {publish} for {}", request.container);
            let error = Error::new(operation, "the host does not have this address").of(Kind::Conflict);
            return Err(error.hint("`ip -brief addr` shows those that it has").into());
        }
        let published = |protocol, block| Ok(self.store.ports(protocol, block)?);
        publish::choose(request, claimed, &host.listeners, published, |mapping| {
            let Some(owner) = self.store.holder(&Claim::Ports(mapping.clone()))? else {
                return Ok("another container publishes it".to_owned());
            };
            let record = self.verify(&owner)?;
            let same = |other: &&PortMapping| other.host == mapping.host && other.conflicts(mapping);
            let inside = record.ports.iter().find(same).map(|other| other.container);
            let address = record.addresses().next().map(|address| address.ip());
            let to = address.zip(inside).map_or_else(String::new, |(ip, port)| format!(" ({ip}:{port})"));
            Ok(format!("already published by {}{to}", record.container))
        })
    }

    /// Whose run is applying or undoing a shared step now.
    fn is_changing(&self, name: &str) -> Admitted<Option<Key>> {
        match self.store.changing(name)? {
            Some(Owner::Container(key)) if self.store.pending(&key)?.is_some() => {
                Err(match self.store.hold(&key)? {
                    Held::Busy => return Ok(Some(key)),
                    Held::Mine(_) if self.given_up.contains(&key) => {
                        let cause = format!("container {} could not be undone", key.id());
                        Error::new(format!("share {name}"), cause).into()
                    }
                    _ => Obstacle::Stale(vec![key]),
                })
            }
            // Killed after everything but this.
            Some(_) => Ok(self.store.changed(name).map(|()| None)?),
            None => Ok(None),
        }
    }

    /// Which of these steps somebody holds.
    fn shared_steps(&self, names: impl IntoIterator<Item = String>) -> Result<BTreeSet<String>> {
        let mut held = BTreeSet::new();
        for name in names {
            if self.store.is_shared(&name)? {
                held.insert(name);
            }
        }
        Ok(held)
    }

    /// Those who live in a network namespace already.
    pub(super) fn mates(&self, inode: u64, newcomer: &Key) -> Admitted<Vec<Record>> {
        let mut mates = Vec::new();
        for key in self.store.in_netns(inode)? {
            if key == *newcomer {
                continue;
            }
            if self.store.pending(&key)? == Some(Pending::Leaving) && self.given_up.contains(&key) {
                continue;
            }
            mates.push(self.verify(&Owner::Container(key))?);
        }
        Ok(mates)
    }
}

/// Where the address of a family is noted that a network leased last.
pub(super) fn cursor_note(network: &NetworkName, family: Family) -> String {
    match family {
        Family::Ipv4 => format!("lease:{network}"),
        Family::Ipv6 => format!("lease6:{network}"),
    }
}
