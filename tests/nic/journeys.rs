//! There and back, with everything that an interface can have.

use std::fs;

use super::{ASKED, Kind, Scene, host_netns};
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{ask_for_in, stderr};

fn in_and_out(kind: Kind) {
    let Some(mut scene) = Scene::new(kind) else { return };
    let other = scene.world.neighbour();
    scene.world.netns_ok(&["create"], "");
    let (before, snapshot) = (scene.settled(), scene.world.snapshot());
    let bundle = scene.world.bundle("web", &["createRuntime", "poststop"], "8080:80");
    ask_for_in(&bundle, &[("nic", ASKED)]);
    let web = scene.world.runc_start("web", &bundle);

    assert!(!scene.has_nic(), "it has left the host");
    let link = web.sh("ip link show lan");
    assert!(link.contains("link/ether 02:00:00:00:00:05") && link.contains("mtu 1400"), "{link}");
    assert!(web.sh("ip -4 addr show lan").contains("inet 12.0.0.10/8 brd 12.255.255.255"));
    for address in ["12.0.0.1", "99.0.0.1", "172.19.0.1"] {
        assert!(web.pings(address), "the container pings {address}");
    }
    assert!(scene.far.pings("12.0.0.10"), "and is pinged");
    assert!(!scene.far.pings("172.19.0.2"), "the guard of the bridge holds");
    serve_tcp(web, 80, "web");
    assert_eq!(ask(Some(other), "10.0.0.1", "8080/tcp"), "web", "a published port answers by the bridge");
    let row = scene.world.ls()[0].clone();
    let nics = serde_json::json!([{"name": "nic0", "interface": "lan", "addresses": ["12.0.0.10/8"]}]);
    assert_eq!((&row["nics"], &row["status"]), (&nics, &"running".into()));
    assert_eq!(row["addresses"], serde_json::json!(["172.19.0.2/16"]));

    if kind == Kind::Veth {
        web.sh("ip link add upon link lan type macvlan");
    }
    scene.world.netns_ok(&["detach", "web"], "");
    scene.assert_as(&before, "after detach");
    scene.world.assert_as(&snapshot);
    assert!(!web.sh("ip link show").contains("upon"), "what was built on it would still be on the wire");
    assert!(!web.sh("ip link show").contains("lan"), "nothing is left inside");
    scene.world.runc_delete("web");
    scene.assert_as(&before, "after the container's end");
}

#[test]
fn an_end_of_a_veth_pair_goes_in_and_comes_back_as_it_was() {
    in_and_out(Kind::Veth);
}

#[test]
fn a_macvlan_goes_in_and_comes_back_as_it_was() {
    in_and_out(Kind::Macvlan);
}

#[test]
fn a_port_of_a_bridge_comes_back_to_it() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    scene.world.sh("ip link add lan0 type bridge && ip link set lan0 up && ip link set nic0 master lan0");
    let before = scene.settled();
    let web = scene.world.process();
    scene.world.attach_ok("web", web, &[("nic", ASKED)]);
    assert!(web.pings("12.0.0.1"));
    scene.world.detach_ok("web");
    scene.assert_as(&before, "after detach");
}

#[test]
fn containers_of_a_pod_share_it_and_the_last_gives_it_back() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let before = scene.settled();
    let pod = scene.world.process();
    for id in ["sandbox", "app"] {
        let asked = [("nic", ASKED), ("no-bridge", "true"), ("ipfile", id)];
        scene.world.attach_ok(id, pod, &asked);
    }
    scene.world.detach_ok("sandbox");
    assert!(pod.pings("12.0.0.1"));
    assert_eq!(scene.world.ls()[0]["addresses"], serde_json::json!(["12.0.0.10/8"]));
    scene.world.detach_ok("app");
    scene.assert_as(&before, "after the last");
}

#[test]
fn ls_asks_whether_it_is_still_inside() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let before = scene.settled();
    let web = scene.world.process();
    scene.world.attach_ok("web", web, &[("nic", ASKED)]);
    web.sh("ip link set lan name other; ip link set other alias '' address 02:00:00:00:00:05");
    assert_eq!(scene.world.ls()[0]["status"], "running", "under any name and without its mark");
    web.sh(&format!("ip link set other netns {}", host_netns()));
    assert_eq!(scene.world.ls()[0]["status"], "incomplete");
    scene.world.detach_ok("web");
    scene.assert_as(&before, "after detach");
}

#[test]
fn a_later_step_that_fails_brings_it_back() {
    for (kind, asked, cause) in [
        (Kind::Veth, ASKED, "echo -n"),
        // The kernel moves it, and then finds that its MTU is too large.
        (Kind::Macvlan, "nic0=lan,mtu=9000", "ip link set nic0 netns"),
    ] {
        let Some(mut scene) = Scene::new(kind) else { return };
        scene.world.netns_ok(&["create"], "");
        let (before, snapshot) = (scene.settled(), scene.world.snapshot());
        let web = scene.world.process();
        fs::create_dir(scene.world.dir.join("taken")).unwrap();
        let output = scene.world.attach("web", web, &[("nic", asked), ("ipfile", "taken")]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with(&format!("netns: {cause}")), "{}", stderr(&output));
        scene.assert_as(&before, cause);
        assert!(!web.sh("ip link show").contains("lan"), "nothing is left inside");
        scene.world.assert_as(&snapshot);
    }
}
