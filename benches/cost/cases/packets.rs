//! What published ports cost a new connection's first packet, which is the only one that the
//! rules see: our tree of blocks beside one long chain.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{PACKETS, thousands};
use crate::common::traffic::{inside, serve_tcp};
use crate::common::{Process, scene};
use crate::cost::Scale;
use crate::cost::call::Call;
use crate::cost::lane::Lane;
use crate::cost::peers::{Container, Ours, Peer, Ports};
use crate::cost::table::{Figure, Table, Unit};

/// How many of the published ports are called in turn.
const CALLED: usize = 40;

/// `full` have ten published ports for each container, from 10,000 on: with iptables, and with
/// nftables.
pub fn first<P: Peer + ?Sized>(scale: &Scale, full: &mut [Lane<P>]) -> Table {
    eprintln!("  first packets");
    let count = 10 * scale.ports_of;
    let many: Vec<_> = full.iter_mut().map(|lane| among_many(scale, lane)).collect();
    let one = among_one(scale, Ours::<false>::default());
    let one_of_nftables = among_one(scale, Ours::<true>::default());
    let mut flat = Lane::new(Box::new(Ours::<false>::default()));
    flat.grow(|_| Ports::None);
    publish_in_one_chain(&flat, count);
    let ports: Vec<u16> = (0..count).step_by((count / CALLED).max(1)).map(port).collect();
    let containers = flat.up.clone();
    let [chain] = connect(&mut flat, &containers, [&ports], scale);

    let note = "Another host connects to a published port: from its SYN to the container's answer. It calls \
                always the same port, or 40 that are spread evenly over those published, in turn: then it \
                meets a container that was last called long ago.";
    let mut table = Table::new(PACKETS, note, ["published ports", "connect"]);
    let rows = [
        ("one".to_owned(), one),
        (format!("{}, one chain of rules, in turn", thousands(count)), chain),
        ("one, nftables".to_owned(), one_of_nftables),
    ];
    let names = ["our tree of blocks", "nftables"].map(|name| format!("{}, {name}", thousands(count)));
    let many = names
        .into_iter()
        .zip(many)
        .flat_map(|(name, [one, in_turn])| [(name.clone(), one), (format!("{name}, in turn"), in_turn)]);
    for (name, times) in rows.into_iter().chain(many) {
        table.row(name, vec![Some(Figure::times(Unit::Micros, &times))]);
    }
    table
}

/// Calls of always the same port, and of many in turn.
fn among_many<P: Peer + ?Sized>(scale: &Scale, full: &mut Lane<P>) -> [Vec<Duration>; 2] {
    let called = (0..scale.ports_of).step_by((scale.ports_of / CALLED).max(1));
    let (containers, ports): (Vec<Container>, Vec<u16>) =
        called.map(|at| (full.up[at], port(10 * at))).unzip();
    connect(full, &containers, [&ports[ports.len() / 2..][..1], &ports], scale)
}

fn among_one(scale: &Scale, ours: impl Peer + 'static) -> Vec<Duration> {
    let mut few = Lane::new(Box::new(ours));
    few.grow(|_| Ports::one(10_000));
    let containers = few.up.clone();
    let [times] = connect(&mut few, &containers, [&[port(0)]], scale);
    times
}

fn port(number: usize) -> u16 {
    (10_000 + number).try_into().expect("a port")
}

/// The layout that everybody begins with.
fn publish_in_one_chain(lane: &Lane<Ours>, count: usize) {
    lane.enter();
    let mut rules = ":FLAT - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j FLAT\n".to_owned();
    for number in 0..count {
        let port = port(number);
        rules += &format!("-A FLAT -p tcp --dport {port} -j DNAT --to-destination 172.19.0.2:80\n");
    }
    Call::new(["iptables-restore", "--noflush"], format!("*nat\n{rules}COMMIT\n")).run();
}

/// How long a host beside this one takes to connect to ports, those of one list after those of
/// another, each again and again. They lead to port 80 of `containers`.
fn connect<P: Peer + ?Sized, const N: usize>(
    lane: &mut Lane<P>,
    containers: &[Container],
    lists: [&[u16]; N],
    scale: &Scale,
) -> [Vec<Duration>; N] {
    lane.enter();
    for container in containers {
        serve_tcp(container.process, 80, "hello");
    }
    let other: Process = lane.world.neighbour();
    for port in lists.iter().copied().flatten() {
        let port = format!("{port}/tcp");
        // A packet that is lost on a busy machine is sent again.
        let reached = (0..4).any(|_| scene::ask(Some(other), "10.0.0.1", &port) == "hello");
        assert!(reached, "{port} leads nowhere");
    }
    let times = 10 * scale.rounds;
    lists.map(|ports| {
        let ports = ports.to_vec();
        inside(other, move || {
            let ports = ports.iter().cycle().take(times);
            ports.map(|port| connect_once(SocketAddr::from(([10, 0, 0, 1], *port)))).collect()
        })
    })
}

fn connect_once(address: SocketAddr) -> Duration {
    let started = Instant::now();
    let stream = TcpStream::connect(address).expect("connect");
    let took = started.elapsed();
    drop(stream);
    took
}
