//! Names that a container shall not have: of the files of another, and of links of the host.

use std::fs;

use netns::model::container::ContainerId;

use crate::common::{World, state, stderr};

#[test]
fn whoever_has_the_key_of_another_gets_nothing_of_it() {
    let Some(mut world) = World::new() else { return };
    let (victim, other) = (world.process(), world.process());
    world.attach_ok("victim", victim, &[("publish", "8080:80")]);
    // As if somebody had found an id with the same hash.
    let key = |id: &str| {
        let state: serde_json::Value = serde_json::from_str(&state(id, "stopped", None, &[])).unwrap();
        let bundle = state["bundle"].as_str().unwrap_or_default().into();
        ContainerId { id: id.to_owned(), bundle }.key().as_str().to_owned()
    };
    let own = world.record("victim");
    assert!(own.contains(&key("victim")), "{own} is of {}", key("victim"));
    fs::copy(&own, own.replace(&key("victim"), &key("thief"))).unwrap();
    let before = world.snapshot();
    for output in [world.detach("thief"), world.attach("thief", other, &[])] {
        let said = stderr(&output);
        assert!(said.contains("find container thief: container victim of bundle "), "{said}");
    }
    world.assert_as(&before);
}

#[test]
fn a_link_whose_name_is_taken_gets_another_however_many_are() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    let web = ContainerId { id: "web".to_owned(), bundle: "".into() };
    let first = web.hash() ^ "eth0".bytes().map(u128::from).sum::<u128>();
    // Those that are tried first, and those that were before.
    let taken = (0..20).map(|at| first.wrapping_add(at)).chain((1..4).map(|at| first >> (28 * at)));
    let taken = taken.map(|name| format!("netnsv0-{:07x}", name & 0x0fff_ffff));
    for name in taken.chain([format!("netnsv0-{}", container.pid)]) {
        world.sh(&format!("ip link add {name} type bridge"));
    }
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    world.netns_ok(&["attach", &container.pid.to_string(), "--id", "web"], "");
    assert!(container.pings("172.19.0.1"));
    world.netns_ok(&["detach", "web"], "");
    world.assert_as(&before);
}
