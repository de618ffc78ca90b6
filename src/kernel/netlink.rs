//! Links, addresses and routes of one network namespace, over one rtnetlink socket.
//!
//! Every call is one request and waits for its answer. Errors are the kernel's own, for the
//! caller to say what was being done.

mod detail;
mod examine;
mod ways_out;

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnetwork::IpNetwork;
use nix::libc;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use rtnetlink::{AddressMessageBuilder, Handle, LinkBridgePort, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

use crate::config::value::{Iface, Mac};
use crate::error::{Doing, Result};
use crate::link::bridge::Bridge;
pub use detail::{Counter, Counters, LinkDetail, Port};
pub use examine::TableRoute;
pub use ways_out::WayOut;

/// See [`Netlink::await_carrier`]; in milliseconds.
const CARRIER_PATIENCE: u32 = 200;

/// One socket, and the runtime that it shares with those of other namespaces.
#[derive(Debug, Clone)]
pub struct Netlink {
    runtime: Arc<Runtime>,
    handle: Handle,
}

/// A link as the kernel describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSeen {
    /// Its number, unique in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// As `ip link show type` would take it; `None` for hardware and loopback.
    pub kind: Option<String>,
    /// The link-layer address; empty where there is none.
    pub address: Vec<u8>,
    /// In bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// The index of the other end, in the other end's namespace.
    pub peer: Option<u32>,
    /// Its alias.
    pub alias: Option<String>,
    /// Whether the kernel considers it able to carry packets: `up`, `down`, `lowerlayerdown`…
    pub state: String,
}

impl LinkSeen {
    /// The link-layer address in hexadecimal, with colons.
    pub fn mac(&self) -> String {
        self.address.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(":")
    }
}

/// A route as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSeen {
    /// What it leads to; prefix length 0 for a default route.
    pub destination: IpNetwork,
    /// The next hop, if there is one.
    pub gateway: Option<IpAddr>,
    /// The index of the link that it leaves by, if it is one.
    pub link: Option<u32>,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace, with a runtime of its own.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn open() -> Result<Self> {
        let operation = || "open a netlink socket";
        let runtime = Builder::new_current_thread().enable_io().build().doing(operation)?;
        Self::open_here(Arc::new(runtime)).doing(operation)
    }

    /// Opens a socket in the calling thread's network namespace, whichever thread that is.
    pub(super) fn open_here(runtime: Arc<Runtime>) -> io::Result<Self> {
        let handle = {
            let _guard = runtime.enter();
            let (connection, handle, _) = rtnetlink::new_connection()?;
            runtime.spawn(connection);
            handle
        };
        Ok(Self { runtime, handle })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    pub(super) fn runtime(&self) -> Arc<Runtime> {
        Arc::clone(&self.runtime)
    }

    pub(super) fn wait<T>(
        &self,
        request: impl Future<Output = std::result::Result<T, rtnetlink::Error>>,
    ) -> io::Result<T> {
        self.runtime.block_on(request).map_err(kernels_own)
    }

    /// The link called `name`, if there is one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn link(&self, name: &str) -> io::Result<Option<LinkSeen>> {
        let request = self.handle.link().get().match_name(name);
        // Half of the answer would be counters, which are to be collected and read.
        let request =
            request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]).execute();
        match self.wait(async move { std::pin::pin!(request).try_next().await }) {
            Ok(message) => Ok(message.as_ref().map(describe)),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every link.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn links(&self) -> io::Result<Vec<LinkSeen>> {
        let request = self.handle.link().get().execute();
        let messages: Vec<LinkMessage> = self.wait(request.try_collect())?;
        Ok(messages.iter().map(describe).collect())
    }

    /// The number of the link called `name`.
    ///
    /// # Errors
    /// There is none (`ENODEV`).
    pub fn index(&self, name: &str) -> io::Result<u32> {
        let found = self.link(name)?.map(|link| link.index);
        found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Creates a link.
    ///
    /// # Errors
    /// The kernel refuses; `EEXIST` where either end's name is taken.
    pub fn add_link(&self, message: LinkMessage) -> io::Result<()> {
        self.wait(self.handle.link().add(message).execute())
    }

    /// Creates a bridge.
    ///
    /// # Errors
    /// The kernel refuses; `EEXIST` where the name is taken.
    pub fn add_bridge(&self, bridge: &Bridge) -> io::Result<()> {
        self.add_link(bridge.message())?;
        self.set_mtu(&bridge.name, bridge.mtu).inspect_err(|_| drop(self.delete(&bridge.name, bridge.mac)))
    }

    /// Changes a link.
    fn change(&self, message: LinkMessage) -> io::Result<()> {
        self.wait(self.handle.link().change(message).execute())
    }

    /// Sets a link's alias.
    ///
    /// # Errors
    /// There is no such link, or the kernel refuses.
    pub fn set_alias(&self, link: &Iface, alias: &str) -> io::Result<()> {
        self.change(LinkUnspec::new_with_name(link.as_str()).alias(alias).build())
    }

    /// Waits, at most a fifth of a second, until the kernel has acted on the carrier
    /// of a link whose other end has just come up. Until then it drops what the link is to send,
    /// and a bridge does not use it: the first ARP request would be lost, and the next comes a
    /// second later. Since Linux 6.14 the question itself makes the kernel act.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn await_carrier(&self, link: &Iface) -> io::Result<()> {
        for _ in 0..CARRIER_PATIENCE {
            match self.link(link.as_str())? {
                Some(found) if found.state != "up" => std::thread::sleep(Duration::from_millis(1)),
                _ => break,
            }
        }
        Ok(())
    }

    /// Makes a link a port of a bridge.
    ///
    /// # Errors
    /// There is no such link or bridge, or the kernel refuses.
    pub fn set_master(&self, link: &Iface, bridge: &Iface) -> io::Result<()> {
        let index = self.index(bridge.as_str())?;
        self.change(LinkUnspec::new_with_name(link.as_str()).controller(index).build())
    }

    /// Lets a port of a bridge send packets back out of itself.
    ///
    /// # Errors
    /// There is no such link, or it is no port of a bridge.
    pub fn set_hairpin(&self, port: &Iface) -> io::Result<()> {
        // Number 0 is none: the kernel goes by the name.
        self.change(LinkBridgePort::new(0).name(port.to_string()).hairpin(true).build())
    }

    /// Sets a link's MTU, in bytes.
    ///
    /// # Errors
    /// There is no such link, or it cannot have this MTU.
    pub fn set_mtu(&self, link: &Iface, mtu: u32) -> io::Result<()> {
        self.change(LinkUnspec::new_with_name(link.as_str()).mtu(mtu).build())
    }

    /// Sets a link up or down.
    ///
    /// # Errors
    /// There is no such link, or the kernel refuses.
    pub fn set_up(&self, link: &Iface, up: bool) -> io::Result<()> {
        let message = LinkUnspec::new_with_name(link.as_str());
        self.change(if up { message.up() } else { message.down() }.build())
    }

    /// Deletes the link of this name and address, with the other end if it is a cable. One
    /// that has the name but another address is a stranger's, and ours is gone.
    ///
    /// # Errors
    /// The kernel refuses; already gone is fine.
    pub fn delete(&self, link: &Iface, mac: Mac) -> io::Result<()> {
        let found = self.link(link.as_str())?;
        match found.filter(|found| found.address == mac.0) {
            None => Ok(()),
            Some(found) => or_gone(self.wait(self.handle.link().del(found.index).execute())),
        }
    }

    /// The IPv4 addresses of the link with this number.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn addresses(&self, index: u32) -> io::Result<Vec<IpNetwork>> {
        let mut request = self.handle.address().get().set_link_index_filter(index);
        request.message_mut().header.family = AddressFamily::Inet;
        let messages: Vec<AddressMessage> = self.wait(request.execute().try_collect())?;
        let address = |message: &AddressMessage| {
            message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(ip) => IpNetwork::new(*ip, message.header.prefix_len).ok(),
                _ => None,
            })
        };
        Ok(messages.iter().filter_map(address).collect())
    }

    /// The IPv4 addresses of all links.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn all_addresses(&self) -> io::Result<Vec<IpAddr>> {
        let mut request = self.handle.address().get();
        request.message_mut().header.family = AddressFamily::Inet;
        let messages: Vec<AddressMessage> = self.wait(request.execute().try_collect())?;
        let local = messages.into_iter().flat_map(|message| message.attributes).filter_map(|attribute| {
            if let AddressAttribute::Local(ip) = attribute { Some(ip) } else { None }
        });
        Ok(local.collect())
    }

    /// Adds an address to a link, with the subnet's broadcast address.
    ///
    /// # Errors
    /// There is no such link, or it has the address (`EEXIST`).
    pub fn add_address(&self, link: &Iface, address: IpNetwork) -> io::Result<()> {
        let index = self.index(link.as_str())?;
        self.wait(self.handle.address().add(index, address.ip(), address.prefix()).execute())
    }

    /// Takes an address from a link.
    ///
    /// # Errors
    /// There is no such link or address.
    pub fn delete_address(&self, link: &Iface, address: IpNetwork) -> io::Result<()> {
        let index = self.index(link.as_str())?;
        let IpNetwork::V4(address) = address else {
            return Err(ErrorKind::Unsupported.into());
        };
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(address.ip(), address.prefix())
            .build();
        self.wait(self.handle.address().del(message).execute())
    }

    /// Adds a default route.
    ///
    /// # Errors
    /// The gateway is not reachable over the link, or there is a default route (`EEXIST`).
    pub fn add_default_route(&self, link: &Iface, gateway: IpAddr) -> io::Result<()> {
        let route = default_route(self.index(link.as_str())?, gateway);
        self.wait(self.handle.route().add(route).execute())
    }

    /// The IPv4 unicast routes of the main table.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn routes(&self) -> io::Result<Vec<RouteSeen>> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let messages: Vec<RouteMessage> = self.wait(self.handle.route().get(all).execute().try_collect())?;
        let main = |message: &&RouteMessage| {
            message.header.table == RouteHeader::RT_TABLE_MAIN && message.header.kind == RouteType::Unicast
        };
        Ok(messages.iter().filter(main).filter_map(route).collect())
    }

    /// The names of all links by their numbers.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn names(&self) -> io::Result<HashMap<u32, String>> {
        Ok(self.links()?.into_iter().map(|link| (link.index, link.name)).collect())
    }
}

fn describe(message: &LinkMessage) -> LinkSeen {
    let mut link = LinkSeen {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..LinkSeen::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(address) => link.address.clone_from(address),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.peer = Some(*index),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::OperState(state) => link.state = format!("{state:?}").to_lowercase(),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(|info| match info {
                    LinkInfo::Kind(kind) => Some(kind.to_string()),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    link
}

/// The default route by the link with this number.
pub(super) fn default_route(link: u32, gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(via) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).output_interface(link).build(),
        IpAddr::V6(via) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(via).output_interface(link).build(),
    }
}

fn route(message: &RouteMessage) -> Option<RouteSeen> {
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        _ => None,
    };
    let (mut destination, mut gateway, mut link) = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => destination = address(to)?,
            RouteAttribute::Gateway(via) => gateway = address(via),
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    let destination = IpNetwork::new(destination, message.header.destination_prefix_length).ok()?;
    Some(RouteSeen { destination, gateway, link })
}

/// The error that the kernel gave, without the library's words around it.
fn kernels_own(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT | libc::EADDRNOTAVAIL | libc::ESRCH))
}

/// What was to be removed and is not there any more is removed.
///
/// # Errors
/// Every other error.
pub fn or_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if gone(&error) => Ok(()),
        result => result,
    }
}
