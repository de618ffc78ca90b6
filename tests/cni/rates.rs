//! The capability `bandwidth`, and the keys of the plugin `bandwidth`.

use serde_json::{Value, json};

use super::{Client, pod};
use crate::common::World;

/// A pod's two queues as they were made: that of what goes to it, and that of what it sends. `CHECK`
/// compares them with the kernel's.
fn rates(world: &World) -> [String; 2] {
    let inspected: Value = serde_json::from_str(&world.netns_ok(&["inspect", "web", "--json"], "")).unwrap();
    ["netnsv0", "netnsi0"].map(|name| {
        let steps = inspected["steps"].as_array().unwrap().iter().map(|step| step.as_str().unwrap());
        let of = |step: &&str| step.contains(&format!("dev {name}-")) && step.contains(" root tbf ");
        let words: Vec<&str> = steps.filter(of).flat_map(|step| step.split(' ')).collect();
        words.get(8..11).map_or_else(String::new, |words| format!("{} {}", words[0], words[2]))
    })
}

#[test]
fn a_pod_has_the_bandwidth_that_its_runtime_or_its_network_gives_it() {
    let Some(world) = World::new() else { return };
    world.netns_ok(&["create", "--bridge", "front0", "--ip", "10.88.0.1/24"], "");
    pod(&world, "web");
    let before = world.snapshot();
    let runtime = |keys: Value| json!({"runtimeConfig": {"bandwidth": keys}});
    // What containerd gives a burst that nobody has chosen.
    let most = u64::from(u32::MAX);
    for (keys, expected) in [
        (
            runtime(json!({"ingressRate": 10_000_000, "egressRate": 5_000_000})),
            ["10mbit 32768b", "5mbit 32768b"],
        ),
        (runtime(json!({"ingressRate": 800_000_000, "ingressBurst": 8_388_608})), ["800mbit 1048576b", ""]),
        (
            runtime(
                json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": 1_000_000_000_u64, "egressBurst": most}),
            ),
            ["", "1gbit 536870911b"],
        ),
        (json!({"ingressRate": 8_000_000, "ingressBurst": 1_048_576}), ["8mbit 131072b", ""]),
        (
            json!({"egressRate": 8_000_000, "runtimeConfig": {"bandwidth": {"egressRate": 1_000_000}}}),
            ["", "8mbit 32768b"],
        ),
        (runtime(json!({"ingressRate": 0})), ["", ""]),
        (runtime(Value::Null), ["", ""]),
    ] {
        let client = Client::new("1.0.0").with(&keys);
        client.add("web", "eth0");
        assert_eq!(rates(&world), expected.map(str::to_owned), "{keys}");
        assert_eq!(client.of_pod("CHECK", "web", "eth0"), (true, Value::Null));
        client.del("web", "eth0");
        world.assert_as(&before);
    }
}

#[test]
fn a_check_says_which_rate_is_not_as_it_was_made() {
    let Some(world) = World::new() else { return };
    let bandwidth = json!({"ingressRate": 10_000_000, "egressRate": 5_000_000});
    let client = Client::new("1.0.0").with(&json!({"runtimeConfig": {"bandwidth": bandwidth}}));
    for (harm, told) in [
        ("tc qdisc del dev $V root", "tbf rate 10mbit"),
        ("tc qdisc replace dev $I root tbf rate 1gbit burst 64kb limit 1mb", "tbf rate 5mbit"),
        ("tc qdisc del dev $V ingress", "mirred egress redirect"),
        ("ip link set $I down", "type ifb"),
        ("ip link del $I", "type ifb"),
    ] {
        pod(&world, "web");
        client.add("web", "eth0");
        assert_eq!(client.of_pod("CHECK", "web", "eth0"), (true, Value::Null));
        let end = "$(ip -br link | grep -o 'netnsKIND0-[^@ ]*')";
        world.sh(&format!("V={}; I={}; {harm}", end.replace("KIND", "v"), end.replace("KIND", "i")));
        let (done, error) = client.of_pod("CHECK", "web", "eth0");
        assert!(!done && error.to_string().contains(told), "{harm}: {error}");
        client.del("web", "eth0");
        world.sh("ip netns del web");
        assert!(world.links().iter().all(|link| !link.starts_with("netnsi0-")));
    }
}
