//! Who has an address of the link layer on a bridge, and where a namespace is known.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::model::rule::Family;
use crate::model::value::{Iface, Mac};

impl Netlink {
    /// Whether a port of the bridge with this number has this address of its own, as
    /// `bridge fdb get` says: one question, however many ports there are. What a port has only
    /// been seen to send from does not count, since a container may send from any address.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn bridge_has_port_with(&self, bridge_index: u32, mac: Mac) -> io::Result<bool> {
        match self.by_mac(bridge_index, mac) {
            Ok(entry) => Ok(entry.is_some_and(|entry| {
                entry.header.state == NeighbourState::Permanent && entry.header.ifindex != bridge_index
            })),
            // Linux 4.19, or no bridge.
            Err(error) if knows_no_question(&error) => self.lists_port_with(bridge_index, mac),
            Err(error) => Err(error),
        }
    }

    /// The same by a list of all ports.
    fn lists_port_with(&self, bridge_index: u32, mac: Mac) -> io::Result<bool> {
        Ok(self.ports_of(bridge_index)?.iter().any(|port| port.address == mac.0))
    }

    /// Tells the host once and for all who has an address on a link.
    ///
    /// # Errors
    /// There is no such link.
    pub fn add_neighbour(&self, link: &Iface, address: IpAddr, mac: Mac) -> io::Result<()> {
        let mut entry = neighbour(self.index(link.as_str())?, address);
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        self.put_neighbour(entry)
    }

    /// Whom the host knows on its links, of one family.
    pub(super) fn neighbours(&self, family: Family) -> io::Result<Vec<Neighbour>> {
        let mut all = NeighbourMessage::default();
        all.header.family = family.number().into();
        self.table(RouteNetlinkMessage::GetNeighbour(all), |answer| {
            let RouteNetlinkMessage::NewNeighbour(entry) = answer else { return None };
            let (mut address, mut mac) = (None, Vec::new());
            for attribute in entry.attributes {
                match attribute {
                    NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => address = Some(ip.into()),
                    NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => address = Some(ip.into()),
                    NeighbourAttribute::LinkLayerAddress(found) => mac = found,
                    _ => {}
                }
            }
            let (link, state) = (entry.header.ifindex, entry.header.state);
            Some(Neighbour { link, address: address?, mac, state })
        })
    }

    /// The addresses that the host was told of once and for all: the number of the link, the
    /// address, and whose it is. IPv4 first.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn told_neighbours(&self) -> io::Result<Vec<(u32, IpAddr, Vec<u8>)>> {
        let mut told = Vec::new();
        for family in Family::ALL {
            let mut all = self.neighbours(family)?;
            all.retain(|entry| entry.state == NeighbourState::Permanent);
            told.extend(all.into_iter().map(|entry| (entry.link, entry.address, entry.mac)));
        }
        Ok(told)
    }

    /// Whether the host was told once and for all who has this address on the bridge with this
    /// number, and the bridge knows by which port it is reached: two questions, however many there
    /// are, and one where the host was told nothing.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn bridge_leads_to(&self, bridge_index: u32, address: IpAddr) -> io::Result<bool> {
        let mut question = neighbour(bridge_index, address);
        question.header.state = NeighbourState::None;
        let told = match self.entry(question) {
            Ok(entry) => entry.filter(|entry| entry.header.state == NeighbourState::Permanent),
            // Linux 4.19 answers with all, or not at all.
            Err(error) if knows_no_question(&error) => None,
            Err(error) => return Err(error),
        };
        let attributes = told.map(|entry| entry.attributes).unwrap_or_default();
        let mac = attributes.into_iter().find_map(when!(NeighbourAttribute::LinkLayerAddress(mac) => mac));
        let Some(Ok(mac)) = mac.map(TryInto::try_into) else { return Ok(false) };
        let mac = Mac(mac);
        Ok(self.by_mac(bridge_index, mac)?.is_some_and(|entry| entry.header.ifindex != bridge_index))
    }

    /// What a bridge knows of an address of the link layer.
    fn by_mac(&self, bridge_index: u32, mac: Mac) -> io::Result<Option<NeighbourMessage>> {
        let mut question = NeighbourMessage::default();
        question.header.family = AddressFamily::Bridge;
        question.attributes = vec![
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
            NeighbourAttribute::Controller(bridge_index),
        ];
        self.entry(question)
    }

    fn entry(&self, question: NeighbourMessage) -> io::Result<Option<NeighbourMessage>> {
        let found = self.ask(
            RouteNetlinkMessage::GetNeighbour(question),
            when!(RouteNetlinkMessage::NewNeighbour(entry) => entry),
        );
        found.or_else(|error| if error.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(error) })
    }

    pub(super) fn put_neighbour(&self, entry: NeighbourMessage) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewNeighbour(entry), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Lets the host ask again who has an address on a link.
    ///
    /// # Errors
    /// There is no such link, or it knew nobody.
    pub fn delete_neighbour(&self, link: &Iface, address: IpAddr) -> io::Result<()> {
        let entry = neighbour(self.index(link.as_str())?, address);
        self.change(RouteNetlinkMessage::DelNeighbour(entry), 0)
    }

    /// Tells a bridge once and for all by which of its ports an address is reached: it would
    /// follow whoever sends from that address.
    ///
    /// # Errors
    /// There is no such link, or it is no port of a bridge.
    pub fn pin_port(&self, port: &Iface, mac: Mac) -> io::Result<()> {
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Bridge;
        entry.header.ifindex = self.index(port.as_str())?;
        entry.header.state = NeighbourState::Noarp;
        entry.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
        entry.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        self.put_neighbour(entry)
    }

    /// The number that this socket's namespace knows the one by that `netns` is open on; `None`
    /// where it knows none, and so has no link that leads there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn number_of(&self, netns: BorrowedFd<'_>) -> io::Result<Option<i32>> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Fd(netns.as_raw_fd().cast_unsigned()));
        let answer = self.ask(
            RouteNetlinkMessage::GetNsId(question),
            when!(RouteNetlinkMessage::NewNsId(answer) => answer),
        )?;
        let number = answer.and_then(|answer| {
            answer.attributes.into_iter().find_map(when!(NsidAttribute::Id(number) => number))
        });
        Ok(number.filter(|number| *number >= 0))
    }
}

/// Whether a kernel does not know a question: one about a single entry, before Linux 5.0.
fn knows_no_question(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL))
}

/// An address that the host knows on a link.
pub(super) struct Neighbour {
    pub(super) link: u32,
    pub(super) address: IpAddr,
    mac: Vec<u8>,
    pub(super) state: NeighbourState,
}

/// What a link, by its number, is told for good of an address that is reached by it.
pub(super) fn neighbour(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut entry = NeighbourMessage::default();
    (entry.header.family, entry.header.ifindex) = (Family::of(address).number().into(), link);
    entry.header.state = NeighbourState::Permanent;
    entry.attributes.push(NeighbourAttribute::Destination(address.into()));
    entry
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    const WORLD: &str = "ip link add br0 address 02:62:00:00:00:01 type bridge && ip link set br0 up &&
        ip link add br1 type bridge &&
        ip link add h0 address 02:76:00:00:00:02 type veth peer name c0 address 02:6e:00:00:00:02 &&
        ip link set h0 master br0 up && ip link set c0 up &&
        ip addr add 10.9.0.1/24 dev br0 && ip -6 addr add fd09::1/64 dev br0 nodad &&
        ip route add default proto static nexthop via 10.9.0.2 dev br0 nexthop via 10.9.0.3 dev br0 &&
        ip route add blackhole 10.8.0.0/16 table 7 metric 5 &&
        bridge fdb add 02:6e:00:00:00:09 dev h0 master static &&
        ip neigh add fd09::2 lladdr 02:6e:00:00:00:09 dev br0 nud permanent &&
        ip neigh add fd09::3 lladdr 02:6e:00:00:00:0a dev br0 nud permanent";

    fn sh(script: &str) -> bool {
        Command::new("sh").args(["-ec", script]).status().unwrap().success()
    }

    /// Runs `test` in a network namespace of its own, as far as this user may have one.
    #[allow(clippy::print_stderr, reason = "it says why it is skipped")]
    fn in_a_world(test: impl FnOnce(Netlink) + Send) {
        let there = || {
            if unshare(CloneFlags::CLONE_NEWNET).is_err() || !sh(WORLD) {
                assert!(std::env::var_os("CI").is_none(), "skipped: only root with iproute2 can");
                return eprintln!("skipped: only root with iproute2 can");
            }
            test(Netlink::open().unwrap());
        };
        std::thread::scope(|scope| scope.spawn(there).join().unwrap());
    }

    #[test]
    fn a_bridge_knows_the_addresses_of_its_ports_and_no_others() {
        in_a_world(|netlink| {
            let [br0, br1] = ["br0", "br1"].map(|name| netlink.index(name).unwrap());
            let mac = |kind, last| Mac([2, kind, 0, 0, 0, last]);
            for (bridge, mac, expected) in [
                (br0, mac(0x76, 2), true),
                (br1, mac(0x76, 2), false),
                (br0, mac(0x76, 3), false),
                (br0, mac(0x62, 1), false),
                (br0, mac(0x6e, 9), false),
            ] {
                assert_eq!(netlink.bridge_has_port_with(bridge, mac).unwrap(), expected, "{mac}");
                assert_eq!(netlink.lists_port_with(bridge, mac).unwrap(), expected, "listed: {mac}");
            }
            for (bridge, address, expected) in [
                (br0, "fd09::2", true),
                (br1, "fd09::2", false),
                (br0, "fd09::3", false),
                (br0, "fd09::4", false),
            ] {
                let leads = netlink.bridge_leads_to(bridge, address.parse().unwrap()).unwrap();
                assert_eq!(leads, expected, "{address}");
            }
            let h0 = netlink.index("h0").unwrap();
            assert!(!netlink.bridge_has_port_with(h0, mac(0x76, 2)).unwrap(), "no bridge");
            assert!(!netlink.bridge_has_port_with(4711, mac(0x76, 2)).unwrap(), "no link");
            let ports = netlink.ports_of(br0).unwrap();
            assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["h0"]);
            assert_eq!(ports[0].port.as_ref().map(|port| port.hairpin), Some(false));
        });
    }

    #[test]
    fn links_addresses_and_routes_of_both_families_are_read() {
        in_a_world(|netlink| {
            let links = netlink.links_in_full().unwrap();
            let br0 = links.by_name("br0").unwrap();
            let shown = |addresses: &[ipnetwork::IpNetwork]| {
                addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
            };
            assert_eq!(shown(&br0.addresses), ["10.9.0.1/24", "fd09::1/64"]);
            assert_eq!(shown(&netlink.addresses(br0.index).unwrap()), ["10.9.0.1/24", "fd09::1/64"]);
            assert_eq!(br0.kind_name(), "bridge");
            assert!(links.by_name("lo").unwrap().loopback);
            let h0 = links.by_name("h0").unwrap();
            assert_eq!(links.bridge_of(h0), Some(br0));
            let cheap = netlink.links().unwrap();
            assert!(cheap.0.len() == links.0.len() && cheap.0.iter().all(|link| link.addresses.is_empty()));

            let routes = netlink.routes(&links).unwrap();
            let blackhole = routes.iter().find(|route| route.kind == Some("blackhole")).unwrap();
            assert_eq!((blackhole.table, blackhole.metric, blackhole.link), (7, 5, None));
            assert!(routes.iter().any(|route| route.destination.to_string() == "fd09::/64"));
            let all: Vec<_> = netlink.default_routes(&links).unwrap();
            let next_hops: Vec<_> = all.iter().map(|route| route.gateway.unwrap().to_string()).collect();
            assert_eq!(next_hops, ["10.9.0.2", "10.9.0.3"]);
            assert!(all.iter().all(|route| route.link_name.as_deref() == Some("br0")));
            let main = netlink.main_routes(Family::Ipv4, &links).unwrap();
            assert!(main.iter().all(|route| route.destination.is_ipv4() && route.kind.is_none()));
            assert_eq!(netlink.way_to("10.9.0.7".parse().unwrap()).unwrap(), Some(br0.index));

            let (bridge, six) = ("br0".parse().unwrap(), "fd09::1/64".parse().unwrap());
            netlink.delete_address(&bridge, six).unwrap();
            assert_eq!(shown(&netlink.addresses(br0.index).unwrap()), ["10.9.0.1/24"]);
            assert!(netlink.delete_address(&bridge, six).is_err());
        });
    }
}
