//! Who is measured, and how each of them is told what to do.

mod cni;
mod floor;
mod netavark;
mod ours;
mod pods;

use std::path::Path;
use std::time::Duration;

pub use cni::{Cni, PATH as CNI_PLUGINS};
pub use floor::Floor;
pub use netavark::Netavark;
pub use ours::Ours;
pub use pods::{Pods, Running};

use super::call::Call;
use crate::common::{Process, World};

/// What is done for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Up,
    Down,
}

/// One container of a lane.
#[derive(Debug, Clone, Copy)]
pub struct Container {
    /// From 1, in the order of birth.
    pub number: usize,
    pub process: Process,
    pub ports: Ports,
}

/// The ports that a container publishes: `first` of the host leads to port 80 of the
/// container, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    None,
    /// One by one.
    Each {
        first: u16,
        count: u16,
    },
    /// As one range.
    Range {
        first: u16,
        count: u16,
    },
}

impl Ports {
    pub fn one(first: usize) -> Self {
        Self::each(first, 1)
    }

    pub fn each(first: usize, count: u16) -> Self {
        Self::Each { first: first.try_into().expect("a port"), count }
    }

    /// As many other ports for the `n`th container beside this one.
    pub fn nth(self, n: usize) -> Self {
        let after = |first: u16, count: u16| first + count * u16::try_from(n).expect("a port");
        match self {
            Self::None => Self::None,
            Self::Each { first, count } => Self::Each { first: after(first, count), count },
            Self::Range { first, count } => Self::Range { first: after(first, count), count },
        }
    }

    /// Ports of the host and of the container, and how many from there on.
    fn mappings(self) -> Vec<(u16, u16, u16)> {
        match self {
            Self::None => Vec::new(),
            Self::Each { first, count } => (0..count).map(|n| (first + n, 80 + n, 1)).collect(),
            Self::Range { first, count } => vec![(first, 80, count)],
        }
    }
}

/// Something that gives containers their network.
pub trait Peer {
    fn name(&self) -> &'static str;

    /// Readies its world, once.
    fn prepare(&mut self, _world: &World) {}

    /// Readies a container that is to come.
    fn receive(&mut self, _process: Process) {}

    /// Sets up or takes down. The time is that of the programs alone.
    fn act(&mut self, verb: Verb, container: &Container) -> Duration;

    /// Removes the network, which no container uses any more: the next is the first again.
    fn remove_network(&self, world: &World);
}

/// A [`Peer`] that is one program, run once for each container.
pub trait Program {
    const NAME: &'static str;

    fn call(&self, verb: Verb, container: &Container) -> Call;

    fn prepare(&mut self, _world: &World) {}

    fn receive(&mut self, _process: Process) {}

    fn remove_network(&self, world: &World);
}

impl<P: Program> Peer for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn prepare(&mut self, world: &World) {
        Program::prepare(self, world);
    }

    fn receive(&mut self, process: Process) {
        Program::receive(self, process);
    }

    fn act(&mut self, verb: Verb, container: &Container) -> Duration {
        self.call(verb, container).run().0
    }

    fn remove_network(&self, world: &World) {
        Program::remove_network(self, world);
    }
}

/// The floor, and this program with either firewall.
pub fn floor_and_ours() -> [Box<dyn Peer>; 3] {
    [Box::new(Floor::<true>), Box::new(Ours::<false>::default()), Box::new(Ours::<true>::default())]
}

/// Those of Debian's packages that are installed.
pub fn others() -> Vec<Box<dyn Peer>> {
    let mut others: Vec<Box<dyn Peer>> = Vec::new();
    let mut add = |path: &str, peer: Box<dyn Peer>| {
        if Path::new(path).exists() {
            others.push(peer);
        } else {
            crate::common::skip(&format!("{path} is not installed"));
        }
    };
    add(netavark::PATH, Box::new(Netavark));
    add(cni::PATH, Box::<Cni>::default());
    others
}

/// The versions of those that are measured, in their own words.
pub fn versions() -> Vec<String> {
    let package = |name: &str, package: &str| {
        let call = Call::new(["dpkg-query", "-W", "-f", "${Version}", package], "");
        let version = String::from_utf8_lossy(&call.run().1.stdout).into_owned();
        format!("{name} {version}")
    };
    vec![
        package("iptables", "iptables"),
        package("netavark", "netavark"),
        package("CNI plugins", "containernetworking-plugins"),
        package("containerd", "containerd"),
    ]
}
