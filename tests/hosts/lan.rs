//! Three hosts on one wire, each with a bridge of the same network and a container of runc, a router
//! that leads to the rest of the world, and somebody on the wire who means no good.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use crate::common::traffic::inside;
use crate::common::{NETNS, Process, World, stderr, wait_for};

/// What a host has in these tests, by its number.
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// Addresses that only the router knows, of each family.
const OUTSIDE: [&str; 2] = ["203.0.113.1", "2001:db8:9::1"];

/// The wire, and who is on it.
pub struct Lan {
    pub world: World,
    pub hosts: Vec<Host>,
    pub attacker: Process,
    /// Of every interface of the network.
    pub mtu: u32,
}

/// A host: network and mount namespaces, and a `/run` of its own, which has the test's directory.
pub struct Host {
    pub process: Process,
    /// From 1 on: 192.168.0.N on the wire, 10.8.N.0/24 and fd00:8:0:N::/64 for containers.
    pub number: usize,
    /// The process of its container, once there is one.
    pub container: Option<Process>,
    config: String,
    nftables: bool,
}

impl Host {
    pub fn wire(&self, ipv6: bool) -> String {
        if ipv6 { format!("fd00:a::{}", self.number) } else { format!("192.168.0.{}", self.number) }
    }

    /// An address in its subnet: 1 is the gateway's, 2 the container's.
    pub fn address(&self, host: u8, ipv6: bool) -> String {
        let number = self.number;
        if ipv6 { format!("fd00:8:0:{number}::{host}") } else { format!("10.8.{number}.{host}") }
    }

    pub fn subnet(&self, ipv6: bool) -> String {
        let number = self.number;
        if ipv6 { format!("fd00:8:0:{number}::/64") } else { format!("10.8.{number}.0/24") }
    }

    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.process.pid.to_string(), "-n", "-m", program]);
        command
    }

    /// A program that goes on until the test ends.
    pub fn start(&self, world: &mut World, program: &str, args: &[&str]) -> u32 {
        let mut command = self.enter(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        world.keep(command.spawn().expect("start a program"))
    }

    pub fn try_sh(&self, command: &str) -> Output {
        let command = format!("PATH=$PATH:/usr/sbin:/sbin; {command}");
        self.enter("sh").args(["-c", &command]).stdin(Stdio::null()).output().expect("run nsenter")
    }

    pub fn sh(&self, command: &str) -> String {
        let output = self.try_sh(command);
        assert!(output.status.success(), "host {}: {command}: {}", self.number, stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// `netns` on this host; every test has its own configuration on each.
    pub fn netns(&self, args: &str) -> Output {
        self.try_sh(&format!("{NETNS} {} {args}", self.flags().join(" ")))
    }

    pub fn netns_ok(&self, args: &str) -> String {
        self.sh(&format!("{NETNS} {} {args}", self.flags().join(" ")))
    }

    fn flags(&self) -> [String; 1] {
        [format!("--config={}", self.config)]
    }

    /// Writes the configuration.
    pub fn configure(&self, text: &str) {
        let firewall = if self.nftables { "firewall = 'nftables'\n" } else { "" };
        let text = format!("{firewall}{text}");
        fs::write(&self.config, text.replace('\'', "\"")).expect("write a configuration");
    }
}

impl Lan {
    /// The wire and the hosts, on which there is nothing else yet.
    pub fn new(mut world: World) -> Self {
        // Here is only the switch, whose packets nobody filters.
        world.sh("ip link add lan type bridge && ip link set lan up");
        let hosts: Vec<Host> = (1..=NAMES.len()).map(|number| host(&mut world, number)).collect();
        let (router, attacker) = (world.process(), world.process());
        let ends = hosts.iter().map(|host| (host.process, host.number));
        for (process, number) in ends.chain([(router, 9), (attacker, 66)]) {
            plug(&world, process, number);
        }
        for host in &hosts {
            host.sh("ip route add default via 192.168.0.9 && ip -6 route add default via fd00:a::9");
        }
        let [outside, outside6] = OUTSIDE;
        router.sh(&format!("ip addr add {outside}/32 dev lo && ip addr add {outside6}/128 dev lo nodad"));
        tell_callers(router, 80);
        Self { world, hosts, attacker, mtu: 1500 }
    }

    /// Gives every host its container, which publishes port 80 as 8080, and runs the servers in it.
    pub fn start_containers(&mut self) {
        self.start_containers_with("8080:80");
    }

    pub fn start_containers_with(&mut self, publish: &str) {
        for host in &mut self.hosts {
            let id = NAMES[host.number - 1];
            let [v4, v6] = [false, true].map(|ipv6| host.address(2, ipv6));
            self.world.flags =
                vec![format!("--config={}", host.config), format!("--network=flat:ip={v4},ip={v6}")];
            let bundle = self.world.bundle(id, &["createRuntime", "poststop"], publish);
            let log = format!("/run/test/{id}.log");
            let run = format!("runc --root /run/runc run -d -b {} {id} >{log} 2>&1", bundle.display());
            let output = host.try_sh(&format!("timeout -s KILL 60 {run}"));
            assert!(output.status.success(), "runc run {id}: {}", fs::read_to_string(log).unwrap());
            let state = host.sh(&format!("runc --root /run/runc state {id}"));
            let state: serde_json::Value = serde_json::from_str(&state).expect("runc state");
            let container = Process { pid: state["pid"].as_u64().expect("pid") as u32 };
            for port in [80, 81] {
                tell_callers(container, port);
            }
            host.container = Some(container);
        }
    }

    /// Ends a host's container as its engine would.
    pub fn delete_container(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if host.container.take().is_some() {
            host.sh(&format!("runc --root /run/runc delete --force {}", NAMES[at]));
        }
    }

    /// Every host with every other one.
    pub fn pairs(&self) -> impl Iterator<Item = (&Host, &Host)> {
        let others = |one: &Host| {
            self.hosts.iter().filter(move |other| other.number != one.number).collect::<Vec<_>>()
        };
        self.hosts.iter().flat_map(move |one| others(one).into_iter().map(move |other| (one, other)))
    }

    /// Containers of all hosts reach each other as on one network, and see each other's addresses.
    pub fn assert_one_network(&self, ipv6: bool) {
        for (from, to) in self.pairs() {
            let (caller, own) = (from.container.unwrap(), from.address(2, ipv6));
            let there = to.address(2, ipv6);
            let who = format!("{} to {}", from.number, to.number);
            assert!(caller.pings(&there), "ping {who}");
            assert_eq!(seen(caller, &there, 80), own, "a published port's own address, {who}");
            assert_eq!(seen(caller, &there, 81), own, "another port, {who}");
            assert_eq!(seen(caller, &to.address(1, ipv6), 8080), own, "published, by the gateway, {who}");
            assert_eq!(seen(caller, &to.wire(ipv6), 8080), from.wire(ipv6), "published, by the host, {who}");
        }
        self.assert_nothing_is_fragmented(ipv6);
    }

    /// What fits the interface passes as it is.
    fn assert_nothing_is_fragmented(&self, ipv6: bool) {
        let size = self.mtu as usize - if ipv6 { 48 } else { 28 };
        let pass = |from: &Host, to: &Host, size| {
            let got = Received::start(to.container.unwrap());
            send(from.container.unwrap(), None, &to.address(2, ipv6), got.port, size);
            wait_for("a large datagram", || got.all().iter().any(|(_, got)| *got == size));
        };
        let before = self.fragments();
        for (from, to) in self.pairs() {
            assert!(from.container.unwrap().sh("ip link show eth0").contains(&format!("mtu {} ", self.mtu)));
            pass(from, to, size);
        }
        assert_eq!(self.fragments(), before);
        pass(&self.hosts[0], &self.hosts[1], size + 1);
        assert_ne!(self.fragments(), before, "what does not fit");
    }

    /// What all hosts and containers count of fragments.
    fn fragments(&self) -> Vec<String> {
        let all = self.hosts.iter().flat_map(|host| [host.process, host.container.unwrap()]);
        all.map(|process| process.sh("grep ^Ip: /proc/net/snmp | tail -n 1 | cut -d' ' -f15-20; grep -E 'Ip6(Frag|Reasm)' /proc/net/snmp6")).collect()
    }

    /// What a host's container sees of the rest of the world: as who it is known there.
    pub fn seen_outside(&self, host: &Host, ipv6: bool) -> String {
        seen(host.container.unwrap(), OUTSIDE[usize::from(ipv6)], 80)
    }

    /// The rest of the world sees the host's address.
    pub fn assert_masqueraded(&self, ipv6: bool) {
        for host in &self.hosts {
            assert_eq!(self.seen_outside(host, ipv6), host.wire(ipv6), "host {}", host.number);
        }
    }

    /// Somebody on the wire, who sends what is for containers to their hosts, under any address, reaches
    /// published ports and nothing else: from nobody but from these `peers` of a host anything arrives,
    /// and nobody who is not there gets an answer.
    pub fn assert_guarded(&self, ipv6: bool, peers: impl Fn(&Host) -> Vec<String>) {
        let attacker = self.attacker;
        for host in &self.hosts {
            let (there, container) = (host.address(2, ipv6), host.container.unwrap());
            attacker.sh(&format!("ip route replace {} via {}", host.subnet(ipv6), host.wire(ipv6)));
            for port in [80, 81] {
                assert_eq!(seen(attacker, &there, port), "", "port {port} of host {}", host.number);
            }
            let own = if ipv6 { "fd00:a::66" } else { "192.168.0.66" };
            assert_eq!(seen(attacker, &host.wire(ipv6), 8080), own, "published on host {}", host.number);
            let nobody = if ipv6 { "fd00:8:0:99::5" } else { "10.8.99.5" };
            let all = self.hosts.iter().map(|host| host.address(200, ipv6));
            let forged: Vec<String> = all.chain([nobody.to_owned()]).collect();
            let got = Received::start(container);
            for source in &forged {
                attacker.sh(&format!("ip addr replace {source} dev lo nodad"));
                send(attacker, Some(source), &there, got.port, 10);
            }
            send(attacker, None, &there, got.port, 10);
            // What comes last, from a neighbour that may.
            let other = self.pairs().find(|(_, to)| to.number == host.number).map(|(from, _)| from).unwrap();
            send(other.container.unwrap(), None, &there, got.port, 20);
            wait_for("the neighbour's", || got.all().iter().any(|(_, size)| *size == 20));
            let mut arrived: Vec<String> =
                got.all().into_iter().filter(|(_, size)| *size == 10).map(|(source, _)| source).collect();
            arrived.sort();
            arrived.dedup();
            assert_eq!(arrived, peers(host), "host {}", host.number);
            for source in forged {
                attacker.sh(&format!("ip addr del {source} dev lo"));
            }
        }
    }

    /// The addresses of the other hosts' containers that somebody on their wire may forge.
    pub fn forgeable(&self, of: &Host, ipv6: bool) -> Vec<String> {
        let others = self.hosts.iter().filter(|host| host.number != of.number);
        others.map(|host| host.address(200, ipv6)).collect()
    }

    /// Removes a host's guards: what they keep out arrives.
    pub fn assert_open_without_guard(&self) {
        let host = &self.hosts[0];
        let got = Received::start(host.container.unwrap());
        let flush =
            if host.nftables { "nft flush chain ip netns guard" } else { "iptables -t raw -F NETNS-GUARD" };
        host.sh(flush);
        send(self.attacker, None, &host.address(2, false), got.port, 10);
        wait_for("what the guard would drop", || got.all().contains(&("192.168.0.66".to_owned(), 10)));
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for (host, name) in self.hosts.iter().zip(NAMES) {
            let _ = host.try_sh(&format!("timeout -s KILL 60 runc --root /run/runc delete --force {name}"));
        }
    }
}

fn host(world: &mut World, number: usize) -> Host {
    let id = NAMES[number - 1];
    let run = "mount --bind /run/test /mnt && mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/test && \
               mount --move /mnt /run/test && ip link set lo up && touch /run/ready && exec sleep 3000";
    let child = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", "private", "sh", "-c", run])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("start a host");
    let process = Process { pid: world.keep(child) };
    wait_for("a host", || fs::exists(format!("/proc/{}/root/run/ready", process.pid)).unwrap_or_default());
    let nftables = world.is_on_nftables();
    Host { process, number, container: None, config: format!("/run/test/{id}.toml"), nftables }
}

/// Connects a host to the wire, as 192.168.0.N and fd00:a::N.
fn plug(world: &World, process: Process, number: usize) {
    let pid = process.pid;
    world.sh(&format!(
        "ip link add lan{number} type veth peer name wire netns {pid} && ip link set lan{number} master lan up"
    ));
    process.sh(&format!(
        "ip link set lo up; ip addr add 192.168.0.{number}/24 dev wire && ip link set wire up &&
         ip addr add fd00:a::{number}/64 dev wire nodad"
    ));
}

/// Tells everybody who connects by which address they came.
fn tell_callers(process: Process, port: u16) {
    let listener = inside(process, move || TcpListener::bind(("::", port)).expect("listen"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let caller = stream.peer_addr().map(|caller| caller.ip().to_canonical().to_string());
            let _ = stream.write_all(caller.unwrap_or_default().as_bytes());
        }
    });
}

/// As who `process` is seen at an address and port; empty if it is not let in.
pub fn seen(process: Process, address: &str, port: u16) -> String {
    let to: SocketAddr = SocketAddr::new(address.parse().expect("an address"), port);
    inside(process, move || {
        let mut said = String::new();
        let patience = std::time::Duration::from_millis(1200);
        if let Ok(mut stream) = TcpStream::connect_timeout(&to, patience) {
            let _ = stream.set_read_timeout(Some(patience));
            let _ = stream.read_to_string(&mut said);
        }
        said
    })
}

/// Sends a datagram of so many bytes, from an address that may be anybody's.
pub fn send(process: Process, source: Option<&str>, address: &str, port: u16, bytes: usize) {
    let to: SocketAddr = SocketAddr::new(address.parse().expect("an address"), port);
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let source = SocketAddr::new(source.unwrap_or(any).parse().expect("an address"), 0);
    inside(process, move || {
        let socket = UdpSocket::bind(source).expect("bind");
        for _ in 0..3 {
            let _ = socket.send_to(&vec![b'x'; bytes], to);
        }
    });
}

/// What arrives at a port: from whom, and of how many bytes.
pub struct Received {
    pub port: u16,
    got: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Received {
    pub fn start(process: Process) -> Self {
        let socket = inside(process, move || UdpSocket::bind(("::", 0)).expect("bind"));
        let port = socket.local_addr().expect("a port").port();
        let received = Self { port, got: Arc::default() };
        let got = Arc::clone(&received.got);
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((n, from)) = socket.recv_from(&mut buffer) {
                got.lock().unwrap().push((from.ip().to_canonical().to_string(), n));
            }
        });
        received
    }

    pub fn all(&self) -> Vec<(String, usize)> {
        self.got.lock().unwrap().clone()
    }
}
