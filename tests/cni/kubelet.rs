//! containerd's CRI plugin, which a kubelet speaks to, with pods on a network of ours.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::clients::world;
use crate::common::kubelet::Kubelet;
use crate::common::traffic::{ask_tcp, serve_tcp};
use crate::common::{NETNS, World};

fn kubelet() -> Option<(World, Kubelet)> {
    let world = Kubelet::is_possible().then(world)??;
    let kubelet = Kubelet::new(&world);
    Some((world, kubelet))
}

#[test]
fn the_commands_of_the_documentation_lead_from_nothing_to_pods() {
    let Some(world) = Kubelet::is_possible().then(World::new).flatten() else { return };
    world.change_only_here(&["/etc", "/opt", "/var/lib", "/usr"]);
    world.sh("rm -rf /etc/cni/net.d /opt/cni");
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cni.md")).expect("cni.md");
    let section = page.split("## From nothing to pods\n\n").nth(1).expect("the section");
    let commands: Vec<&str> = section.lines().map_while(|line| line.strip_prefix("    ")).collect();
    let [build, show, install, restart, list] = commands[..] else { panic!("five commands: {commands:?}") };
    assert!(build.starts_with("cargo install --path . --root /usr/local "), "{build}");
    world.sh(&format!("install -D {NETNS} /usr/local/bin/netns"));
    assert!(world.sh(show).contains("would write /etc/cni/net.d/10-netns.conflist"));
    assert!(!Path::new("/etc/cni/net.d/10-netns.conflist").exists());
    world.sh(install);
    assert!(restart.starts_with("systemctl restart containerd"), "{restart}");
    let kubelet = Kubelet::new(&world);
    let web = kubelet.ask(&["run", "web", "8080:80"]);
    serve_tcp(kubelet.start(&web, "server"), 80, "web");
    assert_eq!(ask_tcp("127.0.0.1:8080"), "web");
    let listed = world.sh(list);
    assert!(listed.contains("172.19.0.2") && listed.contains("8080"), "{listed}");
    kubelet.end(&web);
    world.sh("netns uninstall cni");
    assert!(!Path::new("/opt/cni").exists() && !Path::new("/etc/cni/net.d/10-netns.conflist").exists());
}

#[test]
fn a_pod_has_its_address_its_host_port_and_two_containers_until_it_is_removed() {
    let Some((world, kubelet)) = kubelet() else { return };
    let web = kubelet.ask(&["run", "web", "8080:80"]);
    assert_eq!(kubelet.ask(&["address", &web]), "172.19.0.2");
    let [server, other] = ["server", "other"].map(|name| kubelet.start(&web, name));
    serve_tcp(server, 80, "web");
    assert_eq!(ask_tcp("127.0.0.1:8080"), "web", "by the host port");
    assert_eq!(
        other.sh("busybox ip -4 -o addr show eth0").matches("172.19.0.2/16").count(),
        1,
        "one namespace"
    );
    let client = kubelet.ask(&["run", "client"]);
    let caller = kubelet.start(&client, "caller");
    assert!(caller.pings("172.19.0.2"), "the first pod");
    let mut pods: Vec<String> =
        world.ls().as_array().unwrap().iter().map(|row| row["labels"]["pod"].to_string()).collect();
    pods.sort();
    assert_eq!(pods, ["\"client\"", "\"web\""]);
    kubelet.end(&web);
    kubelet.end(&client);
    assert_eq!(world.ls(), json!([]));
    assert_eq!(ask_tcp("127.0.0.1:8080"), "");
}

#[test]
fn a_pod_that_is_gone_without_a_word_is_collected_by_the_runtimes_list() {
    let Some((world, kubelet)) = kubelet() else { return };
    let [lost, kept] = ["lost", "kept"].map(|name| kubelet.ask(&["run", name]));
    let ids: Vec<String> =
        world.ls().as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&lost));
    let list = json!({
        "cniVersion": "1.1.0", "name": "netns",
        "cni.dev/valid-attachments": [{"containerID": kept, "ifname": "eth0"}],
    });
    assert_eq!(super::call("GC", &[], &list.to_string()), (true, serde_json::Value::Null));
    let left = world.ls();
    assert_eq!((left.as_array().unwrap().len(), left[0]["id"].as_str()), (1, Some(kept.as_str())));
    kubelet.end(&lost);
    kubelet.end(&kept);
    assert_eq!(world.ls(), json!([]));
}

#[test]
fn fifty_pods_at_once_have_fifty_addresses_and_leave_nothing() {
    let Some((world, kubelet)) = kubelet() else { return };
    let names: Vec<String> = (0..50).map(|at| format!("pod{at}")).collect();
    let pods: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = names.iter().map(|name| scope.spawn(|| kubelet.ask(&["run", name]))).collect();
        asked.into_iter().map(|thread| thread.join().expect("a pod")).collect()
    });
    let mut addresses: Vec<String> =
        world.ls().as_array().unwrap().iter().map(|row| row["addresses"][0].to_string()).collect();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 50);
    std::thread::scope(|scope| {
        pods.iter().for_each(|pod| drop(scope.spawn(|| kubelet.end(pod))));
    });
    assert_eq!(world.ls(), json!([]));
    assert_eq!(world.links().iter().filter(|link| link.contains("netnsv0")).count(), 0);
}

#[test]
fn a_pod_has_the_bandwidth_that_its_annotations_ask_for() {
    let Some((world, kubelet)) = kubelet() else { return };
    let asked = ["kubernetes.io/ingress-bandwidth=10M", "kubernetes.io/egress-bandwidth=20M"];
    let slow = kubelet.ask(&["run", "slow", asked[0], asked[1]]);
    let tc = world.sh("tc qdisc show");
    let has = |link: &str, rate: &str| {
        tc.lines().any(|line| line.contains("tbf") && line.contains(link) && line.contains(rate))
    };
    assert!(has("netnsv0-", "rate 10Mbit") && has("netnsi0-", "rate 20Mbit"), "{tc}");
    assert!(kubelet.start(&slow, "server").pings("172.19.0.1"));
    kubelet.end(&slow);
    assert_eq!(world.links(), ["lo", "netns0"]);
}
