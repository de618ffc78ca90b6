//! The parent disappears while containers are up, comes back, and what is said of it.

use super::{LAN, Scene};
use crate::common::{stderr, wait_for};

#[test]
fn when_the_parent_disappears_all_say_so_and_all_is_given_back() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    let nothing = scene.world.snapshot();
    let (a, b) = (scene.on("a", "lan"), scene.on("b", "lan"));
    scene.world.sh("ip link del ens6");
    wait_for("its macvlans to go with it", || !a.sh("ip -o link").contains("eth0"));
    let rows = scene.world.ls();
    assert_eq!((&rows[0]["status"], &rows[1]["status"]), (&"incomplete".into(), &"incomplete".into()));
    let doctor = scene.world.netns(&["doctor"], "");
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let gone = "network lan: parent-broken: its parent ens6 is gone, and the interfaces of container a, container b with it";
    assert!(!doctor.status.success() && text.contains(gone), "{text}");
    assert!(scene.world.netns_ok(&["networks"], "").contains("down"));
    assert!(scene.world.netns_ok(&["inspect", "a"], "").contains("10.20.0.101/24 on ens6"));
    scene.world.netns_ok(&["gc"], "");
    assert_eq!(scene.world.ls().as_array().unwrap().len(), 2, "who lives keeps his address");
    scene.world.detach_ok("a");
    scene.plug();
    let c = scene.on("c", "lan");
    assert!(
        c.pings("10.20.0.1") && scene.router.pings("10.20.0.103"),
        "the address of b is not leased again"
    );
    scene.world.detach_ok("b");
    scene.world.attach_ok("b", b, &[("network", "lan"), ("ipfile", "b")]);
    assert!(b.pings("10.20.0.103"));
    scene.world.sh("ip link del ens6");
    scene.world.netns_ok(&["rm", "lan", "--force"], "");
    scene.plug();
    let files =
        |lines: Vec<String>| lines.into_iter().filter(|l| !l.starts_with("/run/")).collect::<Vec<_>>();
    assert_eq!(files(scene.world.snapshot()), files(nothing));
}

#[test]
fn a_container_that_died_leaves_nothing() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    scene.world.netns_ok(&["create", "lan"], "");
    let before = scene.world.snapshot();
    let (a, b) = (scene.on("a", "lan"), scene.on("b", "lan"));
    // A namespace that outlives its process, by a mount.
    scene.world.sh(&format!("touch /run/test/kept && mount --bind /proc/{}/ns/net /run/test/kept", b.pid));
    scene.world.kill(a);
    scene.world.kill(b);
    wait_for("a's namespace to die", || scene.world.ls()[0]["status"] == "dead");
    scene.world.netns_ok(&["gc"], "");
    assert_eq!(scene.world.ls()[0]["id"], "b", "its namespace lives");
    scene.world.detach_ok("b");
    let inside = scene.world.sh("nsenter --net=/run/test/kept ip -o link");
    assert!(!inside.contains("eth0"), "{inside}");
    scene.world.sh("umount /run/test/kept && rm /run/test/kept");
    scene.world.assert_as(&before);
}

#[test]
fn one_that_was_given_by_a_path_lives_on_without_its_parent() {
    let Some(scene) = Scene::new(LAN) else { return };
    scene.world.sh("ip netns add pod");
    // An address of the link layer that no other test has: each may get this namespace's number next.
    let network = "lan:ip=10.20.0.177";
    scene.world.netns_ok(&["attach", "--netns", "/run/netns/pod", "--network", network], "");
    assert!(scene.router.pings("10.20.0.177"));
    scene.world.sh("ip link del ens6");
    scene.world.netns_ok(&["gc"], "");
    assert_eq!(scene.world.ls()[0]["status"], "incomplete");
    scene.world.sh("ip netns del pod");
    wait_for("it to be dead", || scene.world.ls()[0]["status"] == "dead");
    let collected = scene.world.netns(&["gc"], "");
    assert!(collected.status.success(), "{}", stderr(&collected));
    assert_eq!(scene.world.ls(), serde_json::json!([]));
}

#[test]
fn one_whose_record_is_lost_gives_its_interface_back_by_its_claims() {
    let Some(mut scene) = Scene::new(&format!("{LAN}host-access = true")) else { return };
    scene.world.netns_ok(&["create", "lan"], "");
    let before = scene.world.snapshot();
    let web = scene.on("web", "lan");
    scene.world.sh(&format!("rm '{}'", scene.world.record("web")));
    scene.world.netns_ok(&["detach", "web"], "");
    assert!(!web.sh("ip -o link").contains("eth0"));
    scene.world.sh("rm -f /run/test/web");
    scene.world.assert_as(&before);
}

#[test]
fn one_that_restarts_has_its_address_again_though_the_kernel_still_has_the_old_interface() {
    for keys in ["", "macvlan-mode = 'passthru'"] {
        let Some(mut scene) = Scene::new(&format!("{LAN}{keys}")) else { return };
        for _ in 0..20 {
            let web = scene.on("web", "lan:ip=10.20.0.77");
            assert!(scene.router.pings("10.20.0.77"), "{keys}");
            scene.world.kill(web);
            scene.world.detach_ok("web");
        }
    }
}
