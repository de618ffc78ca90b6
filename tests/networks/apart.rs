//! `inter-container = false`: the containers of a network do not reach each other, by either family.

use super::configure;
use crate::common::scene::ask;
use crate::common::traffic::{serve_tcp, serve_udp};
use crate::common::{Process, World, on_every_firewall};

on_every_firewall!(neighbours_reach_all_but_each_other_and_other_networks_are_not_harmed);

const DEFINED: &str = "[network.apart]\nsubnets = ['10.8.0.1/24', 'fd00:8::1/64']\ninter-container = false\n\
                       [network.beside]\nsubnets = ['10.9.0.1/24', 'fd00:9::1/64']\n";

/// Asks as often as a busy machine may take.
fn asks(from: Option<Process>, address: &str, port: &str) -> String {
    (0..4).map(|_| ask(from, address, port)).find(|answer| !answer.is_empty()).unwrap_or_default()
}

/// What one hears of the other by each family and protocol.
fn heard(from: Process, addresses: [&str; 2]) -> Vec<String> {
    let all = addresses.into_iter().flat_map(|address| ["80/tcp", "80/udp"].map(|port| (address, port)));
    all.map(|(address, port)| ask(Some(from), address, port)).collect()
}

fn pings_none(from: Process, addresses: [&str; 2]) -> bool {
    let answered =
        |address: &&str| from.try_sh(&format!("busybox ping -c 1 -W 1 {address}")).status.success();
    !addresses.iter().any(answered)
}

fn neighbours_reach_all_but_each_other_and_other_networks_are_not_harmed(mut world: World) {
    configure(&world, DEFINED);
    world.flags.push("--config=/run/test/netns.toml".to_owned());
    let other = world.neighbour_of_both();
    let [a, b, c, d] = [(); 4].map(|()| world.process());
    for (id, process, network, publish) in [
        ("a", a, "apart:ip=10.8.0.2,ip=fd00:8::2", "8080:80,8080:80/udp"),
        ("b", b, "apart:ip=10.8.0.3,ip=fd00:8::3", "8081:80,8081:80/udp"),
        ("c", c, "beside:ip=10.9.0.2,ip=fd00:9::2", "8082:80"),
        ("d", d, "beside:ip=10.9.0.3,ip=fd00:9::3", "8083:80"),
    ] {
        world.attach_ok(id, process, &[("network", network), ("publish", publish)]);
        serve_tcp(process, 80, id);
        serve_udp(process, 80, id);
    }
    serve_tcp(other, 80, "other");
    let (to_a, to_b) = (["10.8.0.2", "fd00:8::2"], ["10.8.0.3", "fd00:8::3"]);
    // Where bridged packets pass iptables, published ports are not reached by a neighbour.
    for on in [true, false] {
        world.set_bridge_netfilter(on);
        assert_eq!((heard(a, to_b), heard(b, to_a)), (vec![String::new(); 4], vec![String::new(); 4]));
        assert!(pings_none(a, to_b) && pings_none(b, to_a));
        for address in ["10.8.0.1", "fd00:8::1", "10.0.0.2", "2001:db8::2"] {
            assert!(a.pings(address), "{address}");
        }
        for address in ["10.0.0.2", "2001:db8::2"] {
            assert_eq!(asks(Some(b), address, "80/tcp"), "other");
        }
        assert_eq!(heard(c, ["10.9.0.3", "fd00:9::3"]), ["d"; 4], "a network beside it is not harmed");
    }
    for address in ["10.0.0.1", "2001:db8::1", "10.8.0.1", "fd00:8::1"] {
        for port in ["8081/tcp", "8081/udp"] {
            assert_eq!(asks(Some(a), address, port), "b", "{port} by {address}");
        }
        assert_eq!(asks(Some(a), address, "8080/tcp"), "a", "its own, by {address}");
    }
    for address in ["10.0.0.1", "2001:db8::1"] {
        assert_eq!(asks(Some(other), address, "8081/tcp"), "b");
        assert_eq!(asks(Some(c), address, "8081/tcp"), "b", "from the other network");
    }
    assert_eq!(asks(None, "127.0.0.1", "8081/tcp"), "b");
    assert_eq!(asks(None, "fd00:8::3", "80/tcp"), "b", "the host itself");
    // Both may agree to go by the gateway, which is what a bridge cannot prevent.
    for (process, [four, six]) in [(a, to_b), (b, to_a)] {
        process.sh(&format!("ip route add {four}/32 via 10.8.0.1; ip route add {six}/128 via fd00:8::1"));
    }
    assert_eq!((heard(a, to_b), heard(b, to_a)), (vec![String::new(); 4], vec![String::new(); 4]));
    world.sh(match world.is_on_nftables() {
        true => "nft flush chain ip netns closed; nft flush chain ip6 netns closed",
        false => "iptables -F NETNS-CLOSED; ip6tables -F NETNS-CLOSED",
    });
    assert_eq!(heard(a, to_b), ["b"; 4], "the attack is real");
    assert!(world.netns_ok(&["reload"], "").starts_with("restored "));
    assert_eq!(heard(b, to_a), vec![String::new(); 4]);
}
