//! The CNI door: what clients ask by `CNI_COMMAND`, and what they are answered.

mod answers;
mod beside;
mod clients;
mod errors;
mod kill;
mod kubelet;
mod lifecycle;
mod rates;

use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::common::{NETNS, World};

/// A client of one network.
struct Client {
    /// The network configuration; what a call needs besides is laid over it.
    config: Value,
}

impl Client {
    /// Of a network as a configuration of the plugins `bridge`, `host-local` and `portmap` has it.
    fn new(version: &str) -> Self {
        Self {
            config: json!({
                "cniVersion": version, "name": "front", "type": "netns", "bridge": "front0",
                "isGateway": true, "ipMasq": true, "hairpinMode": true, "somebodyElses": {"key": 7},
                "ipam": {
                    "type": "host-local", "dataDir": "/nowhere", "routes": [{"dst": "0.0.0.0/0"}],
                    "ranges": [[{"subnet": "10.88.0.0/24", "gateway": "10.88.0.1"}]],
                },
            }),
        }
    }

    /// The same, with these keys over its own.
    fn with(&self, keys: &Value) -> Self {
        let mut config = self.config.clone();
        for (key, value) in keys.as_object().expect("an object") {
            config[key] = value.clone();
        }
        Self { config }
    }

    /// What is answered, and whether the exit status says that it is a result.
    fn call(&self, command: &str, variables: &[(&str, &str)]) -> (bool, Value) {
        call(command, variables, &self.config.to_string())
    }

    /// The same for one interface of a pod, whose namespace is called as it is.
    fn of_pod(&self, command: &str, pod: &str, interface: &str) -> (bool, Value) {
        answer(self.start(command, pod, interface))
    }

    /// The same, not waited for.
    fn start(&self, command: &str, pod: &str, interface: &str) -> Child {
        let netns = format!("/run/netns/{pod}");
        let variables = [("CNI_CONTAINERID", pod), ("CNI_NETNS", &netns), ("CNI_IFNAME", interface)];
        start(command, &variables, &self.config.to_string())
    }

    fn add(&self, pod: &str, interface: &str) -> Value {
        let (done, result) = self.of_pod("ADD", pod, interface);
        assert!(done, "{result}");
        result
    }

    fn del(&self, pod: &str, interface: &str) {
        assert_eq!(self.of_pod("DEL", pod, interface), (true, Value::Null));
    }
}

/// One call with nothing else in the environment.
fn call(command: &str, variables: &[(&str, &str)], input: &str) -> (bool, Value) {
    answer(start(command, variables, input))
}

/// The same, not waited for.
fn start(command: &str, variables: &[(&str, &str)], input: &str) -> Child {
    let mut program = Command::new(NETNS);
    program.env_clear().env("CNI_COMMAND", command).env("CNI_PATH", "/opt/cni/bin");
    program.envs(variables.iter().copied());
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().expect("start the plugin");
    // It may refuse before it has read everything.
    let _ = child.stdin.take().expect("stdin").write_all(input.as_bytes());
    child
}

/// What a call is answered in the end.
fn answer(call: Child) -> (bool, Value) {
    let output = call.wait_with_output().expect("wait for the plugin");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let answer = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect(&text) };
    (output.status.success(), answer)
}

/// A network namespace that is called `name`, as a container runtime makes one before it asks.
fn pod(world: &World, name: &str) {
    world.sh(&format!("ip netns add {name}"));
}

/// What a program prints in a pod.
fn inside(world: &World, pod: &str, command: &str) -> String {
    world.sh(&format!("ip netns exec {pod} {command}"))
}

fn pings(world: &World, pod: &str, address: &str) -> bool {
    world.try_sh(&format!("ip netns exec {pod} busybox ping -c 1 -W 2 {address}")).status.success()
}
