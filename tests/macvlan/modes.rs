//! The modes of macvlan, ipvlan and VLANs.

use super::{LAN, Scene, has_kind};
use crate::common::{skip, stderr};

fn with_mode(mode: &str) -> String {
    format!("{LAN}macvlan-mode = '{mode}'")
}

#[test]
fn private_ones_reach_the_wire_and_not_each_other() {
    for mode in ["private", "vepa"] {
        let Some(mut scene) = Scene::new(&with_mode(mode)) else { return };
        let (a, b) = (scene.on("a", "lan"), scene.on("b", "lan"));
        assert!(a.pings("10.20.0.1") && b.pings("fd00:20::1"), "{mode}");
        assert!(!a.try_sh("busybox ping -c 1 -W 1 10.20.0.101").status.success(), "{mode}");
    }
}

#[test]
fn passthru_is_for_one_and_has_the_address_of_its_parent() {
    let Some(mut scene) = Scene::new(&with_mode("passthru")) else { return };
    let mac = |text: &str| text.split("link/ether ").nth(1).map(|rest| rest[..17].to_owned());
    let parent = mac(&scene.world.sh("ip -o link show ens6"));
    let before = scene.world.sh("ip -o link show ens6 | sed 's/state.*//'");
    let a = scene.on("a", "lan");
    assert_eq!(mac(&a.sh("ip -o link show eth0")), parent);
    assert!(a.pings("99.0.0.1") && scene.router.pings("10.20.0.100"));
    let said = scene.refused(&[("network", "lan")]);
    assert!(
        said.contains("ens6 takes one interface of that kind, and no other beside it\n  hint: "),
        "{said}"
    );
    let said = scene.refused(&[("network", "lan:mac=02:00:00:00:00:09")]);
    assert!(said.contains("macvlan mode passthru has the address of its parent"), "{said}");
    assert_eq!(scene.world.ls()[0]["status"], "running");
    scene.world.detach_ok("a");
    assert!(!a.sh("ip -o link").contains("eth0"));
    assert_eq!(scene.world.sh("ip -o link show ens6 | sed 's/state.*//'"), before);
    scene.on("b", "lan");
}

#[test]
fn a_mac_address_that_is_asked_for_is_had() {
    let Some(mut scene) = Scene::new(LAN) else { return };
    let a = scene.on("a", "lan:mac=02:00:00:00:00:09,ip=10.20.0.77");
    assert!(a.sh("ip -o link show eth0").contains("02:00:00:00:00:09"));
    assert!(
        a.sh("ip -o addr show eth0").contains("10.20.0.77/24"),
        "a static address may be out of the range"
    );
    assert!(scene.router.pings("10.20.0.77"));
    let said = scene.refused(&[("network", "lan:mac=02:00:00:00:00:09")]);
    assert!(said.contains("container a has it"), "{said}");
    scene.world.detach_ok("a");
    assert!(!a.sh("ip -o link").contains("eth0"));
}

#[test]
fn a_vlan_gets_its_link_which_goes_with_the_last_network() {
    let Some(mut scene) = Scene::new(&format!("{LAN}vlan = 20")) else { return };
    if !has_kind(&scene.world, "vlan id 7") {
        let said = scene.refused(&[("network", "lan")]);
        assert!(
            said.contains("type vlan id 20: this kernel has no 8021q\n  hint: `modprobe 8021q`"),
            "{said}"
        );
        return skip_kernel("8021q");
    }
    scene.router.sh("ip link add link wire name wire.20 type vlan id 20 && ip link set wire.20 up && \
                     ip addr flush dev wire && ip addr add 10.20.0.1/24 dev wire.20");
    let a = scene.on("a", "lan");
    assert!(a.pings("10.20.0.1"));
    scene.world.detach_ok("a");
    scene.world.netns_ok(&["rm", "lan"], "");
    assert!(!scene.world.links().contains(&"ens6.20".to_owned()));
}

#[test]
fn ipvlan_reaches_the_wire_under_the_address_of_its_parent() {
    let Some(mut scene) = Scene::new(&LAN.replace("macvlan", "ipvlan")) else { return };
    if !has_kind(&scene.world, "ipvlan mode l2") {
        let said = scene.refused(&[("network", "lan")]);
        assert!(said.contains("type ipvlan mode l2: this kernel has no ipvlan\n  hint: "), "{said}");
        return skip_kernel("ipvlan");
    }
    let (a, b) = (scene.on("a", "lan"), scene.on("b", "lan"));
    assert!(a.pings("10.20.0.101") && b.pings("99.0.0.1") && scene.router.pings("10.20.0.100"));
    scene.world.detach_ok("a");
    assert!(!a.sh("ip -o link").contains("eth0"));
    assert!(scene.router.pings("10.20.0.101"));
    let output = scene.world.detach("b");
    assert!(output.status.success(), "{}", stderr(&output));
}

/// What this kernel lacks is no failure of CI.
fn skip_kernel(module: &str) {
    if std::env::var_os("CI").is_none() {
        skip(&format!("this kernel has no {module}"));
    } else {
        eprintln!("skipped: this kernel has no {module}");
    }
}
