//! Bridge, cable and lease in real namespaces.

use crate::common::World;

#[test]
fn an_attached_container_pings_gateway_and_neighbour_and_leaves_nothing() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    world.attach_ok("a", a, &[("publish", "8080:80")]);
    world.attach_ok("b", b, &[]);
    assert!(a.pings("172.19.0.1"), "the gateway");
    assert!(a.pings("172.19.0.3"), "the neighbour");
    world.detach_ok("a");
    world.detach_ok("b");
    world.assert_as(&before);
}
