//! `create`, `rm`, `networks`, and what repairs, for networks by name.

use super::{DEFINED, configure, world};
use crate::common::stderr;
use crate::common::traffic::serve_tcp;

#[test]
fn networks_are_created_listed_and_removed_by_name() {
    let Some(mut world) = world(DEFINED) else { return };
    let process = world.process();
    let clean = world.sh("ip -o link; iptables-save | grep -E '^-A|NETNS' || true");
    world.netns_ok(&["create", "front"], "");
    world.attach_ok("web", process, &[("network", "front;back")]);
    let list: serde_json::Value = serde_json::from_str(&world.netns_ok(&["networks", "--json"], "")).unwrap();
    let status =
        |name: &str| list.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!((&status("front")["status"], &status("back")["containers"][0]), (&"up".into(), &"web".into()));
    assert_eq!(status("front")["defined"], true);
    let output = world.netns(&["rm", "back"], "");
    assert!(
        stderr(&output).contains("remove network back: 1 containers are attached, web"),
        "{}",
        stderr(&output)
    );
    world.detach_ok("web");
    let table = world.netns_ok(&["networks"], "");
    assert!(table.lines().next().unwrap().starts_with("NETWORK  LINK"), "{table}");
    // Also where it is no longer defined.
    configure(&world, "[network.front]\nsubnets = ['10.8.0.1/24']\n[network.absent]\n");
    let table = world.netns_ok(&["networks"], "");
    let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("absent").contains("absent") && line("back").contains("up"), "{table}");
    for name in ["front", "back"] {
        world.netns_ok(&["rm", name], "");
    }
    assert!(!world.netns(&["rm", "absent"], "").status.success());
    assert!(stderr(&world.netns(&["rm", "frnt"], "")).contains("did you mean front?"));
    assert_eq!(world.sh("ip -o link; iptables-save | grep -E '^-A|NETNS' || true"), clean);
}

#[test]
fn a_flushed_firewall_and_a_lost_bridge_are_restored_for_both_networks() {
    let Some(mut world) = world(DEFINED) else { return };
    let (web, other) = (world.process(), world.process());
    world.attach_ok("web", web, &[("network", "front;back"), ("publish", "8080:80")]);
    serve_tcp(web, 80, "web");
    let before = world.snapshot();
    world.sh("iptables -t nat -F; iptables -t filter -F; iptables -t raw -F");
    world.netns_ok(&["reload"], "");
    world.assert_as(&before);
    world.sh("ip link del back");
    world.attach_ok("other", other, &[("network", "back"), ("ipfile", "o")]);
    assert!(web.pings("10.9.0.1") && web.pings("10.8.0.1"));
    world.detach_ok("other");
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    let findings = world.netns(&["doctor"], "");
    assert!(findings.status.success(), "{}", String::from_utf8_lossy(&findings.stdout));
    for format in ["text", "json", "dot"] {
        let drawn = world.netns_ok(&["graph", "--format", format], "");
        assert!(drawn.contains("front") && drawn.contains("back"), "{format}: {drawn}");
    }
}

#[test]
fn what_has_lost_its_records_is_adopted_under_its_networks_names() {
    let Some(mut world) = world(
        "[network.front]\nsubnets = ['10.8.0.1/24']\nbridge = 'br7'\n[network.back]\nsubnets = ['10.9.0.1/24']",
    ) else {
        return;
    };
    let web = world.process();
    world.attach_ok("web", web, &[("network", "front;back"), ("publish", "8080:80")]);
    world.sh("rm -r /run/netns-hook");
    world.netns_ok(&["gc", "--adopt"], "");
    let row = world.ls()[0].clone();
    let mut networks: Vec<&str> =
        row["networks"].as_array().unwrap().iter().map(|place| place["network"].as_str().unwrap()).collect();
    networks.sort_unstable();
    assert_eq!((&row["id"], networks), (&"web".into(), vec!["back", "front"]));
    world.netns_ok(&["detach", "web"], "");
    for name in ["front", "back"] {
        world.netns_ok(&["rm", name], "");
    }
    assert!(!world.sh("ip -o link").contains("br7"));
}
