//! What the commands and CNI clients are told of a network on the wire.

use std::process::Command;

use serde_json::{Value, json};

use super::{LAN, Scene};
use crate::common::{NETNS, run};

#[test]
fn the_commands_know_the_network_and_its_parent() {
    let Some(mut scene) = Scene::new(LAN) else { return };
    let networks = |scene: &Scene| -> Value {
        serde_json::from_str(&scene.world.netns_ok(&["networks", "--json"], "")).unwrap()
    };
    assert_eq!(networks(&scene)[0]["status"], "absent");
    scene.on("web", "lan");
    let shown = networks(&scene);
    let [driver, parent, status] = ["driver", "parent", "status"].map(|key| shown[0][key].as_str().unwrap());
    assert_eq!([driver, parent, status], ["macvlan", "ens6", "up"]);
    let text = scene.world.netns_ok(&["networks"], "");
    assert!(text.contains("lan      ens6  10.20.0.1/24,fd00:20::1/64  macvlan  up      1"), "{text}");
    let text = scene.world.netns_ok(&["ls"], "");
    assert!(text.contains("10.20.0.100,fd00:20::100  -  ") && text.contains("running  web"), "{text}");
    let text = scene.world.netns_ok(&["inspect", "web"], "");
    for said in ["10.20.0.100/24 on ens6", "gateway       10.20.0.1", " eth0@if", " macvlan "] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("not there"), "{text}");
    let text = scene.world.netns_ok(&["graph"], "");
    assert!(text.contains("ens6") && text.contains("10.20.0.100/24"), "{text}");
    assert!(!text.contains("missing") && !text.contains("no bridge"), "{text}");
    assert!(scene.world.netns(&["doctor", "web"], "").status.success());
    let text = scene.world.netns_ok(&["exec", "web", "--", "ip", "-o", "link", "show", "eth0"], "");
    assert!(text.contains("eth0"), "{text}");
}

/// One call of a CNI client about the namespace `pod`, on our network `lan`.
fn call(command: &str) -> (bool, Value) {
    let config = json!({"cniVersion": "1.1.0", "name": "wire", "type": "netns", "network": "lan"});
    let mut program = Command::new(NETNS);
    program.env_clear().envs([
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "pod"),
        ("CNI_NETNS", "/run/netns/pod"),
        ("CNI_IFNAME", "net1"),
        ("CNI_PATH", "/opt/cni/bin"),
        ("NETNS_CONFIG", "/run/test/netns.toml"),
    ]);
    let output = run(&mut program, &config.to_string());
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect(&text) };
    (output.status.success(), answer)
}

#[test]
fn a_cni_client_gets_an_interface_on_the_wire() {
    let Some(scene) = Scene::new(LAN) else { return };
    scene.world.sh("ip netns add pod");
    let (done, result) = call("ADD");
    assert!(done, "{result}");
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 1, "{result}");
    assert_eq!(result["interfaces"][0]["name"], "net1");
    assert_eq!(result["interfaces"][0]["mac"], "02:6e:0a:14:00:64");
    assert_eq!(
        (&result["ips"][0]["address"], &result["ips"][0]["gateway"]),
        (&"10.20.0.100/24".into(), &"10.20.0.1".into())
    );
    assert!(scene.router.pings("10.20.0.100") && scene.router.pings("fd00:20::100"));
    assert_eq!(call("CHECK"), (true, Value::Null));
    assert_eq!(call("STATUS"), (true, Value::Null));
    scene.world.sh("ip netns exec pod ip link del net1");
    let (whole, told) = call("CHECK");
    assert!(!whole && told["msg"].as_str().unwrap().contains("type macvlan mode bridge"), "{told}");
    assert_eq!(call("DEL"), (true, Value::Null));
    assert_eq!(scene.world.ls(), json!([]));
}
