//! What planning has to know of the kernel and of a container's files: as few questions as the
//! case at hand needs.

use std::path::Path;

use ipnetwork::IpNetwork;

use super::run::Run;
use crate::config::free_ipv4;
use crate::error::{Doing, Error, Result};
use crate::firewall;
use crate::kernel::{listeners, named, observe};
use crate::model::bundle::Bundle;
use crate::model::dns::Server;
use crate::model::link::ifb_of;
use crate::model::network::{Network, NetworkSpec};
use crate::model::observed::{Host, Listener, ObservedNetwork};
use crate::model::port::{PortMapping, Protocol};
use crate::model::request::Request;
use crate::model::rule::{Backend, Family};
use crate::model::sandbox::Sandbox;
use crate::model::value::{Gateway, Iface, overlap};
use crate::plan;
use crate::rootfs;

/// A network as it was recorded when it was observed.
#[derive(Debug)]
pub(super) struct Known {
    stamp: Option<(u64, i64)>,
    pub(super) network: Option<Network>,
}

impl Run<'_> {
    /// The host, and one network of it as it is recorded and as it is; see [`Self::look_at`].
    pub(super) fn observe_network(
        &self,
        spec: &mut NetworkSpec,
        files: bool,
    ) -> Result<(Host, Option<Network>, ObservedNetwork)> {
        let (known, observed) = self.look_at(spec, files)?;
        let mut host = observe::host(&self.machine.kernel, &spec.families().collect::<Vec<_>>())?;
        if files {
            host.resolver = rootfs::resolver::of_host()?;
        }
        Ok((host, known, observed))
    }

    /// A network as it is recorded and as it is. Where nobody asked for an address, it is from
    /// here on that of the network or bridge that is there.
    fn look_at(&self, spec: &mut NetworkSpec, files: bool) -> Result<(Option<Network>, ObservedNetwork)> {
        let known = self.network(&spec.name)?;
        if let Some(known) = known.as_ref().filter(|_| spec.lent) {
            spec.subnets.clone_from(&known.subnets);
        }
        // Who reaches whom was said when it was made, by whoever did.
        if let Some(known) = known.as_ref().filter(|_| !spec.defined) {
            spec.reach = known.reach;
        }
        let observed = self.network_now(spec, files)?;
        let addresses = observed.bridge.as_ref().map_or(&[][..], |bridge| &bridge.addresses);
        let lendable =
            |address: &&IpNetwork| address.is_ipv4() && address.to_string().parse::<Gateway>().is_ok();
        let own = addresses.iter().find(lendable);
        let lends = spec.lent && known.is_none() && !spec.subnets.iter().any(|own| addresses.contains(own));
        if let Some(own) = own.filter(|_| lends) {
            spec.subnets = vec![*own];
        }
        if spec.lent && spec.defined && known.is_none() && observed.bridge.is_none() {
            self.choose_subnets(spec, &observed)?;
        }
        Ok((known, observed))
    }

    /// The subnets that nobody has chosen are such as the host has no route to, and no other
    /// network has.
    fn choose_subnets(&self, spec: &mut NetworkSpec, observed: &ObservedNetwork) -> Result<()> {
        let others = self.settings.networks().unwrap_or_default().into_iter();
        let others = others.filter(|other| other.name != spec.name).flat_map(|other| other.subnets);
        let routes = observed.routes.iter().map(|route| route.destination);
        let taken: Vec<IpNetwork> = routes.filter(|to| to.prefix() > 0).chain(others).collect();
        let is_free = |subnet: IpNetwork| !taken.iter().any(|other| overlap(*other, subnet));
        for subnet in spec.subnets.iter_mut().filter(|subnet| subnet.is_ipv4() && !is_free(**subnet)) {
            *subnet = free_ipv4(&spec.name, is_free).unwrap_or(*subnet);
        }
        if !self.machine.kernel.sysctl().has_ipv6().doing(|| "look for IPv6")? {
            spec.subnets.retain(IpNetwork::is_ipv4);
        }
        Ok(())
    }

    fn network_now(&self, spec: &NetworkSpec, files: bool) -> Result<ObservedNetwork> {
        let kernel = &self.machine.kernel;
        let mut network = match &spec.parent {
            Some(parent) => observe::on_parent(kernel, spec, parent)?,
            None => observe::network(kernel, &spec.bridge, &spec.subnets)?,
        };
        if files {
            let file = plan::directory(self.state_dir(), &spec.name).join("resolv.conf");
            network.resolv_conf = rootfs::resolver::read(&file)?;
        }
        network.has_iptables =
            spec.firewall != Some(Backend::Iptables) && firewall::is_installed(Backend::Iptables);
        Ok(network)
    }

    /// What can be seen of a container before the lock is taken: nobody else changes it.
    pub(super) fn observe_container(&self, request: &mut Request, sandbox: &Sandbox) -> Result<Host> {
        let files = !request.names.hands_off;
        let mut host = Host::default();
        if !request.networks.is_empty() {
            if files {
                host.resolver = rootfs::resolver::of_host()?;
            }
            host.files = rootfs::observe(&request.container, sandbox, &request.names, self.log)?;
            request.names.learn(std::mem::take(&mut host.files.told));
        }
        let names: Vec<&Iface> = request.devices.iter().map(|device| &device.name).collect();
        host.devices = observe::devices(self.machine.kernel.netlink(), &names)?;
        if request.name_netns {
            let name = &request.container.id;
            host.name = named::holder(name, sandbox.netns)
                .doing(|| format!("look at {}", named::path(name).display()))?;
        }
        host.listeners = listeners_of(request);
        self.warn_of_resolver(request, &host);
        Ok(host)
    }

    /// Tells that a container is to have no resolver, since no container reaches the host's.
    fn warn_of_resolver(&self, request: &Request, host: &Host) {
        let own = |bundle: &Bundle| bundle.mounts(Path::new("/etc/resolv.conf"));
        let ours = !request.names.hands_off && host.files.bundle.as_ref().is_some_and(|bundle| !own(bundle));
        if let (Some(Server(server)), true) = (host.resolver.unreached, ours)
            && host.resolver.with(&request.names).servers.is_empty()
        {
            let operation = format!("find a resolver for {}", request.container);
            let error = Error::new(operation, format!("no container reaches the host's, {server}"));
            self.log.warn(&error.hint("give it another one, as with --dns 10.0.0.2"));
        }
    }

    /// The networks that are asked for, as they are recorded and as they are. Asked without the
    /// lock, since it takes its time: see [`Self::are_unchanged`].
    pub(super) fn observe_networks(
        &self,
        host: &mut Host,
        request: &mut Request,
        sandbox: &Sandbox,
    ) -> Result<Vec<Known>> {
        let files = !request.names.hands_off;
        (host.networks, host.taken) = (Vec::new(), Vec::new());
        let (mut known, mut names) = (Vec::new(), Vec::new());
        for wanted in &mut request.networks {
            let stamp = self.store.network_stamp(&wanted.network.name);
            let (network, observed) = self.look_at(&mut wanted.network, files)?;
            known.push(Known { stamp, network });
            host.networks.push(observed);
            if wanted.network.parent.is_some() {
                continue;
            }
            // Asked for in the order in which they are preferred.
            let mut failure = None;
            let (container, sends_slowly) = (&request.container, wanted.rate_out.is_some());
            let name = plan::host_interface(container, sandbox, &wanted.interface, |name| {
                if names.contains(name) {
                    return true;
                }
                match self.is_taken(name, sends_slowly) {
                    Ok(false) => false,
                    Ok(true) => {
                        host.taken.push(name.clone());
                        true
                    }
                    Err(error) => {
                        failure = Some(error);
                        false
                    }
                }
            })?;
            names.push(name);
            failure.map_or(Ok(()), Err)?;
        }
        if !request.networks.is_empty() {
            let families: Vec<Family> =
                request.networks.iter().flat_map(|wanted| wanted.network.families()).collect();
            let Host { forwarding, forwarding6, bridge_netfilter, ipv6, .. } =
                observe::host(&self.machine.kernel, &families)?;
            (host.forwarding, host.forwarding6) = (forwarding, forwarding6);
            (host.bridge_netfilter, host.ipv6) = (bridge_netfilter, ipv6);
        }
        Ok(known)
    }

    /// Whether a link has the name of a host end, or that of the link which goes with it where a
    /// container sends slowly.
    fn is_taken(&self, name: &Iface, sends_slowly: bool) -> Result<bool> {
        let other = if sends_slowly { ifb_of(name) } else { None };
        for name in [Some(name), other.as_ref()].into_iter().flatten() {
            let found = self.machine.kernel.netlink().link(name.as_str());
            if found.doing(|| format!("look at link {name}"))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether no other run has changed a network since.
    pub(super) fn are_unchanged(&self, request: &Request, known: &[Known]) -> bool {
        let now = request.networks.iter().map(|wanted| self.store.network_stamp(&wanted.network.name));
        now.eq(known.iter().map(|known| known.stamp))
    }
}

/// The programs of the host that listen where a port may be published; who they are only where
/// that is in the way.
fn listeners_of(request: &Request) -> Vec<Listener> {
    let all: Vec<_> = request.published().map(|(publish, _)| publish).collect();
    let named: Vec<PortMapping> =
        all.iter().filter_map(|publish| publish.host.map(|host| publish.at(host, true))).collect();
    let mut found = listeners::in_the_way(&named);
    if named.len() < all.len() {
        let mut protocols: Vec<Protocol> = all.iter().map(|publish| publish.protocol).collect();
        protocols.sort_unstable();
        protocols.dedup();
        let all = listeners::of(&protocols).into_iter();
        found.extend(all.map(|one| Listener { at: one.mapping(), who: "a process".to_owned() }));
    }
    found
}
