//! A network over several hosts: with the device and the file that flannel leaves behind, with routes by the
//! hosts themselves, and with routes that real BIRD daemons tell each other.

mod bgp;
mod lan;

use crate::common::{World, on_every_firewall};
use lan::{Host, Lan};

on_every_firewall!(
    hosts_that_flannel_joins_by_vxlan_are_one_network,
    hosts_that_are_each_others_gateways_are_one_network,
    other_hosts_are_on_a_network_whatever_its_mode,
);

/// The device that flannel makes for a family, with what leads to the other hosts.
fn vxlan(host: &Host, hosts: &[Host], ipv6: bool) {
    let device = if ipv6 { "flannel-v6.1" } else { "flannel.1" };
    let (mac, bits) = (|number: usize| format!("02:00:00:00:08:0{number}"), if ipv6 { 128 } else { 32 });
    host.sh(&format!(
        "ip link add {device} mtu 1430 address {} type vxlan id 1 local {} dev wire dstport 8472 nolearning &&
         ip addr add {}/{bits} dev {device} && ip link set {device} up",
        mac(host.number),
        host.wire(ipv6),
        host.address(0, ipv6),
    ));
    for other in hosts.iter().filter(|other| other.number != host.number) {
        let (mac, gateway) = (mac(other.number), other.address(0, ipv6));
        host.sh(&format!(
            "ip neigh add {gateway} lladdr {mac} dev {device} nud permanent &&
             bridge fdb add {mac} dev {device} dst {} &&
             ip route add {} via {gateway} dev {device} onlink",
            other.wire(ipv6),
            other.subnet(ipv6),
        ));
    }
}

/// What flannel writes.
fn subnet_env(host: &Host) -> String {
    format!(
        "FLANNEL_NETWORK=10.8.0.0/16\nFLANNEL_SUBNET={}/24\nFLANNEL_IPV6_NETWORK=fd00:8::/48\n\
         FLANNEL_IPV6_SUBNET={}/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n",
        host.address(1, false),
        host.address(1, true)
    )
}

fn hosts_that_flannel_joins_by_vxlan_are_one_network(world: World) {
    let mut lan = Lan::new(world);
    lan.mtu = 1430;
    for host in &lan.hosts {
        [false, true].into_iter().for_each(|ipv6| vxlan(host, &lan.hosts, ipv6));
        host.sh(&format!("mkdir /run/flannel && printf '{}' >/run/flannel/subnet.env", subnet_env(host)));
        host.configure(
            "[network.flat]\nsubnet-from = '/run/flannel/subnet.env'\n\
             trusted-interfaces = ['flannel.1', 'flannel-v6.1']",
        );
    }
    lan.start_containers();
    for ipv6 in [false, true] {
        lan.assert_one_network(ipv6);
        lan.assert_masqueraded(ipv6);
        // By the wire itself nobody comes, whoever they say they are.
        lan.assert_guarded(ipv6, |_| Vec::new());
    }
    for (at, host) in lan.hosts.iter().enumerate() {
        assert!(seen_by_host(&lan, at).is_empty(), "{:?}", seen_by_host(&lan, at));
        assert!(host.netns_ok("networks").contains(" up "));
    }
    leave_nothing(&mut lan);
}

fn hosts_that_are_each_others_gateways_are_one_network(world: World) {
    let mut lan = Lan::new(world);
    lead_to_each_other(&lan);
    for host in &lan.hosts {
        // The guard alone is to keep others out. What no host has comes from nobody.
        host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             ip route add unreachable 10.8.0.0/16 && ip -6 route add unreachable fd00:8::/48");
        define(host, "");
    }
    lan.start_containers();
    for ipv6 in [false, true] {
        lan.assert_one_network(ipv6);
        lan.assert_masqueraded(ipv6);
        lan.assert_guarded(ipv6, |host| lan.forgeable(host, ipv6));
    }
    let (a, c) = (lan.hosts[0].container.unwrap(), lan.hosts[2].address(2, false));
    lan.hosts[0].sh("ip route del 10.8.3.0/24");
    assert!(!a.try_sh(&format!("busybox ping -c 1 -W 1 {c}")).status.success(), "its route is withdrawn");
    lan.hosts[0].sh("ip route add 10.8.3.0/24 via 192.168.0.3 dev wire");
    assert_eq!(lan::seen(a, &c, 81), lan.hosts[0].address(2, false));
    lan.assert_open_without_guard();
    leave_nothing(&mut lan);
}

/// Routes by the wire to the containers of each other host.
fn lead_to_each_other(lan: &Lan) {
    for (from, to) in lan.pairs() {
        for ipv6 in [false, true] {
            from.sh(&format!("ip route add {} via {} dev wire", to.subnet(ipv6), to.wire(ipv6)));
        }
    }
}

fn other_hosts_are_on_a_network_whatever_its_mode(world: World) {
    let mut lan = Lan::new(world);
    lead_to_each_other(&lan);
    for (mode, publish) in
        [("mode = 'routed'", "80:80"), ("internal = true", "8080:80"), ("mode = 'isolated'", "")]
    {
        for host in &lan.hosts {
            let [v4, v6] = [false, true].map(|ipv6| host.address(1, ipv6));
            let routes = format!("routes = ['10.8.0.0/16 via {v4}', 'fd00:8::/48 via {v6}']");
            define(host, &format!("{mode}\n{routes}"));
        }
        lan.start_containers_with(publish);
        for ipv6 in [false, true] {
            for (from, to) in lan.pairs() {
                let (caller, there) = (from.container.unwrap(), to.address(2, ipv6));
                assert!(caller.pings(&there), "{mode}: host {} to {there}", from.number);
                assert_eq!(lan::seen(caller, &there, 81), from.address(2, ipv6), "{mode}");
            }
            let (host, own) = (&lan.hosts[0], if ipv6 { "fd00:a::66" } else { "192.168.0.66" });
            lan.attacker.sh(&format!("ip route replace {} via {}", host.subnet(ipv6), host.wire(ipv6)));
            let expected = if mode.contains("routed") { [own, ""] } else { ["", ""] };
            let seen = [80, 81].map(|port| lan::seen(lan.attacker, &host.address(2, ipv6), port));
            assert_eq!(seen, expected, "{mode}: somebody on the wire");
            // Nobody there knows the way back to an address that is routed.
            assert_eq!(lan.seen_outside(host, ipv6), "", "{mode}");
        }
        leave_nothing(&mut lan);
    }
}

/// Defines a host's part of the network by its subnets.
fn define(host: &Host, more: &str) {
    let [v4, v6] = [false, true].map(|ipv6| host.address(1, ipv6));
    host.configure(&format!(
        "[network.flat]\nsubnets = ['{v4}/24', '{v6}/64']\ntrusted-interfaces = ['wire']\n\
         no-masquerade-to = ['10.8.0.0/16', 'fd00:8::/48']\n{more}"
    ));
}

/// What doctor finds wrong on a host.
fn seen_by_host(lan: &Lan, at: usize) -> String {
    let output = lan.hosts[at].netns("doctor");
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stdout).into_owned() }
}

/// When the containers and the network are gone, a host has no rule and no link of ours.
fn leave_nothing(lan: &mut Lan) {
    for at in 0..lan.hosts.len() {
        lan.delete_container(at);
        let host = &lan.hosts[at];
        host.netns_ok("rm flat");
        let left = host.sh("ip -o link show type bridge; ip -o link show type veth | grep netnsv; \
                            iptables-save | grep NETNS; ip6tables-save | grep NETNS; nft list ruleset | grep netns; true");
        assert_eq!(left, "", "host {}", host.number);
    }
}
