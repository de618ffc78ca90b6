//! Bridge, veth pair and lease in real namespaces.

use crate::common::World;
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;

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

#[test]
fn a_pod_reaches_the_port_that_its_second_container_publishes() {
    let Some(mut world) = World::new() else { return };
    let pod = world.process();
    world.attach_ok("pause", pod, &[]);
    world.attach_ok("web", pod, &[("publish", "8080:80")]);
    serve_tcp(pod, 80, "web");
    for on in [true, false] {
        world.set_bridge_netfilter(on);
        assert_eq!(ask(Some(pod), "172.19.0.1", "8080/tcp"), "web", "bridge-netfilter {on}");
    }
    world.detach_ok("web");
    assert!(pod.pings("172.19.0.1"), "the first container is still there");
    assert_eq!(ask(Some(pod), "172.19.0.1", "8080/tcp"), "", "the port is gone");
}

#[test]
fn a_chosen_mtu_stays_when_the_last_container_goes() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create", "--mtu", "1400"], "");
    let before = world.snapshot();
    let web = world.process();
    world.attach_ok("web", web, &[]);
    world.detach_ok("web");
    world.assert_as(&before);
}
