//! Whole tables as the kernel tells them.
//!
//! The sockets are strict: what a request says the kernel takes for a filter. So it says
//! nothing but what is wanted.

use std::io;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use nix::libc;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::describe::{address_of, describe, routes};
use super::{Netlink, brief, link};
use crate::model::observed::{Link, Links, MAIN_TABLE, Route};
use crate::model::rule::Family;

impl Netlink {
    /// Every link, without its addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn links(&self) -> io::Result<Links> {
        Ok(in_order(&self.link_messages()?))
    }

    /// Every link, with its addresses.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn links_in_full(&self) -> io::Result<Links> {
        let messages = self.table(RouteNetlinkMessage::GetLink(LinkMessage::default()), link)?;
        let mut links = in_order(&messages);
        for message in &self.address_messages(AddressFamily::Unspec, 0)? {
            if let Ok(at) = links.0.binary_search_by_key(&message.header.index, |link| link.index)
                && let Some(link) = links.0.get_mut(at)
            {
                link.addresses.extend(useful(message));
            }
        }
        Ok(links)
    }

    /// The ports of the bridge with this number.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn ports_of(&self, bridge_index: u32) -> io::Result<Vec<Link>> {
        let ports = LinkAttribute::Controller(bridge_index);
        let Links(links) = in_order(&self.briefly(vec![ports, brief()])?);
        Ok(links.into_iter().filter(|link| link.master == Some(bridge_index)).collect())
    }

    /// Every link, without IPv6's counters, which are half of the answer.
    pub(in crate::kernel) fn link_messages(&self) -> io::Result<Vec<LinkMessage>> {
        self.briefly(vec![brief()])
    }

    fn briefly(&self, attributes: Vec<LinkAttribute>) -> io::Result<Vec<LinkMessage>> {
        let mut question = LinkMessage::default();
        question.attributes = attributes;
        self.table(RouteNetlinkMessage::GetLink(question), link)
    }

    /// The addresses of the link with this number, but for those that it gives itself.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn addresses(&self, index: u32) -> io::Result<Vec<IpNetwork>> {
        Ok(self.address_messages(AddressFamily::Unspec, index)?.iter().filter_map(useful).collect())
    }

    /// The addresses of all links, but for those that they give themselves.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn all_addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(self.addresses(0)?.iter().map(IpNetwork::ip).collect())
    }

    /// The addresses of one family, or of all (`Unspec`), of the link with this number, or of
    /// all (0).
    pub(in crate::kernel) fn address_messages(
        &self,
        family: AddressFamily,
        link: u32,
    ) -> io::Result<Vec<AddressMessage>> {
        let mut question = AddressMessage::default();
        (question.header.family, question.header.index) = (family, link);
        self.table(
            RouteNetlinkMessage::GetAddress(question),
            when!(RouteNetlinkMessage::NewAddress(address) => address),
        )
    }

    /// The routes of both families and of every table but the kernel's own (`local`), IPv4
    /// first; once for each next hop. `links` names the links that they leave by.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn routes(&self, links: &Links) -> io::Result<Vec<Route>> {
        let mut all = self.routes_of(Family::Ipv4, links)?;
        all.extend(self.routes_of(Family::Ipv6, links)?);
        Ok(all)
    }

    /// The routes of a family in the main table that lead somewhere.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn main_routes(&self, family: Family, links: &Links) -> io::Result<Vec<Route>> {
        let mut routes = self.routes_of(family, links)?;
        routes.retain(is_main);
        Ok(routes)
    }

    /// The default routes of the main table, IPv4 before IPv6.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn default_routes(&self, links: &Links) -> io::Result<Vec<Route>> {
        let mut routes = self.routes(links)?;
        routes.retain(|route| is_main(route) && route.destination.prefix() == 0 && route.link.is_some());
        Ok(routes)
    }

    fn routes_of(&self, family: Family, links: &Links) -> io::Result<Vec<Route>> {
        Ok(self.route_messages(family)?.iter().flat_map(|message| routes(message, links)).collect())
    }

    /// The routes of one family, of every table; none on a kernel without that family.
    pub(in crate::kernel) fn route_messages(&self, family: Family) -> io::Result<Vec<RouteMessage>> {
        let mut all = RouteMessage::default();
        all.header.address_family = family.number().into();
        let route = when!(RouteNetlinkMessage::NewRoute(route) => route);
        match self.table(RouteNetlinkMessage::GetRoute(all), route) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(Vec::new()),
            routes => routes,
        }
    }
}

fn in_order(messages: &[LinkMessage]) -> Links {
    let mut links: Vec<Link> = messages.iter().map(describe).collect();
    links.sort_by_key(|link| link.index);
    Links(links)
}

fn is_main(route: &Route) -> bool {
    route.table == MAIN_TABLE && route.kind.is_none()
}

/// An address that says something: what an interface gives itself (`fe80::/10`) does not.
fn useful(message: &AddressMessage) -> Option<IpNetwork> {
    let by_itself = |ip| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    address_of(message).filter(|address| !by_itself(address.ip()))
}
