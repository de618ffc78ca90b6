//! A peer in a world of its own, with the containers that it serves.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};

use super::peers::{Container, Peer, Ports, Verb};
use crate::common::{Process, World};

/// The thread that measures goes from lane to lane: it enters a lane's namespaces, and all
/// that it starts there stays there.
pub struct Lane<P: Peer + ?Sized = dyn Peer> {
    pub world: World,
    namespaces: [File; 2],
    /// Those that are up and stay up.
    pub up: Vec<Container>,
    /// How many containers there have been.
    born: usize,
    pub peer: Box<P>,
}

impl<P: Peer + ?Sized> Lane<P> {
    pub fn new(mut peer: Box<P>) -> Self {
        let world = World::new().expect("a world of its own");
        let open = |name| File::open(format!("/proc/thread-self/ns/{name}")).expect("open a namespace");
        let namespaces = [open("mnt"), open("net")];
        peer.prepare(&world);
        Self { world, namespaces, up: Vec::new(), born: 0, peer }
    }

    /// Moves the calling thread here.
    pub fn enter(&self) {
        // The kernel lets nobody change roots who shares his own, as a server's thread does.
        unshare(CloneFlags::CLONE_FS).expect("a root of one's own");
        for namespace in &self.namespaces {
            setns(namespace, CloneFlags::empty()).expect("enter a lane");
        }
    }

    /// A container that has no network yet.
    pub fn newcomer(&mut self, ports: Ports) -> Container {
        self.enter();
        let process = self.world.process();
        self.peer.receive(process);
        self.born += 1;
        Container { number: self.born, process, ports }
    }

    /// How long setting up or taking down takes.
    pub fn time(&mut self, verb: Verb, container: &Container) -> Duration {
        self.enter();
        self.peer.act(verb, container)
    }

    /// One more container that stays up.
    pub fn grow(&mut self, ports: impl Fn(usize) -> Ports) {
        let container = self.newcomer(ports(self.up.len()));
        self.time(Verb::Up, &container);
        self.up.push(container);
    }

    /// Removes the network, which no container uses any more.
    pub fn remove_network(&self) {
        self.enter();
        self.peer.remove_network(&self.world);
    }

    /// Ends a container that has no network any more.
    pub fn end(&mut self, container: &Container) {
        self.world.kill(container.process);
    }
}

/// What has been started here is ended here, by its world.
impl<P: Peer + ?Sized> Drop for Lane<P> {
    fn drop(&mut self) {
        self.enter();
    }
}

/// Waits, for a bounded time, until the kernel has done away with the namespaces of those
/// that have ended: it does so afterwards, and others wait for the same locks.
pub fn settle() {
    let alive = || {
        let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
        let line = slabs.lines().find(|line| line.starts_with("net_namespace"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
    };
    let end = Instant::now() + Duration::from_secs(30);
    let mut before = None;
    while Instant::now() < end && alive() != before {
        before = alive();
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Where a container's network namespace is.
pub fn netns(process: Process) -> String {
    format!("/proc/{}/ns/net", process.pid)
}
