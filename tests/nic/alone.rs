//! Interfaces without a bridge, and all the ways to ask for them.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{ASKED, Kind, Scene};
use crate::common::{NETNS, ask_for_in, run, state, stderr};

#[test]
fn alone_it_needs_and_makes_no_network() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let (before, links) = (scene.settled(), scene.world.links());
    let bundle = scene.world.bundle("web", &["createRuntime", "poststop"], "");
    ask_for_in(&bundle, &[("nic", ASKED), ("no-bridge", "true")]);
    let web = scene.world.runc_start("web", &bundle);
    assert!(web.pings("12.0.0.1") && web.pings("99.0.0.1") && web.pings("127.0.0.1"));
    let without: Vec<String> = links.into_iter().filter(|name| name != "nic0").collect();
    assert_eq!(scene.world.links(), without, "no bridge, no veth pair");
    assert_eq!(scene.world.sh("iptables-save"), "", "no rule");
    assert_eq!(fs::read_to_string(bundle.join(".ip")).unwrap(), "12.0.0.10");

    let mut row = scene.world.ls()[0].clone();
    assert!(row["since"].take().is_string() && row["bundle"].take().is_string());
    let expected = json!({
        "id": "web", "bundle": null, "pid": web.pid, "status": "running", "interface": "lan",
        "host_interface": null, "bridge": null, "mac": "02:00:00:00:00:05", "addresses": ["12.0.0.10/8"],
        "gateway": "12.0.0.1", "published": [], "since": null, "netns": null,
        "nics": [{"name": "nic0", "interface": "lan", "addresses": ["12.0.0.10/8"]}],
        "networks": [], "labels": {},
    });
    assert_eq!(row, expected);
    let table = scene.world.netns_ok(&["ls"], "");
    let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(cells, ["12.0.0.10", "-", &web.pid.to_string(), "running", "web"]);
    let text = scene.world.netns_ok(&["inspect", "web"], "");
    assert!(text.contains("nic0 of the host, lan inside") && !text.contains("not there"), "{text}");
    let inspected: Value =
        serde_json::from_str(&scene.world.netns_ok(&["inspect", "web", "--json"], "")).unwrap();
    assert_eq!((&inspected["host_end"], &inspected["container_end"]["mtu"]), (&Value::Null, &1400.into()));

    assert_eq!(scene.world.netns_ok(&["reload"], ""), "every rule is there\n");
    assert_eq!(scene.world.netns_ok(&["gc"], ""), "");
    scene.world.netns(&["rm"], "");
    assert_eq!(scene.world.ls()[0]["status"], "running", "it is no container of that network");
    scene.world.netns_ok(&["detach", "web"], "");
    scene.assert_as(&before, "after detach");
    scene.world.runc_delete("web");
    assert_eq!(scene.world.sh("iptables-save"), "");
}

#[test]
fn a_plan_says_it_in_the_words_of_ip_and_the_hook_does_it() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let web = scene.world.process();
    let (before, pid) = (scene.settled(), web.pid);
    let (nic, input) = (format!("--nic={ASKED}"), state("web", "creating", Some(pid), &[]));
    let printed = scene.world.netns_ok(&[&nic, "--no-bridge", "plan"], &input);
    assert_eq!(
        printed,
        format!(
            "nsenter -t {pid} -n ip link set lo up\n\
             ip link set nic0 netns {pid} name lan alias netns:nic0:web address 02:00:00:00:00:05 mtu 1400 up\n\
             nsenter -t {pid} -n ip addr add 12.0.0.10/8 brd + dev lan\n\
             nsenter -t {pid} -n ip route add default via 12.0.0.1 dev lan\n\
             echo -n 12.0.0.10 > /run/test/.ip\n"
        )
    );
    scene.assert_as(&before, "a plan changes nothing");
    let done = stderr(&scene.world.netns(&[&nic, "--no-bridge", "-d"], &input));
    assert!(printed.lines().all(|line| done.contains(&format!("ms {line}\n"))), "{done}");
    scene.world.detach_ok("web");
    // The words mean what they say.
    web.sh("ip link set lo down");
    scene.world.sh(&printed);
    assert!(web.pings("12.0.0.1"));
}

#[test]
fn flag_environment_file_and_annotation_name_it_alike() {
    let Some(mut scene) = Scene::new(Kind::Veth) else { return };
    let web = scene.world.process();
    let input = state("web", "creating", Some(web.pid), &[]);
    fs::write("/run/test/nic.toml", "nic = ['nic0=a', 'far0=b,ip=10.1.0.1/8']\nno-bridge = true").unwrap();
    scene.world.sh("ip link add far0 type ifb");
    let both = "nic0=a;far0=b,ip=10.1.0.1/8";
    let annotated = state("web", "creating", Some(web.pid), &[("nic", both), ("no-bridge", "true")]);
    fs::write("/run/test/policy.toml", "[policy]\noptions = ['nic', 'no-bridge']\nnics = ['nic0', 'far0']")
        .unwrap();
    let plan = |args: &[&str], environment: &[(&str, &str)], input: &str| {
        let mut command = Command::new(NETNS);
        command.args(args).arg("plan").envs(environment.iter().copied());
        let output = run(&mut command, input);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    for text in [
        plan(&["--nic", "nic0=a", "--nic", "far0=b,ip=10.1.0.1/8", "--no-bridge"], &[], &input),
        plan(&["--nic", both, "--no-bridge=yes"], &[], &input),
        plan(&[], &[("NETNS_NIC", both), ("NETNS_NO_BRIDGE", "1")], &input),
        plan(&["--config", "/run/test/nic.toml"], &[], &input),
        plan(&["--config", "/run/test/policy.toml"], &[], &annotated),
    ] {
        assert!(text.contains("ip link set nic0 netns") && text.contains("ip link set far0 netns"), "{text}");
        assert!(text.contains("name b") && !text.contains("type bridge"), "{text}");
    }
    let text = plan(&["--config", "/run/test/nic.toml", "--no-bridge=no"], &[], &input);
    assert!(text.contains("type bridge"), "a flag takes back what the file says: {text}");
}
