//! The cast of the tests with ports: a container that serves, one beside it, and another host.

use super::traffic::{ask_tcp, ask_tcp_from, ask_udp, ask_udp_from, serve_tcp, serve_udp};
use super::{Process, World};

/// A host at 10.0.0.1 with two containers, and another host on the wire.
pub struct Scene {
    pub world: World,
    /// 172.19.0.2. Serves `web` on port 80 of tcp and udp, and `secret` on port 81 of both.
    pub web: Process,
    /// 172.19.0.3, on the same bridge.
    pub beside: Process,
    /// 10.0.0.2, which has no route to any container.
    pub other: Process,
}

/// Who calls, and by which address of the host.
type Way = (&'static str, Option<Process>, &'static str);

impl Scene {
    /// Sets the scene, with these ports of `web` published.
    pub fn new(mut world: World, publish: &str) -> Self {
        let (web, beside, other) = (world.process(), world.process(), world.neighbour());
        world.attach_ok("web", web, &[("publish", publish)]);
        world.attach_ok("beside", beside, &[]);
        for (port, name) in [(80, "web"), (81, "secret")] {
            serve_tcp(web, port, name);
            serve_udp(web, port, name);
        }
        Self { world, web, beside, other }
    }

    /// All the ways to a port that is published on all addresses of the host.
    pub fn ways(&self) -> [Way; 6] {
        [
            ("another host", Some(self.other), "10.0.0.1"),
            ("the host", None, "10.0.0.1"),
            ("the host by localhost", None, "127.0.0.1"),
            ("the container beside", Some(self.beside), "10.0.0.1"),
            ("the container beside, by the gateway", Some(self.beside), "172.19.0.1"),
            ("the container itself", Some(self.web), "10.0.0.1"),
        ]
    }

    /// Fails if `answer` is not what `port` of the host (`8080/udp`) says on each of the ways.
    pub fn assert_reached(&self, port: &str, answer: &str) {
        for (who, from, address) in self.ways() {
            // A packet that is lost on a busy machine is sent again.
            let reached = (0..4).any(|_| ask(from, address, port) == answer);
            assert!(reached, "{port} by {address}, asked by {who}");
        }
    }
}

impl World {
    /// Whether bridged packets pass iptables too: with `br_netfilter` a packet between two
    /// containers takes another way. Where the kernel has none they never do.
    pub fn set_bridge_netfilter(&self, on: bool) {
        for family in ["iptables", "ip6tables"] {
            let parameter = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            let _ = std::fs::write(parameter, if on { "1" } else { "0" });
        }
    }
}

/// What a server at `address` and `port` (`8080/tcp`) says to `from`, or to the host; empty if
/// nothing.
pub fn ask(from: Option<Process>, address: &str, port: &str) -> String {
    let (number, protocol) = port.split_once('/').expect("port/protocol");
    let address =
        if address.contains(':') { format!("[{address}]:{number}") } else { format!("{address}:{number}") };
    match (protocol, from) {
        ("tcp", None) => ask_tcp(&address),
        ("tcp", Some(from)) => ask_tcp_from(from, &address),
        ("udp", None) => ask_udp(&address),
        ("udp", Some(from)) => ask_udp_from(from, &address),
        _ => panic!("{protocol} is not tcp or udp"),
    }
}
