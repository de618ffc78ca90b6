//! Addresses and routes as the kernel told them, to be given to it again: what
//! `ip address save` and `ip route save` keep. Text would lose half of what they can be.

use rtnetlink::packet_core::{Emitable, Parseable};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags,
};

use crate::model::device::{Octets, SavedAddress, SavedRoute};

impl SavedAddress {
    /// An address as the kernel told it.
    pub(super) fn of(message: &AddressMessage) -> Self {
        Self(emitted(message))
    }

    /// The messages that give it to the link with this number, to be sent with
    /// `NLM_F_REPLACE`. `None` if these are no such message.
    ///
    /// The host had it before: it is usable at once, without a second of duplicate address
    /// detection. The second message takes back the flag that says so.
    pub(super) fn messages(&self, index: u32) -> Option<Vec<AddressMessage>> {
        let mut message = AddressMessage::parse(&self.0.0).ok()?;
        message.header.index = index;
        if message.header.family != AddressFamily::Inet6 {
            return Some(vec![message]);
        }
        let mut undoubted = message.clone();
        for attribute in &mut undoubted.attributes {
            if let AddressAttribute::Flags(flags) = attribute {
                *flags |= AddressFlags::Nodad;
            }
        }
        Some(vec![undoubted, message])
    }
}

impl SavedRoute {
    /// A route as the kernel told it, without what it tells and does not take.
    pub(super) fn of(message: &RouteMessage) -> Self {
        let mut message = message.clone();
        message.header.flags &= RouteFlags::Onlink;
        // A nexthop object is gone with the link; what it stood for is told beside it.
        let kept = |attribute: &RouteAttribute| {
            !matches!(attribute, RouteAttribute::CacheInfo(_) | RouteAttribute::NhId(_))
        };
        message.attributes.retain(kept);
        for next in next_hops_mut(&mut message) {
            next.flags &= RouteNextHopFlags::Onlink;
        }
        Self(emitted(&message))
    }

    /// The message that adds it, where the link that was number `before` is number `now`.
    /// `None` if this is no such message.
    pub(super) fn message(&self, before: u32, now: u32) -> Option<RouteMessage> {
        let mut message = RouteMessage::parse(&self.0.0).ok()?;
        for attribute in &mut message.attributes {
            if let RouteAttribute::Oif(index) = attribute
                && *index == before
            {
                *index = now;
            }
        }
        for next in next_hops_mut(&mut message).filter(|next| next.interface_index == before) {
            next.interface_index = now;
        }
        Some(message)
    }
}

/// The links that a route leaves by.
pub(super) fn links_of(route: &RouteMessage) -> Vec<u32> {
    route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(all) => all.iter().map(|next| next.interface_index).collect(),
            _ => Vec::new(),
        })
        .collect()
}

fn next_hops_mut(route: &mut RouteMessage) -> impl Iterator<Item = &mut RouteNextHop> {
    let next_hops =
        route.attributes.iter_mut().filter_map(when!(RouteAttribute::MultiPath(next_hops) => next_hops));
    next_hops.flatten()
}

fn emitted(message: &impl Emitable) -> Octets {
    let mut octets = vec![0; message.buffer_len()];
    message.emit(&mut octets);
    Octets(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_keeps_what_it_is_and_loses_what_only_the_kernel_says() {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.flags = RouteFlags::Onlink | RouteFlags::Linkdown | RouteFlags::Dead;
        let mut next = RouteNextHop::default();
        (next.interface_index, next.hops, next.flags) = (3, 2, RouteNextHopFlags::Linkdown);
        let mut other = next.clone();
        other.interface_index = 4;
        route.attributes = vec![
            RouteAttribute::Priority(7),
            RouteAttribute::NhId(42),
            RouteAttribute::MultiPath(vec![next.clone(), other.clone()]),
        ];
        assert_eq!(links_of(&route), [3, 4]);
        let again = SavedRoute::of(&route).message(3, 9).unwrap();
        assert_eq!(again.header.flags, RouteFlags::Onlink);
        next.interface_index = 9;
        let next_hops = [next, other].map(|mut next| {
            next.flags = RouteNextHopFlags::empty();
            next
        });
        assert_eq!(
            again.attributes,
            [RouteAttribute::Priority(7), RouteAttribute::MultiPath(next_hops.to_vec())]
        );
    }

    #[test]
    fn no_record_makes_the_parser_panic() {
        for length in 0..64 {
            for fill in [0, 1, 4, 0xff] {
                let octets = Octets(vec![fill; length]);
                let _ = SavedAddress(octets.clone()).messages(1);
                let _ = SavedRoute(octets).message(1, 2);
            }
        }
    }
}
