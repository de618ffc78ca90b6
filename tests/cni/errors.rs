//! Every code of the error objects as each version has them, and what is no call of any command.

use std::fs;

use serde_json::{Value, json};

use super::{Client, call, pod};
use crate::common::World;

/// What a call is answered by which nothing has changed.
fn refused(
    world: &World,
    before: &[String],
    command: &str,
    variables: &[(&str, &str)],
    input: &str,
) -> Value {
    let (done, error) = call(command, variables, input);
    assert!(!done, "{command} {input}: {error}");
    world.assert_as(before);
    error
}

/// An attachment of a pod.
fn of<'a>(pod: &'a str, netns: &'a str) -> [(&'a str, &'a str); 3] {
    [("CNI_CONTAINERID", pod), ("CNI_NETNS", netns), ("CNI_IFNAME", "eth0")]
}

/// A call, what it lays over a configuration that is right, and what it is told.
type Mistake = (&'static str, [(&'static str, &'static str); 3], Value, u16, &'static str, &'static str);

/// Those that need nothing but an attachment that has the only address of 10.88.0.0/30.
fn mistakes() -> Vec<Mistake> {
    let db = of("db", "/run/netns/db");
    let full = json!({"ipam": {"subnet": "10.88.0.0/30"}});
    vec![
        ("ADD", db, json!({"vlan": 7}), 2, "use vlan: VLAN filtering is not built", ""),
        (
            "ADD",
            of("db", "/run/netns/nobody"),
            json!({}),
            3,
            "look at network namespace /run/netns/nobody: No such file or directory (os error 2)",
            "",
        ),
        ("CHECK", db, json!({}), 3, "find container db: it is not attached", ""),
        (
            "DEL",
            of("", "/run/netns/db"),
            json!({}),
            4,
            "use CNI_CONTAINERID: it is missing, empty or not UTF-8",
            "",
        ),
        ("DANCE", db, json!({}), 4, "use CNI_COMMAND=DANCE: there is no such command", ""),
        (
            "DEL",
            db,
            json!({"mtu": "many"}),
            7,
            "read the network configuration from standard input: invalid type: string \"many\", expected u32",
            "",
        ),
        (
            "GC",
            db,
            json!({}),
            7,
            "collect garbage: the configuration has no \"cni.dev/valid-attachments\"",
            "",
        ),
        ("STATUS", db, full.clone(), 50, "lease an address in 10.88.0.1/30: all 1 are taken", ""),
        (
            "ADD",
            of("db", "/proc/self/ns/net"),
            json!({}),
            100,
            "attach container db by network namespace /proc/self/ns/net: it is the host's own",
            "",
        ),
        (
            "ADD",
            db,
            full.clone(),
            102,
            "lease an address in 10.88.0.0/30 for container db: all 1 are taken",
            "hint: `netns ls` shows by whom; `netns detach ID` frees one",
        ),
    ]
}

#[test]
fn every_code_is_one_object_in_each_version() {
    let Some(world) = World::new() else { return };
    ["web", "db"].iter().for_each(|name| pod(&world, name));
    let port = json!({"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}});
    Client::new("1.0.0")
        .with(&port)
        .with(&json!({"ipam": {"subnet": "10.88.0.0/30", "routes": [{"dst": "0.0.0.0/0"}]}}))
        .add("web", "eth0");
    let (web, db) = (of("web", "/run/netns/web"), of("db", "/run/netns/db"));
    let before = world.snapshot();
    let back = json!({"name": "back", "bridge": "back0", "ipam": {"subnet": "10.89.0.0/24"}});
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let client = Client::new(version);
        for (command, variables, keys, code, message, details) in mistakes() {
            let input = client.with(&keys).config.to_string();
            let expected = json!({"cniVersion": version, "code": code, "msg": message, "details": details});
            assert_eq!(refused(&world, &before, command, &variables, &input), expected);
        }
        let taken = client.with(&back).with(&port).config.to_string();
        assert_eq!(
            refused(&world, &before, "ADD", &db, &taken),
            json!({
                "cniVersion": version, "code": 101, "details": "",
                "msg": "publish 0.0.0.0:8080/tcp for container db: already published by container web (10.88.0.2:80)",
            })
        );
        let missing = [
            "nsenter --net=$NETNS ip link set eth0 up",
            "nsenter --net=$NETNS ip route add default via 10.88.0.1 dev eth0",
        ];
        world.sh("ip -n web link set eth0 down");
        let (done, error) = client.of_pod("CHECK", "web", "eth0");
        assert_eq!(
            (done, error),
            (
                false,
                json!({
                    "cniVersion": version, "code": 101,
                    "msg": format!("check interface eth0 of container web: not as made by: {}", missing[0]),
                    "details": format!("also: check: not as made by: {}", missing[1]),
                })
            )
        );
        world.sh("ip -n web link set eth0 up; ip -n web route add default via 10.88.0.1");
        world.sh("chmod 777 /run/netns-hook");
        let denied = call("ADD", &db, &client.config.to_string());
        assert_eq!(
            (denied.0, &denied.1["code"], &denied.1["cniVersion"]),
            (false, &json!(103), &json!(version))
        );
        assert_eq!(
            denied.1["msg"], "use state directory /run/netns-hook: others may write to it",
            "{denied:?}"
        );
        world.sh("chmod 700 /run/netns-hook");
    }
    let other = Client::new("0.2.0").config.to_string();
    let told = "speak cniVersion '0.2.0': only 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0 are spoken";
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        let expected = json!({"cniVersion": "0.2.0", "code": 1, "msg": told, "details": ""});
        assert_eq!(refused(&world, &before, command, &web, &other), expected, "{command}");
    }
}

#[test]
fn garbage_is_refused_by_every_command_and_changes_nothing() {
    let Some(world) = World::new() else { return };
    pod(&world, "web");
    Client::new("1.0.0").add("web", "eth0");
    let before = world.snapshot();
    let large = " ".repeat(2 << 20);
    let read = "read the network configuration from standard input: ";
    for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
        for (input, code, cause) in [
            ("", 6, "EOF while parsing a value at line 1 column 0"),
            ("{", 6, "EOF while parsing an object at line 1 column 1"),
            ("[1]x", 6, "trailing characters at line 1 column 4"),
            ("\u{0}\u{7f}", 6, "expected value at line 1 column 1"),
            (&large, 5, "it is larger than 1 MiB"),
        ] {
            let expected =
                json!({"cniVersion": "", "code": code, "msg": format!("{read}{cause}"), "details": ""});
            let variables = of("web", "/run/netns/web");
            assert_eq!(refused(&world, &before, command, &variables, input), expected, "{command}");
        }
        for keys in [
            json!({"name": "../front"}),
            json!({"name": null}),
            json!({"ipam": "none"}),
            json!({"dns": 1, "mtu": -1}),
        ] {
            let input = Client::new("1.0.0").with(&keys).config.to_string();
            let error = refused(&world, &before, command, &of("web", "/run/netns/web"), &input);
            assert_eq!(
                (&error["code"], &error["cniVersion"]),
                (&json!(7), &json!("1.0.0")),
                "{command} {keys}: {error}"
            );
        }
        for name in ["", "../web", "a/b", &"x".repeat(5000)] {
            let input = Client::new("1.0.0").config.to_string();
            if ["ADD", "DEL", "CHECK"].contains(&command) {
                let error = refused(&world, &before, command, &of(name, "/run/netns/web"), &input);
                assert_eq!(error["code"], 4, "{command} {name}: {error}");
            }
        }
    }
}

#[test]
fn calls_at_once_and_again_do_what_one_does() {
    let Some(world) = World::new() else { return };
    world.netns_ok(&["create", "--bridge", "front0", "--ip", "10.88.0.1/24"], "");
    ["web", "kept"].iter().for_each(|name| pod(&world, name));
    let client = Client::new("1.1.0");
    let kept = client.add("kept", "eth0");
    let before = world.snapshot();
    let collect =
        client.with(&json!({"cni.dev/valid-attachments": [{"containerID": "kept", "ifname": "eth0"}]}));
    let at_once = |asked: &[(&Client, &str)]| -> Vec<(bool, Value)> {
        let starts = asked.iter().map(|(client, command)| client.start(command, "web", "eth0"));
        let started: Vec<_> = starts.collect();
        started.into_iter().map(super::answer).collect()
    };
    for _ in 0..5 {
        let added = at_once(&[(&client, "ADD"); 4]);
        assert!(added.iter().all(|answer| answer.0 && *answer == added[0]), "{added:?}");
        assert_eq!(at_once(&[(&client, "CHECK"); 4]), vec![(true, Value::Null); 4]);
        assert_eq!(world.ls().as_array().map(Vec::len), Some(2));
        let gone = at_once(&[(&client, "DEL"), (&collect, "GC"), (&client, "DEL"), (&collect, "GC")]);
        assert_eq!(gone, vec![(true, Value::Null); 4]);
        world.assert_as(&before);
    }
    assert_eq!(client.add("kept", "eth0"), kept, "asked again, nothing changes");
    world.assert_as(&before);
}

#[test]
fn a_network_of_nftables_without_its_program_takes_pods_until_its_rules_are_gone() {
    let Some(world) = World::new() else { return };
    world.change_only_here(&["/etc", "/usr/sbin"]);
    fs::write("/etc/netns-hook.toml", "firewall = 'nftables'").expect("write a configuration");
    pod(&world, "web");
    let client = Client::new("1.1.0");
    fs::rename("/usr/sbin/nft", "/usr/sbin/nft.away").expect("hide nft");
    let status = || client.call("STATUS", &[]);
    let told = |code: u16| {
        json!({
            "cniVersion": "1.1.0", "code": code, "details": "",
            "msg": "use the firewall nftables: its program is not installed",
        })
    };
    assert_eq!(status(), (false, told(50)));
    fs::rename("/usr/sbin/nft.away", "/usr/sbin/nft").expect("bring nft back");
    client.add("web", "eth0");
    assert_eq!(status(), (true, Value::Null));
    pod(&world, "db");
    fs::rename("/usr/sbin/nft", "/usr/sbin/nft.away").expect("hide nft");
    assert_eq!(status(), (false, told(51)));
    client.add("db", "eth0");
    ["web", "db"].iter().for_each(|name| client.del(name, "eth0"));
}
