//! Whole tables as the kernel tells them, and the few things that everyone wants of a message.
//!
//! The sockets are strict: what a question says the kernel takes for a filter. So it says
//! nothing but what is wanted.

use std::io;

use futures_util::TryStreamExt;
use ipnetwork::IpNetwork;
use nix::libc;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::RouteMessage;

use super::Netlink;

impl Netlink {
    /// Every link, with all that the kernel says of it.
    pub(in crate::kernel) fn link_messages(&self) -> io::Result<Vec<LinkMessage>> {
        self.wait(self.handle.link().get().execute().try_collect())
    }

    /// The addresses of one family, or of all (`Unspec`), of the link with this number, or of
    /// all (0).
    pub(in crate::kernel) fn address_messages(
        &self,
        family: AddressFamily,
        link: u32,
    ) -> io::Result<Vec<AddressMessage>> {
        let mut request = self.handle.address().get();
        request.message_mut().header.family = family;
        request.message_mut().header.index = link;
        self.wait(request.execute().try_collect())
    }

    /// The routes of one family, of every table; none on a kernel without that family.
    pub(in crate::kernel) fn route_messages(&self, family: AddressFamily) -> io::Result<Vec<RouteMessage>> {
        let mut all = RouteMessage::default();
        all.header.address_family = family;
        match self.wait(self.handle.route().get(all).execute().try_collect()) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
            routes => routes,
        }
    }
}

/// A link's name.
pub(in crate::kernel) fn name_of(link: &LinkMessage) -> &str {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    });
    name.unwrap_or_default()
}

/// An interface's own address: on a point-to-point link the other attribute is the peer's, and
/// IPv6 mostly has the other one alone.
pub(in crate::kernel) fn address_of(message: &AddressMessage) -> Option<IpNetwork> {
    let attributes = message.attributes.iter();
    let local = attributes.clone().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let other = attributes.clone().find_map(|attribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    });
    IpNetwork::new(local.or(other)?, message.header.prefix_len).ok()
}
