//! Bridges, veth pairs, interfaces.

use super::{Case, run_remedy, ward};
use crate::common::scene::{Scene, ask};
use crate::common::{World, wait_for};

fn scene() -> Option<Scene> {
    Some(ward(World::new()?, "8080:80,127.0.0.1:8181:81"))
}

/// Whether everything flows, from within and from outside.
fn flows(scene: &Scene) -> bool {
    let host = ask(None, "127.0.0.1", "8181/tcp") == "secret";
    host && ask(Some(scene.other), "10.0.0.1", "8080/tcp") == "web"
        && scene.web.try_sh("busybox ping -c 1 -W 1 10.0.0.2").status.success()
}

fn is_known(check: &str, harm: impl Fn(&Scene) -> String) {
    let Some(scene) = scene() else { return };
    let harm = harm(&scene);
    let case = Case { world: &scene.world, check, args: &[], harm: &harm, flows: || flows(&scene) };
    case.is_remedied();
    case.is_fixed();
}

#[test]
fn a_bridge_that_is_down() {
    is_known("bridge-broken", |_| "ip link set netns0 down".to_owned());
}

#[test]
fn a_bridge_that_has_lost_its_address() {
    is_known("bridge-broken", |_| "ip addr flush dev netns0".to_owned());
}

#[test]
fn a_bridge_that_is_down_and_has_lost_its_address() {
    is_known("bridge-broken", |_| "ip addr flush dev netns0; ip link set netns0 down".to_owned());
}

#[test]
fn a_bridge_that_is_gone() {
    is_known("bridge-broken", |_| "ip link del netns0".to_owned());
}

#[test]
fn a_bridge_whose_name_another_link_has() {
    let Some(scene) = scene() else { return };
    let harm = "ip link del netns0; ip link add netns0 type veth peer name netns1; ip link set netns0 up";
    let case = Case { world: &scene.world, check: "bridge-broken", args: &[], harm, flows: || flows(&scene) };
    let finding = case.is_remedied();
    assert_eq!(finding["fixable"], false, "it is somebody else's link");
}

#[test]
fn a_host_end_that_is_no_port_of_the_bridge() {
    is_known("veth-broken", |scene| format!("ip link set netnsv0-{} nomaster", scene.web.pid));
}

#[test]
fn a_host_end_that_is_down() {
    is_known("veth-broken", |scene| format!("ip link set netnsv0-{} down", scene.web.pid));
}

#[test]
fn a_veth_pair_that_is_gone() {
    is_known("veth-broken", |scene| format!("ip link del netnsv0-{}", scene.web.pid));
}

#[test]
fn an_interface_that_the_container_has_renamed() {
    is_known("veth-broken", |scene| {
        format!("nsenter -t {} -n sh -c 'ip link set eth0 down; ip link set eth0 name mine'", scene.web.pid)
    });
}

#[test]
fn a_port_of_the_bridge_that_somebody_disabled() {
    let Some(scene) = scene() else { return };
    let harm = format!("bridge link set dev netnsv0-{} state 0", scene.web.pid);
    let case =
        Case { world: &scene.world, check: "veth-broken", args: &[], harm: &harm, flows: || flows(&scene) };
    assert_eq!(case.is_remedied()["fixable"], false);
}

#[test]
fn an_interface_that_is_down() {
    is_known("interface-broken", |scene| format!("nsenter -t {} -n ip link set eth0 down", scene.web.pid));
}

#[test]
fn an_interface_that_has_lost_its_address() {
    is_known("interface-broken", |scene| format!("nsenter -t {} -n ip addr flush dev eth0", scene.web.pid));
}

#[test]
fn a_default_route_that_is_gone() {
    is_known("interface-broken", |scene| format!("nsenter -t {} -n ip route del default", scene.web.pid));
}

#[test]
fn a_container_reaches_its_own_port_again_after_its_host_end_is_a_port_of_the_bridge_again() {
    let Some(scene) = scene() else { return };
    scene.world.set_bridge_netfilter(true);
    let own = || ask(Some(scene.web), "10.0.0.1", "8080/tcp") == "web";
    let harm = format!("ip link set netnsv0-{} nomaster", scene.web.pid);
    let case = Case { world: &scene.world, check: "veth-broken", args: &[], harm: &harm, flows: own };
    let finding = case.fall_ill();
    run_remedy(&scene.world, &finding);
    wait_for("its own port", own);
}
