//! A container of two networks that have both families each: what others did meanwhile, its death,
//! and the policy.

use super::{configure, refused};
use crate::common::{Process, World, on_every_firewall, wait_for};

on_every_firewall! {
    whatever_others_did_meanwhile_it_leaves_and_nothing_is_left,
    networks_that_drifted_are_set_right_by_the_next_attach,
    who_dies_is_collected_with_what_it_had_of_both,
}

/// Two networks of both families.
pub const DUAL: &str = "[network.front]\nsubnets = ['10.8.0.1/24', 'fd00:8::1/64']\n\
                        [network.back]\nsubnets = ['10.9.0.1/24', 'fd00:9::1/64']\n";

/// Has every `netns` know the two.
pub fn dual(world: &mut World) {
    configure(world, DUAL);
    world.flags.push("--config=/run/test/netns.toml".to_owned());
}

fn attach(world: &World, id: &str, process: Process) {
    let file = format!("ip-{id}");
    world.attach_ok(id, process, &[("network", "front;back"), ("publish", "80"), ("ipfile", &file)]);
}

/// The host with rules, but without any of ours.
fn without_any(world: &World) -> Vec<String> {
    for network in ["front", "back"] {
        world.netns_ok(&["create", network], "");
    }
    remove(world);
    world.snapshot()
}

fn remove(world: &World) {
    for network in ["back", "front"] {
        world.netns_ok(&["rm", network], "");
    }
}

fn whatever_others_did_meanwhile_it_leaves_and_nothing_is_left(mut world: World) {
    dual(&mut world);
    let web = world.process();
    let before = without_any(&world);
    let flushed = match world.is_on_nftables() {
        true => ["nft delete table ip6 netns", "nft flush chain ip6 netns published"],
        false => [
            "for t in raw nat filter; do ip6tables -t $t -F; ip6tables -t $t -X; done",
            "ip6tables -t nat -F NETNS-PUBLISH",
        ],
    };
    let others = [
        "ip -6 addr flush dev front scope global",
        "ip link del back",
        "ip -6 neigh flush dev front nud permanent",
        "sysctl -qw net.ipv6.conf.front.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.all.force_forwarding=0",
    ];
    for meddle in others.into_iter().chain(flushed) {
        attach(&world, "web", web);
        world.sh(meddle);
        world.detach_ok("web");
        assert_eq!(world.ls(), serde_json::json!([]), "{meddle}");
        remove(&world);
        world.sh("rm /run/test/.ip /run/test/ip-web 2>/dev/null; true");
        world.assert_as(&before);
    }
}

fn networks_that_drifted_are_set_right_by_the_next_attach(mut world: World) {
    dual(&mut world);
    let before = without_any(&world);
    let (first, second, other) = (world.process(), world.process(), world.neighbour_of_both());
    attach(&world, "first", first);
    let network = "ip -o addr show dev back scope global; ip -6 route show dev back | grep -v fe80; \
                   cat /proc/sys/net/ipv6/conf/all/force_forwarding";
    let was = world.sh(network);
    world
        .sh("ip addr flush dev back; ip link set back down; sysctl -qw net.ipv6.conf.all.force_forwarding=0");
    assert!(!first.pings("fd00:9::1") && !first.pings("2001:db8::2"), "it is broken");
    attach(&world, "second", second);
    assert_eq!(world.sh(network), was);
    let told = world.sh("ip neigh show nud permanent dev back");
    for address in ["10.9.0.2", "10.9.0.3", "fd00:9::2", "fd00:9::3"] {
        assert!(told.contains(&format!("{address} ")), "the host knows whose it is: {told}");
    }
    for address in ["10.9.0.1", "fd00:9::1", "fd00:8::1", "10.0.0.2", "2001:db8::2"] {
        assert!(first.pings(address) && second.pings(address), "{address}");
    }
    assert!(second.pings("fd00:9::2") && second.pings("fd00:8::2"));
    ["first", "second"].into_iter().for_each(|id| world.detach_ok(id));
    remove(&world);
    world.kill(other);
    wait_for("the wire to go", || !world.links().contains(&"wire0".to_owned()));
    world.assert_as(&before);
}

fn who_dies_is_collected_with_what_it_had_of_both(mut world: World) {
    dual(&mut world);
    let (web, beside) = (world.process(), world.process());
    attach(&world, "beside", beside);
    let before = world.snapshot();
    attach(&world, "web", web);
    world.kill(web);
    let ends = || world.links().iter().filter(|link| link.starts_with("netnsv0-")).count();
    wait_for("the veth pairs to go", || ends() == 2);
    assert_eq!(world.netns_ok(&["gc"], ""), "container web\n");
    world.assert_as(&before);
    assert!(beside.pings("fd00:8::1") && beside.pings("fd00:9::1"));
}

#[test]
fn addresses_of_ipv6_are_under_the_policy_on_each_network() {
    let Some(mut world) = World::new() else { return };
    let policy = "[policy]\nstatic-ips = ['10.8.0.0/28', 'fd00:8::/120', 'fd00:9::/120']\n\
                  publish-addresses = ['2001:db8::1']\n";
    configure(&world, &format!("{policy}{DUAL}"));
    world.flags.push("--config=/run/test/netns.toml".to_owned());
    let process = world.process();
    world.neighbour_of_both();
    let allows =
        "the policy's static-ips allows 10.8.0.0/28, fd00:8::/120, fd00:9::/120, and not fd00:9::1:9";
    let said = refused(&world, "web", process, "front:ip=fd00:8::9;back:ip=10.9.0.9,ip=fd00:9::1:9");
    assert!(said.contains(allows) || said.contains("and not 10.9.0.9"), "{said}");
    let said = refused(&world, "web", process, "front;back:ip=fd00:9::1:9");
    assert!(said.contains(allows), "{said}");
    let asked = |publish| [("network", "front:ip=fd00:8::9;back:ip=fd00:9::9"), ("publish", publish)];
    for publish in ["8080:80", "[2001:db8::2]:8080:80", "10.0.0.1:8080:80"] {
        let output = world.attach("web", process, &asked(publish));
        let said = crate::common::stderr(&output);
        assert!(said.contains("the policy's publish-addresses allows 2001:db8::1/128, and not "), "{said}");
    }
    world.attach_ok("web", process, &asked("[2001:db8::1]:8080:80"));
    assert!(process.pings("fd00:9::1"));
}
