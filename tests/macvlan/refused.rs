//! What cannot be on a parent, and parents that nothing can be on: refused, and nothing changed.

use super::{FRONT, LAN, Scene, configure};

#[test]
fn a_port_is_published_on_no_wire() {
    let Some(mut scene) = Scene::new(&format!("{LAN}{FRONT}")) else { return };
    for asked in
        [&[("network", "lan"), ("publish", "8080:80")][..], &[("network", "front;lan:publish=8080:80")]]
    {
        let said = scene.refused(asked);
        assert!(
            said.contains(
                "publish 8080:80/tcp for container refused: network lan is on ens6 itself, where nothing is \
                 translated\n  hint: its containers are reached by their own addresses"
            ),
            "{said}"
        );
    }
}

#[test]
fn a_rate_is_kept_on_no_wire() {
    let Some(mut scene) = Scene::new(&format!("{LAN}{FRONT}")) else { return };
    for asked in [
        &[("network", "lan"), ("rate-in", "10mbit")][..],
        &[("network", "front;lan"), ("rate-out", "10mbit")],
        &[("network", "front;lan:rate-out=10mbit")],
    ] {
        let said = scene.refused(asked);
        assert!(
            said.contains("limit the rate of container refused on lan: what it sends and receives"),
            "{said}"
        );
        assert!(said.contains("hint: name the networks that a rate is for"), "{said}");
    }
    let both = scene.on("both", "front:rate-out=10mbit;lan");
    assert!(both.pings("10.8.0.1") && both.pings("10.20.0.1"));
}

#[test]
fn a_parent_that_nothing_can_be_on_is_told() {
    let Some(mut scene) = Scene::new(LAN) else { return };
    let link = |name: &str| LAN.replace("ens6", name);
    scene.world.sh("ip link add br0 type bridge && ip link add port0 type veth peer name port1 && \
         ip link set port0 master br0 up && ip link set lo up");
    for (text, cause) in [
        (
            link("ens7"),
            "use parent ens7 for network lan: the host has no such link\n  hint: `ip -brief link`",
        ),
        (link("port1"), "use parent port1 for network lan: it is down\n  hint: ip link set port1 up"),
        (link("port0"), "it is a port of a bridge or a bond, which takes all that it receives\n  hint: name"),
        (link("lo"), "use parent lo for network lan: it is a loopback link, and no Ethernet"),
        (format!("{LAN}mtu = 9000"), "it takes packets of 1500 bytes at most, and mtu is 9000\n  hint: "),
    ] {
        configure(&scene.world, &text);
        let said = scene.refused(&[("network", "lan")]);
        assert!(said.contains(cause), "{said}\nand not {cause}");
    }
    configure(&scene.world, LAN);
    let said = scene.refused(&[("network", "lan"), ("mtu", "9000")]);
    assert!(said.contains("it takes packets of 1500 bytes at most, and mtu is 9000"), "{said}");
}

#[test]
fn a_name_that_another_link_has_is_told() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    scene.world.sh("ip link add lan type bridge");
    let said = scene.refused(&[("network", "lan")]);
    assert!(
        said.contains("make interface lan of network lan: the host has a bridge link of this name"),
        "{said}"
    );
    scene.world.sh("ip link del lan");
    let web = scene.world.process();
    web.sh("ip link add eth0 type veth peer name eth9");
    let output = scene.world.attach("web", web, &[("network", "lan")]);
    let said = crate::common::stderr(&output);
    assert!(said.contains("the container has an interface eth0 already\n  hint: start it with"), "{said}");
    assert_eq!(scene.world.ls(), serde_json::json!([]));
    assert!(!scene.world.sh("ip route").contains("dev lan"));
}

#[test]
fn a_definition_that_has_changed_its_driver_is_refused_while_containers_are_on_it() {
    let Some(mut scene) = Scene::new(LAN) else { return };
    scene.on("web", "lan");
    configure(&scene.world, &LAN.replace("'macvlan'", "'macvlan'\nmacvlan-mode = 'private'"));
    let said = scene.refused(&[("network", "lan")]);
    assert!(
        said.contains("driver macvlan mode private on ens6, which was macvlan mode bridge on ens6"),
        "{said}"
    );
    scene.world.detach_ok("web");
    scene.on("web", "lan");
}
