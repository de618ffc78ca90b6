//! The CNI plugins from Debian's package: bridge with host-local, portmap and firewall, run one
//! after the other as libcni runs them; or this program in place of all of them.

use std::collections::HashMap;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use super::{Container, Peer, Ports, Verb};
use crate::common::{NETNS, World};
use crate::cost::call::Call;
use crate::cost::lane::netns;

pub const PATH: &str = "/usr/lib/cni";
/// The version of the specification that is spoken.
pub const SPOKEN: &str = "0.4.0";

#[derive(Debug, Default)]
pub struct Cni {
    /// The firewall of this program, if it is the plugin.
    pub ours: Option<&'static str>,
    /// What the bridge plugin said of each container.
    results: HashMap<usize, Value>,
}

impl Cni {
    /// By this program with that firewall, or by the chain.
    pub fn by(ours: Option<&'static str>) -> Self {
        Self { ours, ..Self::default() }
    }
}

/// The plugins that a network has, in their order.
pub fn plugins(ours: bool) -> Vec<Value> {
    let mut bridge = json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "ipam": {"type": "host-local", "subnet": "10.89.0.0/16", "dataDir": "/run/cni-networks",
            "routes": [{"dst": "0.0.0.0/0"}]},
    });
    let capabilities = json!({"portMappings": true});
    if ours {
        (bridge["type"], bridge["capabilities"]) = ("netns".into(), capabilities);
        return vec![bridge];
    }
    vec![bridge, json!({"type": "portmap", "capabilities": capabilities}), json!({"type": "firewall"})]
}

/// The same as each is told of a container; none that there is nothing to tell.
fn chain(container: &Container, ours: bool) -> Vec<Value> {
    let mapping = |(host, inside, _): (u16, u16, u16)| json!({"hostPort": host, "containerPort": inside, "protocol": "tcp"});
    // A range is written out: portmap knows none.
    let ports = match container.ports {
        Ports::Range { first, count } => Ports::Each { first, count },
        ports => ports,
    };
    let mappings: Vec<Value> = ports.mappings().into_iter().map(mapping).collect();
    let mut chain = plugins(ours);
    chain.retain(|plugin| !mappings.is_empty() || plugin["type"] != "portmap");
    for plugin in &mut chain {
        if plugin.get("capabilities").is_some() {
            plugin["runtimeConfig"] = json!({"portMappings": mappings});
        }
        plugin["cniVersion"] = SPOKEN.into();
        plugin["name"] = "bench".into();
    }
    chain
}

/// One plugin of the chain.
fn call(verb: &str, container: &Container, plugin: &Value) -> Call {
    let name = plugin["type"].as_str().expect("a plugin's type");
    let path = if name == "netns" { NETNS.to_owned() } else { format!("{PATH}/{name}") };
    let mut call = Call::new([path], plugin.to_string());
    call.env = vec![
        ("CNI_COMMAND", verb.to_owned()),
        ("CNI_CONTAINERID", format!("{:064x}", container.number)),
        ("CNI_NETNS", netns(container.process)),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_PATH", PATH.to_owned()),
    ];
    call
}

impl Peer for Cni {
    fn name(&self) -> &'static str {
        match self.ours {
            None => "CNI",
            Some("nftables") => "netns, nftables",
            Some(_) => "netns",
        }
    }

    fn prepare(&mut self, _world: &World) {
        let none: Option<&str> = None;
        std::fs::create_dir_all("/var/lib/cni").expect("create /var/lib/cni");
        mount(Some("cni"), "/var/lib/cni", Some("tmpfs"), MsFlags::empty(), none)
            .expect("mount /var/lib/cni");
    }

    fn act(&mut self, verb: Verb, container: &Container) -> Duration {
        let mut total = Duration::ZERO;
        let mut chain = chain(container, self.ours.is_some());
        let call = |verb, plugin: &Value| {
            let mut call = call(verb, container, plugin);
            call.env.extend(self.ours.map(|firewall| ("NETNS_FIREWALL", firewall.to_owned())));
            call
        };
        if verb == Verb::Down {
            chain.reverse();
            let result = self.results.remove(&container.number).expect("it was set up");
            chain.iter_mut().for_each(|plugin| plugin["prevResult"] = result.clone());
            return chain.iter().map(|plugin| call("DEL", plugin).run().0).sum();
        }
        let mut result = Value::Null;
        for mut plugin in chain {
            if !result.is_null() {
                plugin["prevResult"] = result;
            }
            let (took, output) = call("ADD", &plugin).run();
            result = serde_json::from_slice(&output.stdout).expect("a CNI result");
            total += took;
        }
        self.results.insert(container.number, result);
        total
    }

    fn remove_network(&self, world: &World) {
        world.sh("ip link del cni0");
    }
}
