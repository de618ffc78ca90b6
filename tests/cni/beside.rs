//! Pods on a host where Docker has its rules, and kube-proxy's iptables mode too.

use serde_json::{Value, json};

use super::{Client, pings, pod};
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{World, on_every_firewall};
use crate::engines::docker::Docker;
use crate::engines::{DockerLike, find};

on_every_firewall! { pods_docker_and_kube_proxy_answer_on_one_host }

/// The chains and rules that kube-proxy restores for one service, 10.96.0.10 port 80 and node port 30080,
/// with 10.88.0.2 as its one endpoint.
const KUBE_PROXY: &str = "\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-EXT-WEB - [0:0]
:KUBE-SEP-WEB - [0:0]
-A PREROUTING -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-WEB
-A KUBE-EXT-WEB -j KUBE-MARK-MASQ
-A KUBE-EXT-WEB -j KUBE-SVC-WEB
-A KUBE-SVC-WEB ! -s 10.88.0.0/24 -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -j KUBE-SEP-WEB
-A KUBE-SEP-WEB -s 10.88.0.2/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-WEB -p tcp -m tcp -j DNAT --to-destination 10.88.0.2:80
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
-A INPUT -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-EXTERNAL-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

fn pods_docker_and_kube_proxy_answer_on_one_host(mut world: World) {
    if find("dockerd").is_none() {
        return;
    }
    let docker = Docker::with_network(&world);
    let serve =
        "/bin/busybox sh -c \"echo docker >/www/index.html; exec /bin/busybox httpd -f -p 80 -h /www\"";
    docker.run(&world, &format!("run -d --name box -p 9090:80 box {serve}")).expect("docker run");
    std::fs::write("/run/test/kube-proxy", KUBE_PROXY).expect("write rules");
    world.sh("iptables-restore --noflush </run/test/kube-proxy");
    let other = world.neighbour();
    world.sh("ip route add default via 10.0.0.2");
    let process = world.process();
    world.netns_ok(&["create", "--bridge", "front0", "--ip", "10.88.0.1/24"], "");
    world.sh(&format!(
        "mkdir -p /run/netns && touch /run/netns/web && mount --bind /proc/{}/ns/net /run/netns/web",
        process.pid
    ));
    pod(&world, "client");
    let before = world.snapshot();
    let client = Client::new("1.0.0").with(&json!({"runtimeConfig": {"portMappings": [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
    ]}}));
    client.add("web", "eth0");
    serve_tcp(process, 80, "web");
    Client::new("1.0.0").add("client", "eth0");
    assert!(pings(&world, "client", "10.88.0.2"));

    let answered = |from, address: &str, port: &str| {
        (0..4).map(|_| ask(from, address, port)).find(|said| !said.is_empty())
    };
    for (who, from, address, port) in [
        ("another host, our port", Some(other), "10.0.0.1", "8080/tcp"),
        ("the host, our port", None, "127.0.0.1", "8080/tcp"),
        ("the pod itself, our port", Some(process), "10.0.0.1", "8080/tcp"),
        ("another host, the node port", Some(other), "10.0.0.1", "30080/tcp"),
        ("the pod itself, the node port", Some(process), "10.0.0.1", "30080/tcp"),
        ("the host, the service", None, "10.96.0.10", "80/tcp"),
        ("the pod itself, the service", Some(process), "10.96.0.10", "80/tcp"),
    ] {
        assert_eq!(answered(from, address, port).as_deref(), Some("web"), "{who}: {}", world.rules());
    }
    let fetch = |from: &str, url: &str| {
        let command = format!("{from} curl -sS --noproxy '*' --max-time 2 http://{url}/");
        (0..4)
            .map(|_| world.try_sh(&command))
            .find(|output| output.status.success())
            .map(|output| output.stdout)
    };
    let asked_from_client = "ip netns exec client";
    let by_service =
        world.sh(&format!("{asked_from_client} sh -c 'busybox nc -w 2 10.96.0.10 80 </dev/null'"));
    assert_eq!(by_service, "web", "another pod, the service");
    for (who, from, url) in [
        ("the host", "", "127.0.0.1:9090"),
        ("another host", &*format!("nsenter -t {} -n", other.pid), "10.0.0.1:9090"),
        ("a pod", asked_from_client, "10.0.0.1:9090"),
    ] {
        assert_eq!(fetch(from, url).as_deref(), Some(&b"docker\n"[..]), "docker's port, by {who}");
    }

    client.del("web", "eth0");
    Client::new("1.0.0").del("client", "eth0");
    assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "");
    assert_eq!(fetch("", "127.0.0.1:9090").as_deref(), Some(&b"docker\n"[..]), "docker's port stays");
    world.assert_as(&before);
    assert_eq!(Client::new("1.1.0").call("STATUS", &[]), (true, Value::Null));
}
