//! Links with everything that is worth showing of them: counters, bridge ports, and in whose
//! namespace the other end is. Asked for by those who only look; an attach needs none of it.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use futures_util::StreamExt;
use ipnetwork::IpNetwork;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use serde::Serialize;

use super::dump::address_of;
use super::seen::describe;
use super::{LinkSeen, Netlink};

/// A link and all that the kernel tells of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkDetail {
    /// What everybody wants to know.
    pub seen: LinkSeen,
    /// As `ip link show type` would take it, or `loopback`, or `physical` for everything else
    /// that the kernel has no word for.
    pub kind: String,
    /// The namespace of [`LinkSeen::peer`], by its number in this one; `None` where it is this
    /// one.
    pub peer_netns: Option<i32>,
    /// What has passed it.
    pub counters: Counters,
    /// If it is a bridge's port.
    pub port: Option<Port>,
}

/// What has passed a link since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// What it received: for a host's end of a cable, what the container sent.
    pub rx: Counter,
    /// What it sent.
    pub tx: Counter,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// With the link layer's headers.
    pub bytes: u64,
    /// Those that are counted in `bytes`.
    pub packets: u64,
    /// Damaged ones.
    pub errors: u64,
    /// Those that nobody had room for, or nobody wanted.
    pub dropped: u64,
}

/// What a bridge knows of one of its ports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its number on the bridge.
    pub number: u16,
    /// `forwarding` where all is well; else `disabled`, `listening`, `learning` or `blocking`.
    pub state: String,
    /// Whether a packet may leave by the port that it came in by.
    pub hairpin: bool,
}

/// All links of a namespace, with their addresses.
#[derive(Debug, Clone, Default)]
pub struct Links {
    /// In the order of their numbers.
    pub all: Vec<LinkDetail>,
    addresses: HashMap<u32, Vec<IpNetwork>>,
}

impl Links {
    /// The link with this number.
    pub fn by_index(&self, index: u32) -> Option<&LinkDetail> {
        self.all.iter().find(|link| link.seen.index == index)
    }

    /// The link of this name.
    pub fn by_name(&self, name: &str) -> Option<&LinkDetail> {
        self.all.iter().find(|link| link.seen.name == name)
    }

    /// The name of the bridge that a link is a port of.
    pub fn bridge_of(&self, link: &LinkDetail) -> Option<String> {
        Some(self.by_index(link.seen.master?)?.seen.name.clone())
    }

    /// The addresses of a link, of both families. Those that an interface gives itself
    /// (`fe80::/10`) tell nothing and are left out.
    pub fn addresses_of(&self, link: &LinkDetail) -> &[IpNetwork] {
        self.addresses.get(&link.seen.index).map_or(&[], Vec::as_slice)
    }
}

impl Netlink {
    /// Every link in full.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn links_in_full(&self) -> io::Result<Links> {
        let mut all: Vec<LinkDetail> = self.link_messages()?.iter().map(detail).collect();
        all.sort_by_key(|link| link.seen.index);
        Ok(Links { all, addresses: self.addresses_by_link()? })
    }

    fn addresses_by_link(&self) -> io::Result<HashMap<u32, Vec<IpNetwork>>> {
        let by_itself = |ip| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let mut all: HashMap<u32, Vec<IpNetwork>> = HashMap::new();
        for message in &self.address_messages(AddressFamily::Unspec, 0)? {
            if let Some(address) = address_of(message).filter(|address| !by_itself(address.ip())) {
                all.entry(message.header.index).or_default().push(address);
            }
        }
        Ok(all)
    }

    /// The number that this socket's namespace knows the one by that `netns` is open on; `None`
    /// where it knows none, and so has no link that leads there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn number_of(&self, netns: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Fd(netns.as_raw_fd().cast_unsigned()));
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
        message.header.flags = NLM_F_REQUEST;
        let mut handle = self.handle.clone();
        self.wait(async move {
            let mut answers = handle.request(message)?;
            while let Some(answer) = answers.next().await {
                match answer.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) => {
                        return Ok(answer.attributes.iter().find_map(|attribute| match attribute {
                            NsidAttribute::Id(number) if *number >= 0 => Some(*number),
                            _ => None,
                        }));
                    }
                    NetlinkPayload::Error(error) => return Err(rtnetlink::Error::NetlinkError(error)),
                    _ => {}
                }
            }
            Ok(None)
        })
    }
}

fn detail(message: &LinkMessage) -> LinkDetail {
    let seen = describe(message);
    let kind = match (&seen.kind, message.header.link_layer_type) {
        (Some(kind), _) => kind.clone(),
        (None, LinkLayerType::Loopback) => "loopback".to_owned(),
        _ => "physical".to_owned(),
    };
    let mut detail = LinkDetail { seen, kind, ..LinkDetail::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::LinkNetNsId(number) => detail.peer_netns = Some(*number),
            LinkAttribute::Stats64(seen) => {
                let counter = |bytes, packets, errors, dropped| Counter { bytes, packets, errors, dropped };
                detail.counters = Counters {
                    rx: counter(seen.rx_bytes, seen.rx_packets, seen.rx_errors, seen.rx_dropped),
                    tx: counter(seen.tx_bytes, seen.tx_packets, seen.tx_errors, seen.tx_dropped),
                };
            }
            LinkAttribute::LinkInfo(infos) => {
                detail.port = infos.iter().find_map(|info| match info {
                    LinkInfo::PortData(InfoPortData::BridgePort(facts)) => Some(port(facts)),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    detail
}

fn port(facts: &[InfoBridgePort]) -> Port {
    let mut port = Port::default();
    for fact in facts {
        match fact {
            InfoBridgePort::PortNumber(number) => port.number = *number,
            InfoBridgePort::State(state) => port.state = format!("{state:?}").to_lowercase(),
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            _ => {}
        }
    }
    port
}
