//! Who may have which interface.

use std::fs;

use super::{Kind, Scene};
use crate::common::{state, stderr};

#[test]
fn what_is_not_a_containers_to_have_is_refused_before_anything_is_changed() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let [web, db] = [(); 2].map(|()| scene.world.process());
    scene.world.sh(
        "ip link add br7 type bridge && ip link add up0 type veth peer name up1 && ip link set up0 up && \
         ip addr add 10.77.0.1/24 dev up0 && ip route add default via 10.77.0.2 && \
         ip link add on0 link up0 type macvlan && ip link add held type veth peer name held1",
    );
    scene.world.attach_ok("db", db, &[("nic", "held")]);
    web.sh("ip link add there type ifb");
    let (before, snapshot) = (scene.settled(), scene.world.snapshot());
    let host_end = format!("netnsv0-{}", db.pid);
    for (asked, cause) in [
        ("lo", "it is the host's loopback interface"),
        ("lo=lan", "it is the host's loopback interface"),
        ("br7", "it is a bridge"),
        ("netns0", "it is a bridge"),
        (host_end.as_str(), "it is the host end of container db's veth pair"),
        ("none", "there is no such interface"),
        ("held", "container db has it"),
        ("up0", "the host's default route needs it"),
        ("nic0=there", "there is an interface there inside already"),
        ("nic0=eth0", "another interface is to be called eth0 inside"),
        ("nic0=lo", "another interface is to be called lo inside"),
        ("nic0;nic0=b", "it is asked for twice"),
        ("nic0=a;held=a", "another interface is to be called a inside"),
        (
            "nic0,ip=12.0.0.10/8,gateway=12.0.0.1;up1,ip=13.0.0.2/8,gateway=13.0.0.1",
            "has the gateway of nic0 already",
        ),
        ("nic0,ip=172.19.7.7/24", "172.19.7.7 is in the subnet of bridge netns0, 172.19.0.0/16"),
    ] {
        let output = scene.world.attach("web", web, &[("nic", asked)]);
        let said = stderr(&output);
        assert!(output.status.code() == Some(1) && said.contains(cause), "{asked}: {said}");
        scene.assert_as(&before, asked);
        scene.world.assert_as(&snapshot);
    }
    for (flags, cause) in [
        (&["--no-bridge"][..], "attach container web: without a bridge it has no interface"),
        (
            &["--no-bridge", "--nic=nic0", "-p", "80:80"],
            "publish 80:80/tcp for container web: it is on no network",
        ),
        (&["--no-bridge", "--nic=nic0", "--static-ip=172.19.0.9"], "use a static address for container web"),
    ] {
        let pid = web.pid.to_string();
        let output = scene.world.netns(&[&["attach", &pid, "--id", "web"], flags].concat(), "");
        let said = stderr(&output);
        assert!(output.status.code() == Some(1) && said.contains(cause), "{flags:?}: {said}");
        scene.world.assert_as(&snapshot);
    }
    let output = scene.world.netns(&["attach", "1", "--nic=nic0,ip=1.2.3.4"], "");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
}

#[test]
fn what_the_default_route_stands_on_moves_only_by_force() {
    let Some(mut scene) = Scene::new(Kind::Macvlan) else { return };
    scene.world.sh("ip route add default via 10.9.0.2");
    let before = scene.settled();
    let web = scene.world.process();
    for name in ["nic0", "wire"] {
        let output = scene.world.attach("web", web, &[("nic", name)]);
        assert!(stderr(&output).contains("the host's default route needs it"), "{name}: {}", stderr(&output));
    }
    let pid = web.pid.to_string();
    scene.world.netns_ok(&["attach", &pid, "--id", "web", "--no-bridge", "--nic", "nic0,force"], "");
    assert_eq!(scene.world.sh("ip route show default"), "");
    scene.world.netns_ok(&["detach", "web"], "");
    scene.assert_as(&before, "after detach");
}

#[test]
fn the_policy_says_which_ones_annotations_may_have() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    scene.world.sh("ip route add default via 10.9.0.2");
    let before = scene.settled();
    let web = scene.world.process();
    let attach = |scene: &Scene, policy: &str, asked: &str| {
        fs::write("/run/test/policy.toml", format!("[policy]\n{policy}")).unwrap();
        let input = state("web", "creating", Some(web.pid), &[("nic", asked)]);
        stderr(&scene.world.netns(&["--config", "/run/test/policy.toml"], &input))
    };
    for (policy, asked, cause) in [
        ("", "nic0", "only the policy's nics may allow it, as [policy] nics = [\"nic0\"]"),
        ("options = ['nic']", "nic0,force", "only the policy's nics may allow it"),
        ("nics = []", "nic0", "the policy's nics allows nothing, and not nic0"),
        ("nics = ['nic1']", "nic0", "the policy's nics allows nic1, and not nic0"),
        ("nics = ['nic0']", "nic0,force", "the policy's nics allows nic0, and not nic0,force"),
        ("nics = ['nic0']", "nic0", "the host's default route needs it"),
        ("nics = ['nic0,mtu=1']", "nic0", "use policy.nics in configuration"),
        ("nics = ['nic0,mtu=1400']", "nic0", "it must be a name, or NAME,force"),
    ] {
        let said = attach(&scene, policy, asked);
        assert!(said.contains(cause), "{policy} {asked}: {said}");
        scene.assert_as(&before, asked);
    }
    assert_eq!(attach(&scene, "nics = ['nic0,force']", "nic0=lan,force"), "");
    assert!(web.sh("ip link show").contains("lan"));
    scene.world.detach_ok("web");
    scene.assert_as(&before, "after detach");
}
