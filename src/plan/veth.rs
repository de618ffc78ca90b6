//! The interfaces of a container on its networks: veth pairs, or what is made on a parent.

use ipnetwork::IpNetwork;

use super::network::NetworkPlan;
use super::steps::Steps;
use crate::error::{Error, Kind, Result};
use crate::model::container::ContainerId;
use crate::model::link::{CONTAINER_MAC, HOST_END, HOST_MAC, Veth};
use crate::model::network::Network;
use crate::model::record::{Attachment, Record};
use crate::model::request::Request;
use crate::model::sandbox::{Netns, Sandbox};
use crate::model::step::Step;
use crate::model::value::{self, Iface};

/// The seven hexadecimal digits that a name has room for.
const DIGITS: u128 = 0x0fff_ffff;

/// The longest interface alias, in bytes (`IFALIASZ` less its NUL).
pub(super) const MAX_ALIAS: usize = 255;

impl Steps<'_> {
    /// The interface on each network, and its addresses.
    ///
    /// # Errors
    /// A container asks for a larger MTU than its network has, or for a rate that it cannot have.
    pub(super) fn interfaces(
        &mut self,
        request: &Request,
        record: &Record,
        networks: &[NetworkPlan],
        ipv6: bool,
    ) -> Result<()> {
        let wanted = request.networks.iter().zip(networks);
        for (attachment, (wanted, network)) in record.attachments.iter().zip(wanted) {
            let of_all = network.network.mtu;
            let mtu = wanted.mtu.unwrap_or(of_all);
            if mtu > of_all {
                return Err(too_large(record, &network.network, mtu));
            }
            if mtu < IPV6_MIN_MTU && attachment.addresses.iter().any(IpNetwork::is_ipv6) {
                let cause = format!("network {} has IPv6, which needs {IPV6_MIN_MTU}", network.network.name);
                let operation = format!("use MTU {mtu} for {}", record.container);
                return Err(Error::new(operation, cause).of(Kind::Conflict));
            }
            self.child(record, attachment, &network.network, (mtu, ipv6));
            self.veth(record, attachment, mtu, ipv6);
            if let (false, Some(link)) = (network.network.reach.inter_container, &attachment.host_interface) {
                self.make(Step::Isolate { link: link.clone() });
            }
            self.rates(record, attachment, wanted, (mtu, ipv6))?;
            if let (true, Some(bridge)) = (mtu < of_all, &attachment.bridge) {
                self.host_routes(attachment, bridge, mtu);
            }
        }
        Ok(())
    }

    /// The veth pair, if the network has a bridge.
    fn veth(&mut self, record: &Record, attachment: &Attachment, mtu: u32, ipv6: bool) {
        let Attachment { bridge: Some(bridge), host_interface: Some(name), .. } = attachment else { return };
        let Some(address) = attachment.addresses.first() else { return };
        let (netns, peer) = (record.sandbox.netns(), attachment.interface.clone());
        let mac = attachment.mac.unwrap_or_else(|| value::mac(CONTAINER_MAC, address.ip()));
        self.make(Step::AddVeth(Veth {
            name: name.clone(),
            mac: value::mac(HOST_MAC, address.ip()),
            bridge: bridge.clone(),
            peer: peer.clone(),
            peer_mac: mac,
            netns,
            mtu,
        }));
        self.make(Step::SetAlias { link: name.clone(), alias: alias(record) });
        // Its neighbours on the bridge know both addresses, and could say that they have them.
        self.make(Step::PinPort { mac, link: name.clone() });
        for address in attachment.addresses.iter().map(|address| address.ip()) {
            self.make(Step::AddNeighbour { address, mac, link: bridge.clone() });
        }
        let is_on = attachment.addresses.iter().any(IpNetwork::is_ipv6);
        if has_ipv6(ipv6, mtu) {
            // The port of a bridge has no use for it in either case.
            self.ipv6(Netns::Host, name, false);
            self.ipv6(netns, &peer, is_on);
        }
        self.inside(record, attachment, is_on && has_ipv6(ipv6, mtu));
    }

    /// The addresses of an interface in the container, and that it comes up.
    pub(super) fn inside(&mut self, record: &Record, attachment: &Attachment, ipv6: bool) {
        let (netns, link) = (record.sandbox.netns(), &attachment.interface);
        if ipv6 {
            self.own_ipv6(netns);
        }
        self.loopback(record);
        for address in &attachment.addresses {
            self.make(Step::own_address(netns, link.clone(), *address));
        }
        self.make(Step::SetUp { netns, link: link.clone() });
    }

    /// The host's routes to the container by a link of the host. What is too large for the container's
    /// own MTU is refused or divided by the host: a bridge would drop it without a word.
    pub(super) fn host_routes(&mut self, attachment: &Attachment, link: &Iface, mtu: u32) {
        for address in attachment.addresses.iter().map(|address| address.ip()) {
            self.make(Step::AddHostRoute { address, link: link.clone(), mtu });
        }
    }
}

/// What `ip link` shows beside links of the container.
pub(super) fn alias(record: &Record) -> String {
    let id = record.id();
    id.get(..id.len().min(MAX_ALIAS)).unwrap_or_default().to_owned()
}

/// The least MTU of a link that has IPv6, in bytes (RFC 8200, section 5).
pub(super) const IPV6_MIN_MTU: u32 = 1280;

/// Whether the kernel does IPv6 on a link of this MTU at all.
pub(super) fn has_ipv6(kernel: bool, mtu: u32) -> bool {
    kernel && mtu >= IPV6_MIN_MTU
}

fn too_large(record: &Record, network: &Network, mtu: u32) -> Error {
    let operation = format!("use MTU {mtu} for {}", record.container);
    let (link, hint) = match &network.parent {
        Some(parent) => (parent.lower().to_string(), "ask for less".to_owned()),
        None => (
            format!("bridge {}", network.bridge),
            format!("`netns --mtu {mtu} create` changes the network's"),
        ),
    };
    let cause = format!("{link} takes packets of {} bytes at most", network.mtu);
    Error::new(operation, cause).of(Kind::Conflict).hint(hint)
}

/// `netnsv0-PID`, as the Go hook names it; if that is taken or there is no pid, the first name of
/// the same form that is not, from the container's identity on.
///
/// # Errors
/// Every name is taken.
pub fn host_interface(
    container: &ContainerId,
    sandbox: &Sandbox,
    interface: &Iface,
    mut taken: impl FnMut(&Iface) -> bool,
) -> Result<Iface> {
    if let Some(usual) = usual_host_interface(sandbox)?.filter(|usual| !taken(usual)) {
        return Ok(usual);
    }
    // The first of them somebody can take who chooses ids, but each takes a container.
    let first = container.hash() ^ interface.as_str().bytes().map(u128::from).sum::<u128>();
    for at in 0..=DIGITS {
        let name: Iface = format!("{HOST_END}{:07x}", first.wrapping_add(at) & DIGITS).parse()?;
        if !taken(&name) {
            return Ok(name);
        }
    }
    Err(Error::new(format!("name the host end of {container}"), "every name is taken").of(Kind::Exhausted))
}

/// The host end's name for a container that was found by its process, unless a stranger has it.
///
/// # Errors
/// None for a pid that Linux hands out (at most 4,194,304).
pub(super) fn usual_host_interface(sandbox: &Sandbox) -> Result<Option<Iface>> {
    sandbox.pid().map(|pid| format!("{HOST_END}{pid}").parse()).transpose()
}
