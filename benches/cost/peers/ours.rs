//! This project's hook, told as a runtime tells it.

use std::fs;

use super::{Container, Ports, Program, Verb};
use crate::common::{NETNS, World};
use crate::cost::call::Call;

/// With its rules in iptables or in nftables.
#[derive(Debug, Default)]
pub struct Ours<const NFTABLES: bool = false> {
    /// Whether there is no bundle, and so no `.ip` file: the `openat2(2)` that opens it is
    /// unknown to the valgrind of Debian 12.
    pub without_bundle: bool,
    /// The networks by name that each container is attached to; the default one where it is empty.
    pub networks: &'static str,
}

/// Where the networks by name are defined.
const DEFINITIONS: &str = "/run/test/netns-hook.toml";

/// The grammar of `--publish`.
fn publish(ports: Ports) -> String {
    let spec = |(host, inside, count): (u16, u16, u16)| match count {
        1 => format!("{host}:{inside}"),
        _ => format!("{host}-{}:{inside}-{}", host + count - 1, inside + count - 1),
    };
    ports.mappings().into_iter().map(spec).collect::<Vec<_>>().join(",")
}

impl<const NFTABLES: bool> Program for Ours<NFTABLES> {
    const NAME: &'static str = if NFTABLES { "netns, nftables" } else { "netns" };

    fn prepare(&mut self, _world: &World) {
        if !self.networks.is_empty() {
            fs::write(DEFINITIONS, include_str!("networks.toml")).expect("define networks");
        }
    }

    fn call(&self, verb: Verb, container: &Container) -> Call {
        let bundle = if self.without_bundle { "" } else { "/run/test" };
        let mut state = serde_json::json!({
            "ociVersion": "1.0.2", "id": format!("c{}", container.number), "bundle": bundle,
            "status": if verb == Verb::Up { "creating" } else { "stopped" },
        });
        if verb == Verb::Up {
            state["pid"] = container.process.pid.into();
        }
        if container.ports != Ports::None {
            state["annotations"]["org.netns.publish"] = publish(container.ports).into();
        }
        let mut call = Call::new([NETNS], state.to_string());
        call.env.extend(NFTABLES.then(|| ("NETNS_FIREWALL", "nftables".to_owned())));
        if !self.networks.is_empty() {
            call.env.push(("NETNS_CONFIG", DEFINITIONS.to_owned()));
            call.env.push(("NETNS_NETWORK", self.networks.to_owned()));
        }
        call
    }

    fn remove_network(&self, world: &World) {
        world.netns_ok(&["rm"], "");
    }
}
