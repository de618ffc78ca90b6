//! Links, addresses and routes of one network namespace, over one rtnetlink socket.
//!
//! Every call is one request and waits for its answer. Errors are the kernel's own, for the
//! caller to say what was being done.

mod detail;
pub(super) mod dump;
mod examine;
mod seen;
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
use rtnetlink::packet_route::link::{LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::route::{RouteHeader, RouteMessage, RouteType};
use rtnetlink::{AddressMessageBuilder, Handle, LinkBridgePort, LinkUnspec, RouteMessageBuilder};
use tokio::runtime::{Builder, Runtime};

use crate::config::value::{Iface, Mac};
use crate::error::{Doing, Result};
use crate::link::bridge::Bridge;
pub use detail::{Counter, Counters, LinkDetail, Links, Port};
use dump::address_of;
pub use examine::TableRoute;
pub use seen::{LinkSeen, RouteSeen};
use seen::{describe, route};
pub use ways_out::WayOut;

/// See [`Netlink::await_carrier`]; in milliseconds.
const CARRIER_PATIENCE: u32 = 200;

/// One socket, and the runtime that it shares with those of other namespaces.
#[derive(Debug, Clone)]
pub struct Netlink {
    runtime: Arc<Runtime>,
    handle: Handle,
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
            // The kernel is to heed what a question leaves out, instead of telling of all.
            let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
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
        Ok(self.link_messages()?.iter().map(describe).collect())
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
        Ok(self.address_messages(AddressFamily::Inet, index)?.iter().filter_map(address_of).collect())
    }

    /// The IPv4 addresses of all links.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn all_addresses(&self) -> io::Result<Vec<IpAddr>> {
        let messages = self.address_messages(AddressFamily::Inet, 0)?;
        Ok(messages.iter().filter_map(address_of).map(|address| address.ip()).collect())
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
        let main = |message: &&RouteMessage| {
            message.header.table == RouteHeader::RT_TABLE_MAIN && message.header.kind == RouteType::Unicast
        };
        Ok(self.route_messages(AddressFamily::Inet)?.iter().filter(main).filter_map(route).collect())
    }

    /// The names of all links by their numbers.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn names(&self) -> io::Result<HashMap<u32, String>> {
        Ok(self.links()?.into_iter().map(|link| (link.index, link.name)).collect())
    }
}

/// The default route by the link with this number.
pub(super) fn default_route(link: u32, gateway: IpAddr) -> RouteMessage {
    match gateway {
        IpAddr::V4(via) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).output_interface(link).build(),
        IpAddr::V6(via) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(via).output_interface(link).build(),
    }
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
