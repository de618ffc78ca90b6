//! What only a packet tells: to observe is not enough.

use super::{Case, assert_healthy, findings, only, ward};
use crate::common::scene::{Scene, ask};
use crate::common::{World, wait_for};

fn scene() -> Option<Scene> {
    Some(ward(World::new()?, "8080:80"))
}

/// Without packets nothing is found.
fn is_invisible(world: &World) {
    assert_eq!(findings(world, &[]).len(), 0);
}

#[test]
fn somebody_who_drops_frames() {
    let Some(scene) = scene() else { return };
    let harm = format!(
        "nft add table bridge strict && nft add chain bridge strict {{0}} '{{ type filter hook {{0}} priority 0; }}' && \
         nft add rule bridge strict {{0}} {{1}}name netnsv0-{} ether type arp drop; ip neigh flush all; \
         nsenter -t {} -n ip neigh flush all",
        scene.web.pid, scene.web.pid
    );
    for (hook, link) in [("input", "iif"), ("postrouting", "oif")] {
        let harm = harm.replace("{0}", hook).replace("{1}", link);
        let flows = || {
            scene.web.sh("ip neigh flush all");
            scene.web.try_sh("busybox ping -c 1 -W 1 10.0.0.2").status.success()
        };
        let case = Case {
            world: &scene.world,
            check: "gateway-silent",
            args: &["--probe", "web"],
            harm: &harm,
            flows,
        };
        let finding = case.is_remedied();
        assert!(
            finding["why"]
                .as_str()
                .unwrap()
                .contains(&format!("the chain {hook} of nft table bridge strict drops it"))
        );
        scene.world.sh("nft delete table bridge strict");
    }
}

#[test]
fn a_gateway_whose_answer_is_only_remembered() {
    let Some(scene) = scene() else { return };
    assert!(scene.web.pings("172.19.0.1"), "it is remembered");
    scene.world.sh(
        "nft add table bridge strict && nft add chain bridge strict input '{ type filter hook input priority 0; }' && \
         nft add rule bridge strict input ether type arp drop",
    );
    is_invisible(&scene.world);
    only(&scene.world, "gateway-silent", &["--probe", "web"]);
    scene.world.sh("nft delete table bridge strict");
    assert_healthy(&scene.world);
}

#[test]
fn a_container_with_a_firewall_of_its_own() {
    let Some(scene) = scene() else { return };
    let flows = || ask(Some(scene.other), "10.0.0.1", "8080/tcp") == "web";
    let within = |command: &str| format!("nsenter -t {} -n {command}", scene.web.pid);
    for harm in [
        "iptables -A INPUT -p tcp --dport 80 -j DROP",
        "iptables -A INPUT -p tcp --dport 80 -j REJECT",
        "iptables-legacy -P INPUT DROP",
        "sh -c \"nft add table inet own; nft add chain inet own in '{ type filter hook input priority 0; policy drop; }'\"",
    ] {
        let case = Case {
            world: &scene.world,
            check: "port-silent",
            args: &["--probe", "web"],
            harm: &within(harm),
            flows,
        };
        let finding = case.is_remedied();
        assert!(
            finding["why"].as_str().unwrap().contains("of the container's own firewall drops it"),
            "{finding:#}"
        );
        assert_eq!(finding["fixable"], false);
        scene.web.sh("iptables -F; iptables-legacy -F; iptables-legacy -P INPUT ACCEPT; nft flush ruleset");
    }
}

#[test]
fn a_host_that_lets_its_own_packets_not_out_or_no_answers_in() {
    for (harm, chain) in [
        ("iptables -A OUTPUT -d 172.19.0.0/16 -p tcp -j DROP", "OUTPUT"),
        ("iptables -P INPUT DROP", "INPUT"),
        (
            "nft add table inet own; nft add chain inet own in '{ type filter hook input priority 0; policy drop; }'; \
          nft add rule inet own in iifname lo accept",
            "in",
        ),
    ] {
        let Some(scene) = scene() else { return };
        let flows = || ask(None, "10.0.0.1", "8080/tcp") == "web";
        let case = Case { world: &scene.world, check: "port-silent", args: &["--probe"], harm, flows };
        let finding = case.is_remedied();
        let why = finding["why"].as_str().unwrap();
        assert!(why.ends_with(&format!("chain {chain} of the host drops it")), "{why}");
    }
}

#[test]
fn what_nobody_can_explain_is_told_with_where_to_look() {
    let Some(scene) = scene() else { return };
    scene.web.sh("ip route add blackhole 172.19.0.1");
    assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "");
    is_invisible(&scene.world);
    let finding = only(&scene.world, "port-silent", &["--probe", "web"]);
    let pid = scene.web.pid;
    let hint = format!("`nsenter -t {pid} -n tcpdump -ni eth0 port 80` shows whether it arrives");
    assert_eq!((&finding["remedy"], &finding["hint"]), (&serde_json::Value::Null, &hint.into()));
    scene.web.sh("ip route del blackhole 172.19.0.1");
    wait_for("the port", || ask(None, "127.0.0.1", "8080/tcp") == "web");
    assert_healthy(&scene.world);
}

#[test]
fn a_host_that_answers_no_ping_is_healthy() {
    let Some(scene) = scene() else { return };
    scene.world.sh("iptables -A INPUT -i netns0 -p icmp -j DROP");
    assert!(!scene.web.pings("172.19.0.1"));
    assert_healthy(&scene.world);
}

#[test]
fn names_that_a_container_has_chosen_never_become_commands() {
    let Some(scene) = scene() else { return };
    scene.web.sh(
        "iptables -N '$(id)'; iptables -A INPUT -j '$(id)'; iptables -A '$(id)' -p tcp --dport 80 -j DROP",
    );
    assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "");
    let finding = only(&scene.world, "port-silent", &["--probe", "web"]);
    assert!(!finding["remedy"].as_str().expect("a remedy").contains("id"), "{finding:#}");
}
