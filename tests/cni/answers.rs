//! Results and error objects, as each version of the specification has them.

use serde_json::{Value, json};

use super::{Client, call, pod};
use crate::common::World;

#[test]
fn a_result_is_in_the_words_of_the_version() {
    let Some(world) = World::new() else { return };
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        pod(&world, "web");
        let subnet = json!({"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.9"});
        let keys = json!({
            "ipam": {"type": "host-local", "ranges": [[subnet]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.7.0.0/16", "gw": "10.88.0.7"}]},
            "dns": {"nameservers": ["10.88.0.1"]},
        });
        let client = Client::new(version).with(&keys);
        let mut result = client.add("web", "eth0");
        let host_end = result["interfaces"][1]["name"].take();
        assert!(host_end.as_str().unwrap().starts_with("netnsv0-"), "{host_end}");
        let mut ip = json!({"address": "10.88.0.9/24", "gateway": "10.88.0.1", "interface": 2});
        if version.starts_with("0.") {
            ip["version"] = json!("4");
        }
        assert_eq!(
            result,
            json!({
                "cniVersion": version,
                "interfaces": [
                    {"name": "front0"},
                    {"name": null, "mac": "02:76:0a:58:00:09"},
                    {"name": "eth0", "mac": "02:6e:0a:58:00:09", "sandbox": "/run/netns/web"},
                ],
                "ips": [ip],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "10.7.0.0/16", "gw": "10.88.0.7"}],
                "dns": {"nameservers": ["10.88.0.1"]},
            })
        );
        assert!(world.sh("ip netns exec web ip route").contains("10.7.0.0/16 via 10.88.0.7 dev eth0"));
        client.del("web", "eth0");
        world.sh("ip netns del web");
    }
}

/// The network `dbnet` of the specification's appendix, with our type in the place of `bridge`.
#[test]
fn the_specifications_own_network_lives_from_add_to_del_in_each_version() {
    let Some(world) = World::new() else { return };
    pod(&world, "blue");
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let dbnet = json!({
            "cniVersion": version, "name": "dbnet", "type": "netns", "bridge": "cni0",
            "keyA": ["some more", "plugin specific", "configuration"],
            "ipam": {
                "type": "host-local", "subnet": "10.1.0.0/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}],
            },
            "dns": {"nameservers": ["10.1.0.1"]},
            "capabilities": {"mac": true, "portMappings": true},
            "runtimeConfig": {
                "mac": "02:11:22:33:44:66",
                "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            },
        });
        let client = Client { config: dbnet };
        let mut ip = json!({"address": "10.1.0.5/16", "gateway": "10.1.0.1", "interface": 2});
        if version.starts_with("0.") {
            ip["version"] = json!("4");
        }
        let variables = [
            ("CNI_CONTAINERID", "blue"),
            ("CNI_NETNS", "/run/netns/blue"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_ARGS", "IgnoreUnknown=1;IP=10.1.0.5"),
        ];
        let (done, mut result) = client.call("ADD", &variables);
        assert!(done, "{result}");
        let with_result = client.with(&json!({"prevResult": result}));
        result["interfaces"][1]["name"].take();
        assert_eq!(
            result,
            json!({
                "cniVersion": version,
                "interfaces": [
                    {"name": "cni0"},
                    {"name": null, "mac": "02:76:0a:01:00:05"},
                    {"name": "eth0", "mac": "02:11:22:33:44:66", "sandbox": "/run/netns/blue"},
                ],
                "ips": [ip],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dns": {"nameservers": ["10.1.0.1"]},
            })
        );
        for command in ["CHECK", "CHECK", "DEL", "DEL"] {
            assert_eq!(with_result.call(command, &variables), (true, Value::Null), "{command}");
        }
        assert_eq!(world.ls(), json!([]));
    }
}

#[test]
fn what_the_plugins_before_have_answered_is_handed_on() {
    let Some(world) = World::new() else { return };
    pod(&world, "web");
    let before = json!({"prevResult": {
        "cniVersion": "1.0.0", "interfaces": [{"name": "tap0"}], "dns": {"domain": "lan"},
        "ips": [{"address": "192.0.2.7/24", "interface": 0}], "routes": [{"dst": "192.0.2.0/24"}],
    }});
    let result = Client::new("1.0.0").with(&before).add("web", "eth0");
    assert_eq!(result["interfaces"].as_array().unwrap().len(), 4);
    assert_eq!(
        (&result["interfaces"][0]["name"], &result["interfaces"][3]["name"]),
        (&json!("tap0"), &json!("eth0"))
    );
    assert_eq!((&result["ips"][0]["interface"], &result["ips"][1]["interface"]), (&json!(0), &json!(3)));
    assert_eq!(
        (&result["routes"][0]["dst"], &result["dns"]["domain"]),
        (&json!("192.0.2.0/24"), &json!("lan"))
    );
}

#[test]
fn a_runtime_may_choose_address_mac_and_subnet() {
    let Some(world) = World::new() else { return };
    pod(&world, "web");
    let client = Client::new("1.0.0").with(&json!({
        "capabilities": {"ips": true, "mac": true, "ipRanges": true},
        "runtimeConfig": {
            "ips": ["10.90.0.7/24"], "mac": "02:00:00:00:00:07", "ipRanges": [[{"subnet": "10.90.0.0/24"}]],
        },
    }));
    let result = client.add("web", "eth0");
    assert_eq!(result["ips"][0]["address"], "10.90.0.7/24");
    assert!(world.sh("ip netns exec web ip link show eth0").contains("02:00:00:00:00:07"));
    client.del("web", "eth0");
    let variables = [
        ("CNI_CONTAINERID", "web"),
        ("CNI_NETNS", "/run/netns/web"),
        ("CNI_IFNAME", "eth0"),
        (
            "CNI_ARGS",
            "IgnoreUnknown=1;IP=10.90.0.8;MAC=02:00:00:00:00:08;K8S_POD_NAME=nginx;K8S_POD_NAMESPACE=default",
        ),
    ];
    let of_args = client.with(&json!({"runtimeConfig": {"ipRanges": [[{"subnet": "10.90.0.0/24"}]]}}));
    let (done, result) = of_args.call("ADD", &variables);
    assert!(done && result["ips"][0]["address"] == "10.90.0.8/24", "{result}");
    let labels = &world.ls()[0]["labels"];
    assert_eq!((&labels["pod"], &labels["namespace"]), (&json!("nginx"), &json!("default")));
}

/// The code of the error that a call is answered with, after which nothing has changed.
fn code(
    world: &World,
    before: &[String],
    variables: &[(&str, &str)],
    command: &str,
    input: &str,
) -> (u64, String) {
    let (done, error) = call(command, variables, input);
    assert!(!done, "{command} {input}: {error}");
    let object = error.as_object().expect("an error object");
    assert_eq!(object.keys().collect::<Vec<_>>(), ["cniVersion", "code", "details", "msg"]);
    world.assert_as(before);
    (error["code"].as_u64().unwrap(), error["msg"].as_str().unwrap().to_owned())
}

#[test]
fn every_mistake_is_one_error_object_and_changes_nothing() {
    let Some(world) = World::new() else { return };
    pod(&world, "web");
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let good = [("CNI_CONTAINERID", "web"), ("CNI_NETNS", "/run/netns/web"), ("CNI_IFNAME", "eth0")];
    let config = |keys: Value| Client::new("1.0.0").with(&keys).config.to_string();
    let fine = config(json!({}));
    for (told, keys) in [
        ("speak cniVersion '0.2.0'", json!({"cniVersion": "0.2.0"})),
        ("speak cniVersion '2.0.0'", json!({"cniVersion": "2.0.0"})),
    ] {
        let (code, message) = code(&world, &before, &good, "ADD", &config(keys));
        assert!(code == 1 && message.starts_with(told), "{code} {message}");
    }
    for (told, keys) in [
        (
            "use ingressBurst: there is no ingressRate",
            json!({"runtimeConfig": {"bandwidth": {"ingressBurst": 8000}}}),
        ),
        ("rate '8bit': it must be from 1kbit", json!({"egressRate": 8})),
        ("use egressBurst: it is more than 4 GiB", json!({"egressRate": 8000, "egressBurst": 1_u64 << 40})),
        (
            "attach container web: use rate 8kbit/1kb: a packet",
            json!({"egressRate": 8000, "egressBurst": 8192}),
        ),
    ] {
        let (code, message) = code(&world, &before, &good, "ADD", &config(keys));
        assert!(code == 7 && message.starts_with(told), "{code} {message}");
    }
    for (told, keys) in [
        ("use vlan", json!({"vlan": 7})),
        ("use ipam.type dhcp", json!({"ipam": {"type": "dhcp"}})),
        ("use shapedSubnets", json!({"ingressRate": 1_000_000, "shapedSubnets": ["10.0.0.0/8"]})),
    ] {
        let (code, message) = code(&world, &before, &good, "ADD", &config(keys));
        assert!(code == 2 && message.starts_with(told), "{code} {message}");
    }
    let nowhere = [good[0], ("CNI_NETNS", "/run/netns/nobody"), good[2]];
    assert_eq!(code(&world, &before, &nowhere, "ADD", &fine).0, 3);
    for (variables, command) in [
        (vec![good[1], good[2]], "ADD"),
        (vec![good[0], good[2]], "ADD"),
        (vec![good[0], good[1]], "ADD"),
        (vec![good[1], good[2]], "DEL"),
        (vec![("CNI_CONTAINERID", "../web"), good[1], good[2]], "ADD"),
        (vec![good[0], good[1], ("CNI_IFNAME", "../../eth0")], "ADD"),
        (vec![good[0], good[1], good[2], ("CNI_ARGS", "K8S_POD_NAME")], "ADD"),
        (good.to_vec(), "DANCE"),
        (good.to_vec(), ""),
    ] {
        assert_eq!(code(&world, &before, &variables, command, &fine).0, 4, "{variables:?} {command}");
    }
    for input in ["", "{", "[1", &"x".repeat(100)] {
        assert_eq!(code(&world, &before, &good, "ADD", input).0, 6, "{input}");
    }
    assert_eq!(code(&world, &before, &good, "ADD", &" ".repeat(2 << 20)).0, 5);
    for keys in [
        json!({"name": "../front"}),
        json!({"name": ""}),
        json!({"bridge": "a/b"}),
        json!({"mtu": "many"}),
        json!({"ipam": {}}),
        json!({"ipam": {"subnet": "10.88.0.0/99"}}),
        json!({"ipam": {"subnet": "fish"}}),
        json!({"ipam": {"subnet": "10.88.0.0/24", "gateway": "10.88.0.255"}}),
        json!({"ipam": {"subnet": "10.88.0.0/24", "rangeStart": "10.99.0.2"}}),
        json!({"ipam": {"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.2"}}),
        json!({"ipam": {"ranges": [[{"subnet": "10.88.0.0/24"}, {"subnet": "10.89.0.0/24"}]]}}),
        json!({"runtimeConfig": {"ips": ["10.99.0.9"]}}),
        json!({"runtimeConfig": {"mac": "01:00:5e:00:00:01"}}),
        json!({"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 0}]}}),
        json!({"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "icmp"}]}}),
        json!({"runtimeConfig": {"aliases": {"front": ["localhost"]}}}),
    ] {
        let (code, message) = code(&world, &before, &good, "ADD", &config(keys.clone()));
        assert_eq!(code, 7, "{keys}: {message}");
    }
    assert_eq!(code(&world, &before, &good, "GC", &fine).0, 7, "without a list");
}

#[test]
fn the_versions_are_told_without_anything_else() {
    let Some(_world) = World::new() else { return };
    let spoken = json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    for (input, version) in [("{\"cniVersion\":\"0.4.0\"}", "0.4.0"), ("", "1.1.0")] {
        let (done, answer) = call("VERSION", &[], input);
        assert_eq!((done, answer), (true, json!({"cniVersion": version, "supportedVersions": spoken})));
    }
}
