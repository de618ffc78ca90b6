//! What the administrator says about who may call: a chain of their own, and the sources of a port.

use crate::common::scene::{Scene, ask};
use crate::common::{World, on_every_firewall, stderr};

on_every_firewall! {
    a_port_published_for_some_sources_is_reached_by_nobody_else,
    the_chain_of_the_administrator_goes_before_our_accepts_and_is_never_touched,
}

/// Each port, and who reaches it, of the ways of a [`Scene`].
const LIMITED: [(&str, &str, &[&str]); 3] = [
    ("8080:80,from=10.0.0.0/24", "8080/tcp", &["another host", "the host"]),
    (
        "8081:80/udp,from=10.0.0.2,from=172.19.0.0/16",
        "8081/udp",
        &[
            "another host",
            "the container beside",
            "the container beside, by the gateway",
            "the container itself",
        ],
    ),
    ("127.0.0.1:8082:80,from=127.0.0.0/8", "8082/tcp", &["the host by localhost"]),
];

fn a_port_published_for_some_sources_is_reached_by_nobody_else(mut world: World) {
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let publish = LIMITED.map(|(publish, ..)| publish).join(",");
    let range = "9000-9009:9000-9009,from=192.0.2.0/24,from=198.51.100.0/24";
    let rival = world.process();
    let scene = Scene::new(world, &format!("{publish},8083:80,{range}"));
    for on in [true, false] {
        scene.world.set_bridge_netfilter(on);
        for (_, port, reached_by) in LIMITED {
            for (who, from, address) in scene.ways() {
                let reached = || ask(from, address, port) == "web";
                let should = reached_by.contains(&who);
                let as_it_should = if should { (0..4).any(|_| reached()) } else { !reached() };
                assert!(as_it_should, "{port} by {address}, asked by {who}: reached is not {should}");
            }
        }
        scene.assert_reached("8083/tcp", "web");
    }
    let refused = scene.world.attach("rival", rival, &[("publish", "8080:80,from=192.0.2.0/24")]);
    assert!(stderr(&refused).contains("8080"), "a port is somebody's, whoever may call: {refused:?}");

    let (web, all) = ("172.19.0.2/16", scene.world.ls());
    let web = all.as_array().and_then(|all| all.iter().find(|it| it["addresses"][0] == web)).expect("web");
    let ports = web["published"].as_array().expect("ports").iter();
    let from: Vec<String> = ports.map(|port| port["from"].to_string()).collect();
    let both = r#"["172.19.0.0/16","10.0.0.2/32"]"#;
    assert_eq!(from[..4], [r#"["10.0.0.0/24"]"#, both, r#"["127.0.0.0/8"]"#, "null"].map(str::to_owned));
    assert_eq!(scene.world.netns_ok(&["reload"], ""), "every rule is there\n");
    let doctor = scene.world.netns(&["doctor"], "");
    let found = String::from_utf8_lossy(&doctor.stdout);
    assert!(!found.contains("->80"), "it is meant so: {found}");

    let world = &scene.world;
    let up = world.snapshot();
    if world.is_on_nftables() {
        world.sh("nft flush map ip netns publish_from");
    } else {
        world.sh("iptables -t nat -F NETNS-tcp-31 && iptables -t nat -F NETNS-udp-31");
    }
    assert_ne!(world.snapshot(), up);
    world.netns_ok(&["reload"], "");
    world.assert_as(&up);
    for id in ["web", "beside"] {
        world.detach_ok(id);
    }
    world.sh("ip link del wire0; rm -f /run/test/.ip");
    world.assert_as(&before);
}

/// The command of a rule of the administrator's, with a comment as if it were ours.
fn user(world: &World, packet: &str) -> String {
    if world.is_on_nftables() {
        let called = ("-p tcp -m conntrack --ctorigdstport", "meta l4proto tcp ct original proto-dst");
        let words = [("-s", "ip saddr"), ("-d", "ip daddr"), ("-j DROP", "counter drop"), called];
        let packet = words.iter().fold(packet.to_owned(), |packet, (word, nft)| packet.replace(word, nft));
        return format!("nft add rule ip netns user {packet} comment '\"netns\"'");
    }
    format!("iptables -A NETNS-USER {packet} -m comment --comment 'netns container web'")
}

fn the_chain_of_the_administrator_goes_before_our_accepts_and_is_never_touched(world: World) {
    let scene = Scene::new(world, "8080:80");
    let Scene { world, other, beside, web } = &scene;
    let list = if world.is_on_nftables() { "nft list chain ip netns user" } else { "iptables -S NETNS-USER" };
    let empty = world.sh(list);
    scene.assert_reached("8080/tcp", "web");
    world.sh(&user(world, "-s 10.0.0.2 -p tcp -m conntrack --ctorigdstport 8080 -j DROP"));
    world.sh(&user(world, "-d 10.0.0.2 -j DROP"));
    let shown = || world.sh(&format!("{list} | sed -E 's/packets.*bytes [0-9]+//'"));
    let theirs = shown();
    let holds = |when: &str| {
        for on in [true, false] {
            world.set_bridge_netfilter(on);
            assert_eq!(ask(Some(*other), "10.0.0.1", "8080/tcp"), "", "{when}");
            assert_eq!(ask(Some(*beside), "10.0.0.1", "8080/tcp"), "web", "{when}");
            assert_eq!(ask(None, "127.0.0.1", "8080/tcp"), "web", "{when}");
        }
        assert!(!web.try_sh("busybox ping -c 1 -W 1 10.0.0.2").status.success(), "{when}");
        assert!(web.pings("172.19.0.1"), "{when}");
        assert_eq!(shown(), theirs, "{when}");
    };
    holds("at once");
    assert_eq!(world.netns_ok(&["reload"], ""), "every rule is there\n");
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    if world.is_on_nftables() {
        world.sh("nft flush chain ip netns accepted && nft flush chain ip netns forward");
    } else {
        world.sh(
            "iptables -F NETNS-FORWARD && iptables -D FORWARD -m comment --comment netns -j NETNS-FORWARD",
        );
    }
    assert_eq!(world.netns_ok(&["reload"], "").split(' ').next(), Some("restored"));
    holds("after a reload");
    world.detach_ok("beside");
    world.attach_ok("beside", *beside, &[]);
    holds("after another container has left and come");

    // Of the networks nothing is left, and the chain is there for the next.
    for id in ["web", "beside"] {
        world.detach_ok(id);
    }
    world.netns_ok(&["rm"], "");
    world.netns_ok(&["gc"], "");
    assert_eq!(shown(), theirs, "it outlives the last network");
    let left = world.rules();
    let chains = left.lines().filter(|line| line.starts_with(":NETNS") || line.contains("chain "));
    assert_eq!(chains.count(), 1, "{left}");
    world.attach_ok("web", *web, &[("publish", "8080:80")]);
    world.attach_ok("beside", *beside, &[]);
    holds("with a new network");
    if world.is_on_nftables() {
        world.sh("nft flush chain ip netns user");
    } else {
        world.sh("iptables -F NETNS-USER");
    }
    assert_eq!(world.sh(list), empty);
    scene.assert_reached("8080/tcp", "web");
    world.netns_ok(&["rm", "--force"], "");
    assert!(!world.rules().to_lowercase().contains("netns"), "{}", world.rules());
}

#[test]
fn the_chain_is_for_what_containers_send_and_get_and_for_nothing_else() {
    let Some(world) = World::new() else { return };
    let mut scene = Scene::new(world, "8080:80");
    scene.world.sh("iptables -A NETNS-USER -j DROP");
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "8080/tcp"), "");
    let far = scene.world.process();
    scene.world.sh(&format!(
        "ip link add far0 type veth peer name far1 netns {} && ip addr add 10.9.0.1/24 dev far0 && ip link set far0 up",
        far.pid
    ));
    far.sh("ip addr add 10.9.0.2/24 dev far1 && ip link set far1 up && ip route add default via 10.9.0.1");
    scene.other.sh("ip route add 10.9.0.0/24 via 10.0.0.1");
    scene.world.sh("iptables -I FORWARD -i far0 -j ACCEPT && iptables -I FORWARD -o far0 -j ACCEPT");
    assert!(far.pings("10.0.0.2"), "what the host forwards for others");
}
