//! The floor: raw netlink in C, no lease, no record, no rule. Nobody can do it in less.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::{Container, Program, Verb};
use crate::common::{Process, World, traffic};
use crate::cost::call::Call;
use crate::cost::lane::netns;

/// With IPv6 as the kernel has it, or without, as on a host that has turned it off.
#[derive(Debug, Default)]
pub struct Floor<const IPV6: bool = true>;

/// `floor.c`, compiled once.
fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/cost/peers/floor.c");
        let program = format!("{}/floor-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let mut cc = Command::new("cc");
        cc.args(["-O2", "-Wall", "-Wextra", "-Werror", "-o", &program]).arg(source);
        assert!(cc.status().expect("run cc").success(), "cc failed");
        program
    })
}

fn turn_ipv6_off() {
    for scope in ["all", "default"] {
        let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
        std::fs::write(path, "1").expect("turn IPv6 off");
    }
}

impl<const IPV6: bool> Program for Floor<IPV6> {
    const NAME: &'static str = if IPV6 { "floor" } else { "floor without IPv6" };

    fn prepare(&mut self, _world: &World) {
        program();
        if !IPV6 {
            turn_ipv6_off();
        }
    }

    fn receive(&mut self, process: Process) {
        if !IPV6 {
            traffic::inside(process, turn_ipv6_off);
        }
    }

    fn call(&self, verb: Verb, container: &Container) -> Call {
        let number = container.number;
        let link = format!("v{number}");
        if verb == Verb::Down {
            return Call::new(["ip", "link", "del", &link], "");
        }
        let address = format!("10.99.{}.{}", number / 250, number % 250 + 2);
        Call::new([program(), "br0", &link, &netns(container.process), &address, "16", "10.99.0.1"], "")
    }

    fn remove_network(&self, world: &World) {
        world.sh("ip link del br0");
    }
}
