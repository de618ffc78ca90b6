//! Options from annotations, flags, environment and file, and the commands for people.

use std::fs;
use std::process::Command;

use crate::common::{NETNS, World, run, state, stderr};

/// What `netns plan` prints with these arguments and this environment.
fn plan(args: &[&str], environment: &[(&str, &str)], input: &str) -> String {
    let mut command = Command::new(NETNS);
    command.args(args).arg("plan").envs(environment.iter().copied());
    let output = run(&mut command, input);
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("a plan is text")
}

#[test]
fn annotation_flag_environment_file_default_in_this_order() {
    let Some(mut world) = World::new() else { return };
    let file = world.dir.join("netns-hook.toml");
    let text = "bridge = 'of-the-file'\nmtu = 1300\npublish = ['81:81', '82:82/udp']\n[policy]\nbridges = ['annotated']";
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let pid = Some(world.process().pid);
    let bare = state("a", "creating", pid, &[]);
    let annotated = state("a", "creating", pid, &[("bridge", "annotated"), ("publish", "83:83")]);
    let environment = [("NETNS_BRIDGE", "of-the-env"), ("NETNS_CONFIG", file)];
    let flags = ["--bridge", "of-the-flag", "--config", file];
    for (bridge, text) in [
        ("annotated", plan(&flags, &environment, &annotated)),
        ("of-the-flag", plan(&flags, &environment, &bare)),
        ("of-the-env", plan(&[], &environment, &bare)),
        ("of-the-file", plan(&["--config", file], &[], &bare)),
        ("netns0", plan(&[], &[], &bare)),
    ] {
        assert!(text.contains(&format!("\nip link add {bridge} address")), "{bridge}: {text}");
        let mtu = if bridge == "netns0" { 1500 } else { 1300 };
        assert!(text.contains(&format!("mtu {mtu} type bridge")), "each option for itself: {text}");
    }
    let text = plan(&flags, &[], &annotated);
    assert!(text.contains("--dport 83 ") && !text.contains("--dport 81 "), "a list is one value: {text}");
    let text = plan(&flags, &[("NETNS_PUBLISH", "84:84,85:85/udp")], &bare);
    assert!(text.contains("-m tcp --dport 84 ") && text.contains("-m udp --dport 85 "), "{text}");
}

#[test]
fn the_file_is_read_from_its_usual_place_and_may_be_missing() {
    let Some(mut world) = World::new() else { return };
    let input = state("a", "creating", Some(world.process().pid), &[]);
    assert!(plan(&[], &[], &input).contains("ip link add netns0 "), "without a file");
    world.sh("cp -a /etc /run/test/etc && mount --bind /run/test/etc /etc");
    fs::write("/etc/netns-hook.toml", "bridge = 'br7'\nstate-dir = '/run/elsewhere'").unwrap();
    assert!(plan(&[], &[], &input).contains("ip link add br7 "), "with it");
    world.netns_ok(&["create"], "");
    assert!(fs::exists("/run/elsewhere/networks/br7.json").unwrap());
    fs::write("/etc/netns-hook.toml", "brigde = 'br7'").unwrap();
    let said = stderr(&world.netns(&["create"], ""));
    assert!(
        said.contains("use brigde in configuration /etc/netns-hook.toml, line 1, column 1: unknown option"),
        "{said}"
    );
    assert!(said.contains("hint: did you mean bridge?"), "{said}");
    let output = world.netns(&["--config", "/run/test/none", "create"], "");
    assert_eq!(output.status.code(), Some(1), "a file that was asked for must be there");
}

#[test]
fn flags_may_have_one_dash_as_those_of_the_go_hook() {
    let Some(world) = World::new() else { return };
    world.netns_ok(&["-bridge", "br7", "-ip=10.7.0.1/24", "-mtu", "1400", "create"], "");
    let link = world.sh("ip link show br7");
    assert!(link.contains("mtu 1400"), "{link}");
    assert!(world.sh("ip addr show br7").contains("inet 10.7.0.1/24 brd 10.7.0.255"));
    world.netns_ok(&["-bridge", "br7", "-ip", "10.7.0.1/24", "rm"], "");
    assert_eq!(world.links(), ["lo"]);
}

#[test]
fn a_running_container_is_attached_and_detached_by_hand() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let container = world.process();
    world.netns_ok(&["attach", &container.pid.to_string(), "--id", "web", "-p", "8080:80"], "");
    assert!(container.pings("172.19.0.1"));
    assert!(world.rules().contains("netns container web"));
    world.netns_ok(&["detach", "web"], "");
    world.assert_as(&before);
    assert_eq!(world.ls(), serde_json::json!([]));
    assert_eq!(world.netns(&["inspect", "web"], "").status.code(), Some(1));
}

#[test]
fn ls_is_a_row_a_container() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[("publish", "8080:80,53:53/udp")]);
    let table = world.netns_ok(&["ls"], "");
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.map(str::to_owned).collect()
    };
    let [head, row] = [0, 1].map(|n| cells(table.lines().nth(n).unwrap()));
    assert_eq!(head, ["IP", "LOCAL VETH", "PID", "STATUS", "CONTAINER", "NETWORK", "PORTS"]);
    let (pid, veth) = (container.pid.to_string(), format!("netnsv0-{}", container.pid));
    let ports = "0.0.0.0:8080->80/tcp, 0.0.0.0:53->53/udp";
    assert_eq!(row, ["172.19.0.2", &veth, &pid, "running", "web", "netns0", ports]);

    let mut listed = world.ls()[0].clone();
    let since = listed["since"].take();
    assert!(since.as_str().is_some_and(|text| text.ends_with('Z')), "{since}");
    let port = |host, inside, protocol| {
        serde_json::json!({"host_ip": "0.0.0.0", "host_port": host, "container_port": inside,
            "protocol": protocol, "range": 1})
    };
    let row = serde_json::json!({
        "id": "web", "bundle": "/run/test", "pid": container.pid, "netns": null, "status": "running",
        "interface": "eth0", "host_interface": veth, "bridge": "netns0", "mac": "02:6e:ac:13:00:02",
        "addresses": ["172.19.0.2/16"], "gateway": "172.19.0.1", "since": null,
        "published": [port(8080, 80, "tcp"), port(53, 53, "udp")], "nics": [], "labels": {},
        "networks": [{
            "network": "netns0", "interface": "eth0", "host_interface": veth, "bridge": "netns0",
            "parent": null, "mac": "02:6e:ac:13:00:02", "addresses": ["172.19.0.2/16"],
            "gateways": ["172.19.0.1"],
        }],
    });
    assert_eq!(listed, row);
}

#[test]
fn ls_asks_the_kernel_and_not_only_the_record() {
    let Some(mut world) = World::new() else { return };
    let (dead, cut) = (world.process(), world.process());
    world.attach_ok("dead", dead, &[]);
    world.attach_ok("cut", cut, &[]);
    world.kill(dead);
    world.sh(&format!("ip link del netnsv0-{}", cut.pid));
    let listed = world.ls();
    let status =
        |id| listed.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap()["status"].clone();
    assert_eq!((status("dead"), status("cut")), ("dead".into(), "incomplete".into()));
}

#[test]
fn inspect_shows_both_ends_of_the_veth_pair_and_what_ls_says() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[("publish", "8080:80,53:53/udp")]);
    let inspected: serde_json::Value =
        serde_json::from_str(&world.netns_ok(&["inspect", "web", "--json"], "")).unwrap();
    for (key, value) in world.ls()[0].as_object().unwrap() {
        assert_eq!(&inspected[key], value, "what ls says of {key}");
    }
    let (host, inside) = (&inspected["host_end"], &inspected["container_end"]);
    let index = |text: String| text.split(':').next().and_then(|index| index.parse::<u32>().ok());
    let veth = format!("netnsv0-{}", container.pid);
    assert_eq!(host["index"], index(world.sh(&format!("ip -o link show {veth}"))).unwrap());
    assert_eq!(inside["index"], index(container.sh("ip -o link show eth0")).unwrap());
    assert_eq!((&host["index"], &inside["index"]), (&inside["peer_index"], &host["peer_index"]));
    assert_eq!((&host["bridge"], &host["alias"]), (&"netns0".into(), &"web".into()));
    assert_eq!(inside["mac"], "02:6e:ac:13:00:02");
    assert_eq!(inside["addresses"], serde_json::json!(["172.19.0.2/16"]));
    assert_eq!(inspected["routes"][0], "default via 172.19.0.1 dev eth0");
    assert_eq!(inspected["rules"].as_array().map(Vec::len), Some(2), "{inspected}");
    let text = world.netns_ok(&["inspect", "web"], "");
    assert!(text.contains("172.19.0.2/16 on netns0") && text.contains("port of netns0"), "{text}");
}

#[test]
fn an_id_is_the_pid_where_none_is_given() {
    let Some(mut world) = World::new() else { return };
    let pid = world.process().pid.to_string();
    world.netns_ok(&["attach", &pid], "");
    assert_eq!(world.ls()[0]["id"], pid);
    world.netns_ok(&["detach", &pid], "");
    assert_eq!(world.ls(), serde_json::json!([]));
}

#[test]
fn the_version_is_told_and_help_knows_every_option() {
    let Some(world) = World::new() else { return };
    let version = world.netns_ok(&["version"], "");
    assert!(version.starts_with(concat!("netns ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    let help = world.netns_ok(&["help", "options"], "");
    for option in [
        "bridge",
        "ip",
        "iface",
        "mtu",
        "static-ip",
        "publish",
        "ipfile",
        "name-netns",
        "state-dir",
        "config",
        "debug",
        "log",
    ] {
        assert!(help.contains(&format!("--{option}")), "--{option} in: {help}");
    }
    let help = world.netns_ok(&["--help"], "");
    for command in ["create", "ls", "rm", "version", "attach", "detach", "exec", "inspect", "plan"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} in: {help}");
    }
}

#[test]
fn the_log_file_says_what_standard_error_says() {
    let Some(mut world) = World::new() else { return };
    let pid = world.process().pid.to_string();
    let args = ["-d", "--log", "/run/test/hook.log", "attach", &pid];
    let said = stderr(&world.netns(&args, ""));
    let logged = fs::read_to_string("/run/test/hook.log").unwrap();
    let told = |line: &str| line.split_once("ms ").map(|(_, text)| text.to_owned());
    let said: Vec<_> = said.lines().filter_map(told).collect();
    assert_eq!(logged.lines().filter_map(told).collect::<Vec<_>>(), said);
    assert!(said.iter().any(|line| line.starts_with("ip link add netns0 ")), "{said:?}");
}
