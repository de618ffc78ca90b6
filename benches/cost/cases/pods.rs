//! Whole pods, as a kubelet asks containerd for them: what of that the network is.

use std::path::Path;

use super::{POD_RUN, POD_STOP, thousands, up_and_down};
use crate::common::kubelet::Kubelet;
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{CNI_PLUGINS, Cni, Pods, Ports, Running, Verb};
use crate::cost::race::{fill, measure};
use crate::cost::table::Table;

/// Each pod has a process of containerd's and one of its own, in each lane.
const MOST: usize = 50;

pub fn run(scale: &Scale) -> Vec<Table> {
    if !Kubelet::is_possible() {
        return Vec::new();
    }
    let by = |ours| Pods::By(Cni::by(ours), Running::default());
    let mut pods = vec![Pods::OnHost(Running::default()), by(Some("iptables")), by(Some("nftables"))];
    if Path::new(CNI_PLUGINS).exists() {
        pods.push(by(None));
    }
    let mut lanes: Vec<Lane<Pods>> = pods.into_iter().map(Box::new).map(Lane::new).collect();
    let mut rows = Vec::new();
    for size in [1, scale.peers_up_to.min(MOST)] {
        eprintln!("  {} pods up", thousands(size));
        fill(&mut lanes, size, |n| Ports::one(10_000 + n));
        rows.push((thousands(size), measure(&mut lanes, scale.rounds, Ports::one(40_000))));
    }
    // Their programs are containerd's, and would outlive it.
    for lane in &mut lanes {
        for container in std::mem::take(&mut lane.up) {
            lane.time(Verb::Down, &container);
        }
    }
    let note = "One pod more, with one host port: RunPodSandbox and StopPodSandbox of containerd, whose cost \
                without a network is that on the host's. CNI is bridge with host-local, portmap and firewall.";
    up_and_down([POD_RUN, POD_STOP], note, "pods up", &rows).into()
}
