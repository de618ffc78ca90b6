//! A host with a network of each kind, two containers on each, and two other hosts on its wires.

use std::net::IpAddr;

use super::probe::{Caller, Server, measure};
use super::table::Matrix;
use crate::common::scene::ask;
use crate::common::{Process, World};

/// A network of each kind.
pub struct Kind {
    pub title: &'static str,
    pub name: &'static str,
    definition: &'static str,
    publishes: bool,
}

const fn kind(title: &'static str, name: &'static str, definition: &'static str, publishes: bool) -> Kind {
    Kind { title, name, definition, publishes }
}

pub const NETWORKS: [Kind; 8] = [
    kind("nat", "nat", "", true),
    kind("nat, normal", "open", "isolate = 'normal'", true),
    kind("internal", "internal", "internal = true", true),
    kind("internal, none", "inopen", "internal = true\nisolate = 'none'", true),
    kind("routed", "routed", "mode = 'routed'", true),
    kind("routed, normal", "ropen", "mode = 'routed'\nisolate = 'normal'", true),
    kind("isolated", "apart", "mode = 'isolated'", false),
    kind("isolated, none", "apopen", "mode = 'isolated'\nisolate = 'none'", false),
];

/// By what a container is called.
pub const WAYS: [&str; 5] = [
    "its address, a port that it publishes",
    "its address, another port",
    "a port published on any address of the host",
    "a port published on one address of the host",
    "a port published on 127.0.0.1",
];

/// Who calls: a neighbour of the container on each network, and others.
pub const CALLERS: [&str; 13] = [
    "a container on nat",
    "a container on nat, normal",
    "a container on internal",
    "a container on internal, none",
    "a container on routed",
    "a container on routed, normal",
    "a container on isolated",
    "a container on isolated, none",
    "a container on nat and on nat, normal",
    "the host",
    "another host",
    "another host, with routes to the subnets by this one",
    "the same, under an address of the subnet",
];

/// The ports inside: published, and not.
pub const INSIDE: [u16; 2] = [80, 81];

/// The host's ports of a network: on any address, on one, on localhost.
fn ports(at: usize) -> [u16; 3] {
    let at = u16::try_from(at).unwrap();
    [8000 + at, 8100 + at, 8200 + at]
}

fn address(at: usize, host: u8, ipv6: bool) -> IpAddr {
    let text = if ipv6 { format!("fd00:8:{at}::{host}") } else { format!("10.8.{at}.{host}") };
    text.parse().unwrap()
}

pub struct Scene {
    world: World,
    callers: Vec<Process>,
    servers: Vec<Server>,
    other: Process,
    attacker: Process,
}

/// Whether IPv6 is meant: each question is asked by both.
const FAMILIES: [bool; 2] = [false, true];

/// Addresses of this host on the wire to the other host, and on that to the one which attacks.
const HOST: [&str; 2] = ["10.0.0.1", "2001:db8::1"];
const HOST_BEHIND: [&str; 2] = ["10.0.1.1", "2001:db8:1::1"];

fn of(addresses: [&str; 2], ipv6: bool) -> IpAddr {
    addresses[usize::from(ipv6)].parse().unwrap()
}

impl Scene {
    pub fn new(mut world: World) -> Self {
        let mut file = String::new();
        for (at, network) in NETWORKS.iter().enumerate() {
            let subnets = FAMILIES.map(|ipv6| subnet(at, ipv6)).join("', '");
            let Kind { name, definition, .. } = network;
            file += &format!("[network.{name}]\nsubnets = ['{subnets}']\n{definition}\n");
        }
        // The guards alone keep networks apart: a host that forwards already drops nothing else.
        world.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
        let path = world.dir.join("netns-hook.toml");
        std::fs::write(&path, file).unwrap();
        world.flags.push(format!("--config={}", path.display()));
        let (other, attacker) = (world.neighbour_of_both(), second_wire(&mut world));
        let (mut callers, mut servers) = (Vec::new(), Vec::new());
        for (at, network) in NETWORKS.iter().enumerate() {
            let (server, caller) = (world.process(), world.process());
            let [four, six] = FAMILIES.map(|ipv6| address(at, 2, ipv6));
            let place = format!("{}:ip={four},ip={six}", network.name);
            let [any, one, local] = ports(at);
            let on = HOST.map(|host| if host.contains(':') { format!("[{host}]") } else { host.to_owned() });
            let on = on.map(|host| format!("{host}:{one}:80/udp")).join(",");
            let publish = format!("{any}:80/udp,{on},127.0.0.1:{local}:80/udp");
            let publish = ("publish", publish.as_str());
            let options = [("network", place.as_str()), publish];
            world.attach_ok(&format!("s{at}"), server, &options[..if network.publishes { 2 } else { 1 }]);
            world.attach_ok(&format!("c{at}"), caller, &[("network", network.name)]);
            servers.push(Server::start(server));
            // As a container does that wants to get out all the same.
            for (ip, ipv6) in [("ip", false), ("ip -6", true)] {
                let gateway = address(at, 1, ipv6);
                caller
                    .sh(&format!("{ip} route show default | grep . || {ip} route add default via {gateway}"));
            }
            callers.push(caller);
        }
        let both = world.process();
        world.attach_ok("both", both, &[("network", "nat;open")]);
        callers.push(both);
        Self { world, callers, servers, other, attacker }
    }

    /// Where a caller looks for a network's container in each way. The address of the host that a
    /// container calls is its gateway's; another host's is that on the wire between.
    fn targets(&self, caller: usize, at: usize, ipv6: bool) -> [(IpAddr, u16); 5] {
        let [any, one, local] = ports(at);
        let container = address(at, 2, ipv6);
        let host = match caller {
            8 => address(0, 1, ipv6),
            caller if caller < NETWORKS.len() => address(caller, 1, ipv6),
            11 | 12 => of(HOST_BEHIND, ipv6),
            _ => of(HOST, ipv6),
        };
        let here = (of(["127.0.0.1", "::1"], ipv6), local);
        let localhost = if (9..).contains(&caller) && caller != 10 { here } else { (host, local) };
        let fixed = (of(HOST, ipv6), one);
        [(container, INSIDE[0]), (container, INSIDE[1]), (host, any), fixed, localhost]
    }

    /// Removes the guards: another host reaches a container of the first network.
    pub fn assert_open_without_guard(&self) {
        let ask = || FAMILIES.map(|v6| ask(Some(self.attacker), &address(0, 2, v6).to_string(), "81/udp"));
        assert_eq!(ask(), ["", ""]);
        self.world.flush_guard();
        assert_eq!(ask(), ["?", "?"]);
    }

    pub fn measure(&self) -> Matrix {
        let attackers = [Some(self.other), Some(self.attacker), Some(self.attacker)];
        let processes = self.callers.iter().copied().map(Some).chain([None]).chain(attackers);
        let mut callers = Vec::new();
        for (row, process) in processes.enumerate() {
            for ipv6 in FAMILIES {
                let mut caller = Caller::new(row, ipv6, process);
                for at in 0..NETWORKS.len() {
                    let source = (row == 12).then(|| address(at, 200, ipv6));
                    let targets = self.targets(row, at, ipv6);
                    targets
                        .into_iter()
                        .enumerate()
                        .for_each(|(way, to)| caller.asks(source, (way, row, at), to));
                }
                callers.push(caller);
            }
        }
        measure(callers, &self.servers)
    }
}

fn subnet(at: usize, ipv6: bool) -> String {
    format!("{}/{}", address(at, 1, ipv6), if ipv6 { 64 } else { 24 })
}

/// A host on a wire of its own, which sends what is for our subnets, and for our localhost, to us;
/// and which has an address of each subnet to send from.
fn second_wire(world: &mut World) -> Process {
    let attacker = world.process();
    world.sh(&format!(
        "ip link add wire2 type veth peer name wire3 netns {} && ip link set wire2 addrgenmode none &&
         ip addr add 10.0.1.1/24 dev wire2 && ip addr add 2001:db8:1::1/64 dev wire2 nodad &&
         ip addr add fe80::1/64 dev wire2 nodad && ip link set wire2 up",
        attacker.pid
    ));
    attacker.sh(
        "ip addr add 10.0.1.2/24 dev wire3 && ip addr add 2001:db8:1::2/64 dev wire3 nodad &&
         ip link set wire3 up && ip route add default via 10.0.1.1 && ip route add default via 2001:db8:1::1 &&
         echo 1 > /proc/sys/net/ipv4/conf/wire3/route_localnet &&
         ip link set lo up && ip route del local 127.0.0.1 table local; ip route del local 127.0.0.0/8 table local;
         ip route add 127.0.0.1 via 10.0.1.1 src 10.0.1.2; ip route del local ::1 table local;
         ip route add ::1 via 2001:db8:1::1 src 2001:db8:1::2",
    );
    for at in 0..NETWORKS.len() {
        let [four, six] = FAMILIES.map(|ipv6| address(at, 200, ipv6));
        attacker.sh(&format!("ip addr add {four}/32 dev lo; ip addr add {six}/128 dev lo nodad"));
    }
    attacker
}
