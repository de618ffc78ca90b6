//! podman's: netavark from Debian's package, told as podman tells it.

use serde_json::{Value, json};

use super::{Container, Ports, Program, Verb};
use crate::common::World;
use crate::cost::call::Call;
use crate::cost::lane::netns;

pub const PATH: &str = "/usr/lib/podman/netavark";

#[derive(Debug)]
pub struct Netavark;

fn options(container: &Container) -> Value {
    let number = container.number;
    let address = format!("10.88.{}.{}", number / 250, number % 250 + 2);
    let mapping = |(host, inside, count): (u16, u16, u16)| json!({"host_ip": "", "host_port": host, "container_port": inside, "range": count, "protocol": "tcp"});
    let mut options = json!({
        "container_id": format!("{number:064x}"), "container_name": format!("c{number}"),
        "networks": {"podman": {"static_ips": [address], "interface_name": "eth0"}},
        "network_info": {"podman": {
            "name": "podman", "id": format!("{:064x}", 1), "driver": "bridge",
            "network_interface": "podman0", "subnets": [{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}],
            "ipv6_enabled": false, "internal": false, "dns_enabled": false,
            "ipam_options": {"driver": "host-local"},
        }},
    });
    if container.ports != Ports::None {
        options["port_mappings"] = container.ports.mappings().into_iter().map(mapping).collect();
    }
    options
}

impl Program for Netavark {
    const NAME: &'static str = "netavark";

    fn prepare(&mut self, _world: &World) {
        std::fs::create_dir("/run/netavark").expect("create /run/netavark");
    }

    fn call(&self, verb: Verb, container: &Container) -> Call {
        let verb = if verb == Verb::Up { "setup" } else { "teardown" };
        let args = [PATH, "--config", "/run/netavark", verb, &netns(container.process)];
        Call::new(args, options(container).to_string())
    }

    /// It does so itself with the last container.
    fn remove_network(&self, _world: &World) {}
}
