//! Published ports of a container that has both families, or IPv6 alone.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::{ALONE, BOTH};
use crate::common::scene::ask;
use crate::common::traffic::{ask_tcp, inside, serve_tcp, serve_udp};
use crate::common::{Process, World, on_every_firewall, stderr};

on_every_firewall! {
    a_port_is_reached_by_both_families_by_whoever_calls_it,
    an_address_of_one_family_is_of_that_alone,
    a_udp_client_of_ipv6_follows_the_port_to_another_container,
    what_was_published_by_ipv6_is_restored_and_gone_with_its_container,
}

/// All addresses of the host by which a port that is published on all of them is called.
const ADDRESSES: [&str; 4] = ["10.0.0.1", "2001:db8::1", "172.19.0.1", "fd00:19::1"];

/// A container that serves on port 80, one beside it, and another host.
fn scene(world: &mut World, publish: &str) -> [Process; 3] {
    let (web, beside, other) = (world.process(), world.process(), world.neighbour_of_both());
    world.attach_ok("web", web, &[("publish", publish)]);
    world.attach_ok("beside", beside, &[]);
    serve_tcp(web, 80, "web");
    serve_udp(web, 80, "web");
    [web, beside, other]
}

/// Asks for as long as a busy machine may take.
fn asks(from: Option<Process>, address: &str, port: &str) -> String {
    (0..4).map(|_| ask(from, address, port)).find(|answer| !answer.is_empty()).unwrap_or_default()
}

fn a_port_is_reached_by_both_families_by_whoever_calls_it(mut world: World) {
    world.use_subnets(&BOTH);
    let [web, beside, other] = scene(&mut world, "8080:80,8080:80/udp,7000-7001:80-81");
    let who = [("the host", None), ("web", Some(web)), ("beside", Some(beside)), ("other", Some(other))];
    for on in [true, false] {
        world.set_bridge_netfilter(on);
        for (name, from) in who {
            // Another host knows nothing of the networks here.
            let known = ADDRESSES
                .iter()
                .filter(|address| name != "other" || !address.contains("19:") && !address.contains(".19."));
            for (address, port) in
                known.flat_map(|it| ["8080/tcp", "8080/udp", "7000/tcp"].map(|port| (*it, port)))
            {
                assert_eq!(asks(from, address, port), "web", "{port} by {address}, asked by {name}");
            }
        }
    }
    assert_eq!(asks(None, "127.0.0.1", "8080/tcp"), "web");
    // The kernel cannot lead it there: it is refused at once, and nobody waits.
    let began = Instant::now();
    assert_eq!(ask_tcp("[::1]:8080"), "");
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    let ls = world.ls();
    assert_eq!(ls[1]["published"][0]["host_ip"], "::", "{ls}");
}

fn an_address_of_one_family_is_of_that_alone(mut world: World) {
    world.use_subnets(&BOTH);
    let [_, beside, other] =
        scene(&mut world, "0.0.0.0:8081:80,[2001:db8::1]:8082:80,8083:80,from=2001:db8::/64,10.0.0.1::80");
    let answers = |from, port: &str| ADDRESSES.map(|address| !ask(from, address, port).is_empty());
    assert_eq!(answers(Some(beside), "8081/tcp"), [true, false, true, false]);
    assert_eq!(answers(Some(beside), "8082/tcp"), [false, true, false, false]);
    assert_eq!(answers(Some(beside), "8083/tcp"), [false; 4], "it is not among the sources");
    assert_eq!(answers(Some(other), "8083/tcp")[..2], [false, true]);
    let newcomer = world.process();
    for (publish, said) in [
        ("[::1]:9000:80", "the kernel leads nothing from ::1 to a container; 127.0.0.1 it does"),
        ("[::]:8081:80", "publish [::]:8081/tcp for container new: already published by container web"),
        (
            "[2001:db8::1]:8083-8084:1-2",
            "publish [2001:db8::1]:8083-8084/tcp for container new: already published",
        ),
    ] {
        let refused = stderr(&world.attach("new", newcomer, &[("publish", publish)]));
        assert!(refused.contains(said), "{publish}: {refused}");
    }
    // What the other family has of the same number is somebody else's.
    world.attach_ok("new", newcomer, &[("publish", "[2001:db8::1]:8081:80,0.0.0.0:8082:80")]);
}

fn a_udp_client_of_ipv6_follows_the_port_to_another_container(mut world: World) {
    world.use_subnets(&BOTH);
    let (one, two, other) = (world.process(), world.process(), world.neighbour_of_both());
    let socket = inside(other, || UdpSocket::bind("[2001:db8::2]:5000").unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    let ask = || {
        let mut buffer = [0; 64];
        let answer = |_| {
            socket.send_to(b"?", "[2001:db8::1]:53").ok()?;
            socket.recv(&mut buffer).ok()
        };
        (0..4)
            .find_map(answer)
            .map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned())
            .unwrap_or_default()
    };
    for (id, process) in [("one", one), ("two", two)] {
        serve_udp(process, 80, id);
        world.attach_ok(id, process, &[("publish", "53:80/udp")]);
        assert_eq!(ask(), id);
        world.detach_ok(id);
    }
}

fn what_was_published_by_ipv6_is_restored_and_gone_with_its_container(mut world: World) {
    world.use_subnets(&ALONE);
    let other = world.neighbour_of_both();
    let web = world.process();
    world.attach_ok("web", web, &[("publish", "8080:80,8100-8400:80-380")]);
    serve_tcp(web, 80, "web");
    let rules = "ip6tables-save | grep -v '^#' | sed 's/\\[.*//' | sort; nft list table ip6 netns 2>/dev/null \
                 | sed -E 's/packets [0-9]+ bytes [0-9]+//' | tr ',' '\\n' | sed 's/elements = {//; s/}//g; s/^[ \t]*//' | sort";
    let before = world.sh(rules);
    for flush in ["nft flush ruleset", "ip6tables -t nat -F; ip6tables -t raw -F; ip6tables -F"] {
        world.sh(&format!("{flush} 2>/dev/null || true"));
        world.netns_ok(&["reload"], "");
        assert_eq!(asks(Some(other), "2001:db8::1", "8080/tcp"), "web", "{flush}");
    }
    assert_eq!(world.sh(rules), before);
    world.detach_ok("web");
    assert_eq!(ask(Some(other), "2001:db8::1", "8080/tcp"), "");
    world.netns_ok(&["rm"], "");
    assert!(!world.sh("ip6tables-save; nft list tables").to_lowercase().contains("netns"));
}

#[test]
fn a_free_port_is_free_in_both_families() {
    let Some(mut world) = World::new() else { return };
    world.use_subnets(&BOTH);
    let _host = [
        std::net::TcpListener::bind("[::1]:8080").unwrap(),
        std::net::TcpListener::bind("[::]:49152").unwrap(),
        std::net::TcpListener::bind("127.0.0.1:49153").unwrap(),
    ];
    let (web, other) = (world.process(), world.process());
    world.attach_ok("web", web, &[("publish", "80,8080:80")]);
    let published = world.ls()[0]["published"].clone();
    assert_eq!(published[0]["host_port"], 49154, "{published}");
    let refused = stderr(&world.attach("other", other, &[("publish", "49152:80")]));
    assert!(refused.contains("of the host listens there"), "{refused}");
}

#[test]
fn a_container_whose_record_is_lost_is_adopted_with_both_addresses() {
    let Some(mut world) = World::new() else { return };
    world.use_subnets(&BOTH);
    let other = world.neighbour_of_both();
    let web = world.process();
    world.attach_ok("web", web, &[("publish", "8080:80,8081:80/udp")]);
    serve_tcp(web, 80, "web");
    let shown = |world: &World| {
        let ls = world.ls();
        ["addresses", "gateway", "published", "mac"].map(|key| ls[0][key].clone())
    };
    let before = shown(&world);
    world.sh("rm -r /run/netns-hook");
    world.netns_ok(&["gc", "--adopt"], "");
    assert_eq!(shown(&world), before);
    for address in ["10.0.0.1", "2001:db8::1"] {
        assert_eq!(asks(Some(other), address, "8080/tcp"), "web");
    }
    world.netns_ok(&["detach", "web"], "");
    world.netns_ok(&["rm"], "");
    assert!(!world.sh("iptables-save; ip6tables-save").contains("NETNS"));
    assert_eq!(world.sh("cat /proc/sys/net/ipv6/conf/all/force_forwarding /proc/sys/net/ipv6/conf/default/force_forwarding"), "0\n0\n");
}

#[test]
fn names_are_those_of_both_addresses_and_servers_those_that_are_reached() {
    let Some(mut world) = World::new() else { return };
    std::fs::write("/run/test/resolv", "nameserver fd00::53\nnameserver 10.0.0.53\nsearch lan\n").unwrap();
    world.sh("mount --bind /run/test/resolv $(realpath /etc/resolv.conf)");
    for (network, subnets, hosts, servers) in [
        (
            "both0",
            &BOTH[..],
            "172.19.0.2 web\nfd00:19::2 web",
            "nameserver fd00::53\nnameserver 10.0.0.53\nsearch lan\n",
        ),
        ("six0", &["fd00:20::1/64"], "fd00:20::2 web", "nameserver fd00::53\nsearch lan\n"),
        ("four0", &["172.20.0.1/16"], "172.20.0.2 web", "nameserver 10.0.0.53\nsearch lan\n"),
    ] {
        let web = world.process();
        world.flags = vec![format!("--bridge={network}")];
        world.use_subnets(subnets);
        world.attach_ok("web", web, &[]);
        let names = format!("/run/netns-hook/names/{network}");
        assert_eq!(world.sh(&format!("grep ' web' {names}/hosts | sed 's/ *$//'")).trim(), hosts);
        assert_eq!(std::fs::read_to_string(format!("{names}/resolv.conf")).unwrap(), servers);
        world.detach_ok("web");
    }
}
