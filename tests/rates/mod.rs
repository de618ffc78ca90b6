//! Rates: what a container receives and sends at most, measured; and nothing left of it.

mod left;
mod measured;

use serde_json::Value;

use crate::common::{Process, World};

/// What `tc` shows of what limits anything on this host.
fn shown(world: &World) -> String {
    world.sh("tc qdisc show | grep -E 'tbf|ingress' || true")
}

/// What `inspect --json` says of the container's rates: the direction, the link, and the rate.
fn inspected(world: &World, id: &str) -> Vec<(String, String, u64)> {
    let inspected: Value = serde_json::from_str(&world.netns_ok(&["inspect", id, "--json"], "")).unwrap();
    let one = |limit: &Value| {
        let text = |key: &str| limit[key].as_str().unwrap().to_owned();
        (text("direction"), text("link"), limit["bits"].as_u64().unwrap())
    };
    inspected["rates"].as_array().unwrap().iter().map(one).collect()
}

fn both(process: Process, bits: u64) -> [(String, String, u64); 2] {
    [("in", "v"), ("out", "i")]
        .map(|(way, kind)| (way.to_owned(), format!("netns{kind}0-{}", process.pid), bits))
}
