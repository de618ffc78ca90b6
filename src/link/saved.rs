//! Addresses and routes as the kernel told them, to be told to it again: what
//! `ip address save` and `ip route save` keep. Text would lose half of what they can be.

use rtnetlink::packet_core::{Emitable, Parseable};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteNextHopFlags,
};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Bytes, written as hexadecimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Octets(pub Vec<u8>);

impl From<Octets> for String {
    fn from(octets: Octets) -> Self {
        octets.0.iter().map(|octet| format!("{octet:02x}")).collect()
    }
}

impl TryFrom<String> for Octets {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let octets = digits.filter(|digits| digits.len() % 2 == 0).map(|digits| {
            digits
                .chunks(2)
                .map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | *digit as u8))
                .collect()
        });
        octets.map(Self).ok_or_else(|| Error::new("read saved octets", "they are not hexadecimal"))
    }
}

/// An `RTM_NEWADDR` message without its netlink header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedAddress(Octets);

impl SavedAddress {
    /// An address as the kernel told it.
    pub fn of(message: &AddressMessage) -> Self {
        Self(emitted(message))
    }

    /// The messages that give it to the link with this number, to be sent with
    /// `NLM_F_REPLACE`. `None` if these are no such message.
    ///
    /// The host had it before: it is usable at once, without a second of duplicate address
    /// detection. The second message takes back the flag that says so.
    pub fn messages(&self, index: u32) -> Option<Vec<AddressMessage>> {
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

/// An `RTM_NEWROUTE` message without its netlink header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRoute(Octets);

impl SavedRoute {
    /// A route as the kernel told it, without what it tells and does not take.
    pub fn of(message: &RouteMessage) -> Self {
        let mut message = message.clone();
        message.header.flags &= RouteFlags::Onlink;
        // A nexthop object is gone with the link; what it stood for is told beside it.
        let kept = |attribute: &RouteAttribute| {
            !matches!(attribute, RouteAttribute::CacheInfo(_) | RouteAttribute::NhId(_))
        };
        message.attributes.retain(kept);
        for hop in hops_mut(&mut message) {
            hop.flags &= RouteNextHopFlags::Onlink;
        }
        Self(emitted(&message))
    }

    /// The message that adds it, where the link that was number `before` is number `now`.
    /// `None` if this is no such message.
    pub fn message(&self, before: u32, now: u32) -> Option<RouteMessage> {
        let mut message = RouteMessage::parse(&self.0.0).ok()?;
        for attribute in &mut message.attributes {
            if let RouteAttribute::Oif(index) = attribute
                && *index == before
            {
                *index = now;
            }
        }
        for hop in hops_mut(&mut message).filter(|hop| hop.interface_index == before) {
            hop.interface_index = now;
        }
        Some(message)
    }
}

/// The links that a route leaves by.
pub fn links_of(route: &RouteMessage) -> Vec<u32> {
    route
        .attributes
        .iter()
        .flat_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => vec![*index],
            RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
            _ => Vec::new(),
        })
        .collect()
}

fn hops_mut(route: &mut RouteMessage) -> impl Iterator<Item = &mut RouteNextHop> {
    let hops = route.attributes.iter_mut().filter_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    hops.flatten()
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
    fn octets_survive_being_written_down() {
        let octets = Octets(vec![0, 1, 0x7f, 0xff]);
        assert_eq!(String::from(octets.clone()), "00017fff");
        assert_eq!(Octets::try_from("00017fff".to_owned()).unwrap(), octets);
        for text in ["0", "0g", "+1", "0x"] {
            assert!(Octets::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_route_keeps_what_it_is_and_loses_what_only_the_kernel_says() {
        let mut route = RouteMessage::default();
        route.header.address_family = AddressFamily::Inet;
        route.header.flags = RouteFlags::Onlink | RouteFlags::Linkdown | RouteFlags::Dead;
        let mut hop = RouteNextHop::default();
        (hop.interface_index, hop.hops, hop.flags) = (3, 2, RouteNextHopFlags::Linkdown);
        let mut other = hop.clone();
        other.interface_index = 4;
        route.attributes = vec![
            RouteAttribute::Priority(7),
            RouteAttribute::NhId(42),
            RouteAttribute::MultiPath(vec![hop.clone(), other.clone()]),
        ];
        assert_eq!(links_of(&route), [3, 4]);
        let again = SavedRoute::of(&route).message(3, 9).unwrap();
        assert_eq!(again.header.flags, RouteFlags::Onlink);
        hop.interface_index = 9;
        let hops = [hop, other].map(|mut hop| {
            hop.flags = RouteNextHopFlags::empty();
            hop
        });
        assert_eq!(again.attributes, [RouteAttribute::Priority(7), RouteAttribute::MultiPath(hops.to_vec())]);
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
