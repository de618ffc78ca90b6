//! A container that passes off an interface of its own as the one that it was lent.

use super::{ASKED, Kind, Scene};
use crate::common::Process;

/// Runs a command with CAP_NET_ADMIN and nothing else, in the network of a container.
fn as_its_admin(process: Process, command: &str) {
    process
        .sh(&format!("setpriv --bounding-set=-all,+net_admin --inh-caps=-all,+net_admin sh -ec '{command}'"));
}

/// What an interface inside looks like from there: number, address and alias.
fn looks(process: Process) -> (String, String, String) {
    let text = process.sh("ip -j link show dev lan");
    let link: serde_json::Value = serde_json::from_str(&text).expect("ip -j prints JSON");
    let text = |key: &str| link[0][key].as_str().unwrap_or_default().to_owned();
    (link[0]["ifindex"].to_string(), text("address"), text("ifalias"))
}

/// How one makes another of the same kind beside an interface that is called `own` by now.
fn forge(kind: Kind) -> &'static str {
    match kind {
        Kind::Veth => "type veth peer name fake",
        Kind::Macvlan => "link own type macvlan mode bridge",
    }
}

#[test]
fn an_interface_that_is_passed_off_as_the_one_lent_stays_where_it_is() {
    for kind in [Kind::Veth, Kind::Macvlan] {
        let Some(mut scene) = Scene::new(kind) else { return };
        let container = scene.world.process();
        scene.world.netns_ok(&["create"], "");
        let before = scene.settled();
        scene.world.attach_ok("web", container, &[("nic", ASKED)]);
        let (_, address, alias) = looks(container);
        let forge = forge(kind);
        as_its_admin(
            container,
            &format!(
                "ip link set lan down; ip link set lan name own alias none address 02:00:00:00:00:99; \
                 ip link add lan address {address} {forge}; ip link set lan alias {alias} up"
            ),
        );
        scene.world.detach_ok("web");
        scene.assert_as(&before, &format!("{kind:?}"));
        assert!(container.sh("ip -o link").contains(&alias), "the forgery is where it was made");
    }
}

#[test]
fn one_that_was_deleted_does_not_come_back_as_another() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let container = scene.world.process();
    scene.world.netns_ok(&["create"], "");
    scene.world.attach_ok("web", container, &[("nic", ASKED)]);
    let (index, address, alias) = looks(container);
    as_its_admin(
        container,
        &format!(
            "ip link del lan; ip link add lan index {index} address {address} type veth peer name fake; \
             ip link set lan alias {alias} up"
        ),
    );
    assert_eq!(looks(container), (index, address, alias), "it looks the same");
    scene.world.detach_ok("web");
    assert_eq!(scene.world.links(), ["lo", "netns0"], "nothing has come to the host");
    assert!(!scene.world.sh("ip addr").contains("10.9.0."), "nor has got its addresses");
}
