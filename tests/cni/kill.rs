//! Killed at any moment, and then asked to delete, as runtimes do after an `ADD` that failed.

use std::process::Command;

use serde_json::json;

use super::{Client, pod};
use crate::common::{NETNS, World, run};
use crate::kill::{CALLS, MOST};

/// Whether a call made fewer than `n` of these system calls, and so was not killed.
fn is_whole(client: &Client, command: &str, call: &str, n: usize) -> bool {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:signal=KILL:when={n}"), NETNS])
        .env("CNI_COMMAND", command)
        .envs([("CNI_CONTAINERID", "victim"), ("CNI_NETNS", "/run/netns/victim"), ("CNI_IFNAME", "eth0")]);
    let output = run(&mut strace, &client.config.to_string());
    output.status.success() && output.stderr.is_empty()
}

#[test]
fn a_call_killed_anywhere_leaves_nothing_that_the_next_one_does_not_delete() {
    let Some(mut world) = World::new() else { return };
    world.use_firewall("nftables");
    world.netns_ok(&["create", "--bridge", "front0", "--ip", "10.88.0.1/24"], "");
    pod(&world, "victim");
    pod(&world, "bystander");
    Client::new("1.1.0").add("bystander", "eth0");
    let ports = json!({"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}});
    let client = Client::new("1.1.0").with(&ports);
    let valid = json!([{"containerID": "bystander", "ifname": "eth0"}]);
    let collect = client.with(&json!({"cni.dev/valid-attachments": valid}));
    let before = world.snapshot();
    let mut kills = 0;
    for call in CALLS {
        for (command, asked) in [("ADD", &client), ("DEL", &client), ("CHECK", &client), ("GC", &collect)] {
            for n in 1..MOST {
                if command != "ADD" {
                    client.add("victim", "eth0");
                }
                let whole = is_whole(asked, command, call, n);
                match command {
                    "GC" => assert_eq!(collect.call("GC", &[]), (true, serde_json::Value::Null)),
                    _ => client.del("victim", "eth0"),
                }
                world.assert_as(&before);
                if whole {
                    break;
                }
                kills += 1;
            }
        }
    }
    eprintln!("{kills} kills");
    assert!(kills > 100, "only {kills} kills");
}
