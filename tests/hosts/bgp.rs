//! Hosts whose routes to each other's bridges real BIRD daemons tell them over BGP.

use std::fs;
use std::time::{Duration, Instant};

use super::lan::{Host, Lan, NAMES};
use super::{define, leave_nothing};
use crate::common::{World, skip};

/// How long the daemons may take to agree.
const PATIENCE: Duration = Duration::from_secs(40);

/// A daemon that announces the bridge's subnets to the other two, and takes theirs.
fn configuration(host: &Host, hosts: &[Host]) -> String {
    let channel = |family: &str, range: &str| {
        format!(
            "{family} {{ import where net ~ [ {range}+ ]; export where source = RTS_DEVICE && net ~ [ {range}+ ]; \
             next hop self; }};"
        )
    };
    let (v4, v6) = (channel("ipv4", "10.8.0.0/16"), channel("ipv6", "fd00:8::/48"));
    let mut text = format!(
        "router id {};
         protocol device {{ scan time 1; }}
         protocol direct bridges {{ ipv4; ipv6; interface \"flat\"; }}
         protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
         protocol kernel {{ ipv6 {{ import none; export where source = RTS_BGP; }}; }}
         template bgp neighbour {{
             local as 65000; direct; connect delay time 1; connect retry time 1; error wait time 1, 2;
         }}\n",
        host.wire(false)
    );
    for other in hosts.iter().filter(|other| other.number != host.number) {
        let name = NAMES[other.number - 1];
        text += &format!(
            "protocol bgp {name} from neighbour {{ neighbor {} as 65000; {v4} }}\n",
            other.wire(false)
        );
        text += &format!(
            "protocol bgp {name}6 from neighbour {{ neighbor {} as 65000; {v6} }}\n",
            other.wire(true)
        );
    }
    text
}

fn start_bird(lan: &mut Lan) {
    for (host, name) in lan.hosts.iter().zip(NAMES) {
        let file = format!("/run/test/{name}.bird");
        fs::write(&file, configuration(host, &lan.hosts)).expect("write bird.conf");
        host.sh(&format!("mkdir /run/bird && bird -p -c {file}"));
        host.start(&mut lan.world, "/usr/sbin/bird", &["-f", "-c", &file, "-s", "/run/bird/ctl"]);
    }
}

/// Waits until every other host has routes to a host's containers, or has none.
fn wait_for_routes(lan: &Lan, to: usize, there: bool) {
    let end = Instant::now() + PATIENCE;
    for (from, to) in lan.pairs().filter(|(_, other)| other.number == to + 1) {
        for (ipv6, flag) in [(false, "-4"), (true, "-6")] {
            let routes = || from.sh(&format!("ip {flag} route show proto bird"));
            while routes().contains(&to.subnet(ipv6)) != there {
                let told = from.sh("birdc -s /run/bird/ctl show protocols");
                assert!(Instant::now() < end, "host {} has the routes {}: {told}", from.number, routes());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

#[test]
fn hosts_whose_routes_bird_announces_are_one_network() {
    let Some(world) = World::new() else { return };
    if !std::path::Path::new("/usr/sbin/bird").exists() {
        return skip("bird is not installed");
    }
    let mut lan = Lan::new(world);
    for host in &lan.hosts {
        host.sh("ip route add unreachable 10.8.0.0/16 && ip -6 route add unreachable fd00:8::/48");
        define(host, "");
    }
    lan.start_containers();
    start_bird(&mut lan);
    (0..3).for_each(|at| wait_for_routes(&lan, at, true));
    for ipv6 in [false, true] {
        lan.assert_one_network(ipv6);
        lan.assert_masqueraded(ipv6);
        lan.assert_guarded(ipv6, |host| lan.forgeable(host, ipv6));
    }
    lan.hosts[2].sh("birdc -s /run/bird/ctl disable bridges");
    wait_for_routes(&lan, 2, false);
    let (a, b) = (lan.hosts[0].container.unwrap(), lan.hosts[1].address(2, false));
    let ping = |address: &str| a.try_sh(&format!("busybox ping -c 1 -W 1 {address}")).status.success();
    assert!(!ping(&lan.hosts[2].address(2, false)), "its routes are withdrawn");
    assert!(a.pings(&b), "the others' are there");
    lan.hosts[2].sh("birdc -s /run/bird/ctl enable bridges");
    wait_for_routes(&lan, 2, true);
    lan.assert_one_network(false);
    leave_nothing(&mut lan);
}
