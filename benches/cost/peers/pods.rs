//! Pods of containerd, asked for as a kubelet does. Each kind has the same containerd and the same image,
//! and differs in the plugins alone.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Cni, Container, Peer, Verb, cni};
use crate::common::kubelet::Kubelet;
use crate::common::{NETNS, World};

/// By this program with a firewall, by the chain, or without any: on the host's network.
#[derive(Debug)]
pub enum Pods {
    OnHost(Running),
    By(Cni, Running),
}

/// What has become of them.
#[derive(Debug, Default)]
pub struct Running {
    kubelet: Option<Kubelet>,
    /// The ids of those that run, by their containers' numbers.
    ids: HashMap<usize, String>,
}

impl Pods {
    fn running(&mut self) -> &mut Running {
        match self {
            Self::OnHost(running) | Self::By(_, running) => running,
        }
    }
}

impl Peer for Pods {
    fn name(&self) -> &'static str {
        match self {
            Self::OnHost(_) => "host network",
            Self::By(cni, _) => cni.name(),
        }
    }

    fn prepare(&mut self, world: &World) {
        let (plugins, networks) = (world.dir.join("plugins"), world.dir.join("networks"));
        let [bin, list] = [&plugins, &networks].map(|directory| directory.display());
        world.sh(&format!("mkdir {bin} {list}"));
        let mut env = Vec::new();
        if let Self::By(cni, _) = self {
            cni.prepare(world);
            world.sh(&match cni.ours {
                Some(_) => format!("ln -s {NETNS} {bin}/netns; ln -s netns {bin}/loopback"),
                None => format!("ln -s {}/* {bin}/", cni::PATH),
            });
            env.extend(cni.ours.map(|firewall| ("NETNS_FIREWALL", firewall)));
            let chain = cni::plugins(cni.ours.is_some());
            let list = json!({"cniVersion": cni::SPOKEN, "name": "bench", "plugins": chain});
            fs::write(networks.join("bench.conflist"), list.to_string()).expect("write a conflist");
        }
        let [plugins, networks] = [bin, list].map(|directory| directory.to_string());
        self.running().kubelet = Some(Kubelet::with(world, &plugins, &networks, &env));
    }

    fn act(&mut self, verb: Verb, container: &Container) -> Duration {
        let on_host = matches!(self, Self::OnHost(_));
        let Running { kubelet, ids } = self.running();
        let kubelet = kubelet.as_ref().expect("it is prepared");
        let name = format!("pod{}", container.number);
        let mappings = container.ports.mappings().into_iter();
        let mut words: Vec<String> = mappings.map(|(host, inside, _)| format!("{host}:{inside}")).collect();
        if on_host {
            words = vec!["host-network".to_owned()];
        }
        if verb == Verb::Up {
            let words: Vec<&str> =
                ["run", &name].into_iter().chain(words.iter().map(String::as_str)).collect();
            let (took, id) = timed(|| kubelet.ask(&words));
            ids.insert(container.number, id);
            return took;
        }
        let id = ids.remove(&container.number).expect("it was set up");
        let (took, _) = timed(|| kubelet.ask(&["stop", &id]));
        kubelet.ask(&["remove", &id]);
        took
    }

    fn remove_network(&self, world: &World) {
        world.sh("ip link del cni0");
    }
}

fn timed<T>(what: impl FnOnce() -> T) -> (Duration, T) {
    let started = Instant::now();
    let done = what();
    (started.elapsed(), done)
}
