//! UDP flows, which the kernel translates for as long as somebody sends, follow a published
//! port from one container to the next.

use std::net::UdpSocket;
use std::time::Duration;

use crate::common::traffic::{inside, serve_udp};
use crate::common::{Process, World, on_every_firewall, stderr, wait_for};

on_every_firewall! {
    a_client_that_keeps_sending_is_answered_by_the_next_container,
    a_client_of_a_port_that_was_not_published_yet_is_answered,
    a_port_that_is_withdrawn_answers_nobody_although_its_namespace_lives,
    flows_that_have_nothing_to_do_with_the_port_go_on,
}

/// One socket on another host that keeps asking the same port of ours.
struct Client(UdpSocket);

impl Client {
    fn new(host: Process, server: &'static str) -> Self {
        let socket = inside(host, move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("bind");
            socket.connect(server).map(|()| socket).expect("connect")
        });
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
        Self(socket)
    }

    /// What answers to one datagram; empty if nothing does.
    fn ask(&self) -> String {
        let mut buffer = [0; 64];
        // Late answers and refusals belong to earlier questions.
        self.0.set_nonblocking(true).expect("nonblocking");
        while self.0.recv(&mut buffer).is_ok() || self.0.take_error().is_ok_and(|error| error.is_some()) {}
        self.0.set_nonblocking(false).expect("blocking");
        let answered = self.0.send(b"?").and_then(|_| self.0.recv(&mut buffer));
        answered.map_or_else(|_| String::new(), |n| String::from_utf8_lossy(&buffer[..n]).into_owned())
    }
}

/// Leads the port that is published for `id` to another address, by hand.
fn lead_to(world: &World, id: &str, address: &str) {
    if world.is_on_nftables() {
        let port = "element ip netns publish { udp . 5353";
        return drop(world.sh(&format!("nft 'delete {port} }}; add {port} : {address} . 53 }}'")));
    }
    let rules = world.rules();
    let line = rules.lines().find(|line| line.contains(&format!("\"netns container {id}\"")));
    let rule = line.expect("a rule").trim_start_matches("-A ");
    let (rest, _) = rule.rsplit_once(' ').expect("an address");
    world.sh(&format!("iptables -t nat -D {rule} && iptables -t nat -A {rest} {address}:53"));
}

fn a_client_that_keeps_sending_is_answered_by_the_next_container(mut world: World) {
    let [old, new] = [(); 2].map(|()| world.process());
    let other = world.neighbour();
    for (process, name) in [(old, "old"), (new, "new")] {
        serve_udp(process, 53, name);
    }
    world.attach_ok("old", old, &[("publish", "5353:53/udp")]);
    let client = Client::new(other, "10.0.0.1:5353");
    wait_for("the first answer", || client.ask() == "old");
    world.detach_ok("old");
    assert_eq!(client.ask(), "", "nobody has the port");
    world.attach_ok("new", new, &[("publish", "5353:53/udp")]);
    wait_for("the next container", || client.ask() == "new");

    // The same by hand, which leaves the flow alone: the wrong one goes on answering.
    world.attach_ok("old", old, &[]);
    assert!(old.sh("ip -o -4 addr show dev eth0").contains("172.19.0.4"), "the container that was first");
    lead_to(&world, "new", "172.19.0.4");
    assert_eq!(client.ask(), "new", "the flow is real");
}

fn a_client_of_a_port_that_was_not_published_yet_is_answered(mut world: World) {
    let web = world.process();
    let other = world.neighbour();
    serve_udp(web, 53, "web");
    // So that the kernel tracks flows at all.
    world.netns_ok(&["create"], "");
    let client = Client::new(other, "10.0.0.1:5353");
    let host = UdpSocket::bind("10.0.0.1:5353").expect("bind");
    host.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
    assert_eq!(client.ask(), "", "the host listens and does not answer");
    assert!(host.recv(&mut [0; 64]).is_ok(), "the flow leads to the host");
    drop(host);
    world.attach_ok("web", web, &[("publish", "10.0.0.1:5350-5360:50-60/udp")]);
    wait_for("the container", || client.ask() == "web");
}

fn a_port_that_is_withdrawn_answers_nobody_although_its_namespace_lives(mut world: World) {
    let pod = world.process();
    let other = world.neighbour();
    serve_udp(pod, 53, "pod");
    world.attach_ok("pause", pod, &[("publish", "5300:53/udp")]);
    world.attach_ok("dns", pod, &[("publish", "5353:53/udp")]);
    let [withdrawn, kept] = ["10.0.0.1:5353", "10.0.0.1:5300"].map(|server| {
        let client = Client::new(other, server);
        wait_for("the first answer", || client.ask() == "pod");
        client
    });
    world.detach_ok("dns");
    assert_eq!((withdrawn.ask(), kept.ask()), (String::new(), "pod".to_owned()));
}

fn flows_that_have_nothing_to_do_with_the_port_go_on(mut world: World) {
    let [a, b] = [(); 2].map(|()| world.process());
    let other = world.neighbour();
    serve_udp(a, 53, "a");
    serve_udp(other, 5353, "abroad");
    world.attach_ok("a", a, &[("publish", "53:53/udp,5300:53/tcp")]);
    let client = Client::new(other, "10.0.0.1:53");
    assert_eq!(client.ask(), "a");
    // Through the host to a port of the same number elsewhere.
    let through = Client::new(a, "10.0.0.2:5353");
    assert_eq!(through.ask(), "abroad");
    let input = crate::common::state("b", "creating", Some(b.pid), &[("publish", "5353:53/udp")]);
    let attached = world.netns(&["-d"], &input);
    assert!(
        attached.status.success() && !stderr(&attached).contains("conntrack -D"),
        "{}",
        stderr(&attached)
    );
    world.detach_ok("b");
    assert_eq!((client.ask(), through.ask()), ("a".to_owned(), "abroad".to_owned()));
}
