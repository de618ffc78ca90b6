//! IPv6: each fault of it that IPv4 does not have, and a healthy host of both families.

use super::{Case, UPLINK, assert_healthy};
use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{Process, World, on_every_firewall};

on_every_firewall! {
    a_host_of_both_families_is_healthy,
    rules_of_ipv6_that_somebody_flushed,
    a_chain_that_drops_ipv6_or_both,
    forwarding_of_ipv6_that_is_off,
    a_port_that_a_rule_of_ipv6_leads_elsewhere,
    a_policy_and_a_rule_of_ip6tables,
    rules_of_ours_that_the_other_variant_of_ip6tables_has,
}

/// A healthy host with an uplink by both families, a container that publishes a port, and another
/// host.
fn ward(world: &mut World) -> [Process; 2] {
    world.use_subnets(&["172.19.0.1/16", "fd00:19::1/64"]);
    let (web, other) = (world.process(), world.neighbour_of_both());
    // Without the part that switches IPv6 off.
    let (_, uplink) = UPLINK.split_once("; ").unwrap();
    world.sh(&format!("{uplink}; ip route add default via 2001:db8::2"));
    world.attach_ok("web", web, &[("publish", "8080:80")]);
    serve_tcp(web, 80, "web");
    serve_tcp(other, 80, "other");
    [web, other]
}

fn reaches_out(web: Process, address: &str) -> bool {
    ask(Some(web), address, "80/tcp") == "other"
}

fn is_reached(other: Process) -> bool {
    ask(Some(other), "2001:db8::1", "8080/tcp") == "web"
}

fn a_host_of_both_families_is_healthy(mut world: World) {
    let [web, other] = ward(&mut world);
    let text = "[network.routed]\nsubnets = ['10.8.0.1/24', 'fd00:8::1/64']\nmode = 'routed'\n\
                [network.six]\nsubnets = ['fd00:9::1/64']\n\
                [network.inside]\nsubnets = ['10.10.0.1/24', 'fd00:10::1/64']\ninternal = true\n";
    std::fs::write("/run/test/netns.toml", text).unwrap();
    world.flags.push("--config=/run/test/netns.toml".to_owned());
    for (network, port) in [("routed", "8081:80"), ("six", "8082:80"), ("inside", "8083:80")] {
        let process = world.process();
        serve_tcp(process, 80, network);
        world.attach_ok(network, process, &[("network", network), ("publish", port)]);
    }
    assert!(reaches_out(web, "2001:db8::2") && reaches_out(web, "10.0.0.2") && is_reached(other));
    let before = world.snapshot();
    assert_healthy(&world);
    world.assert_as(&before);
}

fn rules_of_ipv6_that_somebody_flushed(mut world: World) {
    world.sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding");
    let [web, other] = ward(&mut world);
    other.sh("ip route add fd00:19::/64 via 2001:db8::1");
    let flows = || {
        reaches_out(web, "2001:db8::2")
            && is_reached(other)
            && ask(Some(other), "fd00:19::2", "80/tcp").is_empty()
    };
    let harms = match world.is_on_nftables() {
        true => ["nft flush chain ip6 netns guard", "nft flush chain ip6 netns postrouting"],
        false => ["ip6tables -t raw -F NETNS-GUARD", "ip6tables -t nat -F NETNS-MASQUERADE"],
    };
    for harm in harms {
        let case = Case { world: &world, check: "rules-missing", args: &[], harm, flows };
        let finding = case.is_remedied();
        let why = finding["why"].as_str().unwrap();
        assert!(why.contains("ip6tables -t ") || why.contains(" ip6 netns "), "{why}");
        case.is_fixed();
    }
}

/// What drops it is told first, and that it does so by IPv6, or by both families, which is said once.
fn drops(world: &World, harm: &str, flows: impl Fn() -> bool, why: &str) {
    let finding = Case { world, check: "forward-dropped", args: &[], harm, flows }.is_remedied();
    let said = finding["why"].as_str().unwrap();
    assert!(said.starts_with(why), "{said}");
    assert_eq!(said.matches("reach nobody").count(), 1, "{said}");
    assert_eq!(finding["fixable"], false, "it is somebody else's");
}

fn a_chain_that_drops_ipv6_or_both(mut world: World) {
    let [web, other] = ward(&mut world);
    let nobody = "containers on netns0 reach nobody beyond this host";
    for family in ["ip6", "inet"] {
        let harm = format!(
            "nft add table {family} own; nft add chain {family} own through \
             '{{ type filter hook forward priority 5; policy drop; }}'"
        );
        let alone = if family == "ip6" { " by IPv6" } else { "" };
        let why = format!(
            "the policy of chain {family} own through drops it: {nobody}{alone}; nobody on another host reaches \
             [::]:8080->80/tcp of container web{alone}"
        );
        drops(&world, &harm, || reaches_out(web, "2001:db8::2") && is_reached(other), &why);
        assert!(reaches_out(web, "10.0.0.2"));
        world.sh(&format!("nft delete table {family} own"));
    }
    let harm = "nft add table inet own; nft add chain inet own through '{ type filter hook forward priority 5; }'; \
                nft add rule inet own through meta nfproto ipv4 accept; \
                nft add rule inet own through ip6 saddr fd00:19::/64 drop";
    drops(&world, harm, || reaches_out(web, "2001:db8::2"), "the rule \"handle ");
}

fn a_policy_and_a_rule_of_ip6tables(mut world: World) {
    let [web, other] = ward(&mut world);
    let (ours, theirs) = match world.sh("ip6tables --version").contains("nf_tables") {
        true => ("nft", "legacy"),
        false => ("legacy", "nft"),
    };
    let flows = || reaches_out(web, "2001:db8::2") && is_reached(other);
    let why = format!(
        "the policy of chain FORWARD of ip6tables-{theirs} -t filter drops it: containers on netns0 reach nobody \
         beyond this host by IPv6"
    );
    drops(&world, &format!("ip6tables-{theirs} -P FORWARD DROP"), flows, &why);
    let why = "the rule \"-j DROP\" in chain FORWARD of ip6tables -t filter drops it: ";
    drops(&world, &format!("ip6tables-{ours} -I FORWARD -j DROP"), flows, why);
}

fn forwarding_of_ipv6_that_is_off(mut world: World) {
    let [web, other] = ward(&mut world);
    let flows = || reaches_out(web, "2001:db8::2") && is_reached(other);
    let case = |harm, why: &str| {
        let case = Case { world: &world, check: "forwarding-off", args: &[], harm, flows };
        let finding = case.is_remedied();
        let said = finding["why"].as_str().unwrap();
        assert!(said.starts_with(why), "{said}");
        case
    };
    let host =
        "net.ipv6.conf.all.force_forwarding is 0: containers on netns0 reach nobody by IPv6 but the host";
    case("sysctl -qw net.ipv6.conf.all.force_forwarding=0", host).is_fixed();
    let bridge = "nothing of IPv6 that comes from netns0 is forwarded: ";
    case("sysctl -qw net.ipv6.conf.netns0.force_forwarding=0", bridge).is_fixed();
    let uplink = "nothing of IPv6 that comes by wire0, where the default route leads, is forwarded: ";
    case("sysctl -qw net.ipv6.conf.wire0.force_forwarding=0", uplink);
}

fn a_port_that_a_rule_of_ipv6_leads_elsewhere(mut world: World) {
    let [_, other] = ward(&mut world);
    let case = Case {
        world: &world,
        check: "port-led-elsewhere",
        args: &[],
        harm: "ip6tables -t nat -I PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00:17::2]:80",
        flows: || is_reached(other),
    };
    let finding = case.is_remedied();
    let remedy = finding["remedy"].as_str().unwrap();
    assert!(remedy.starts_with("ip6tables -t nat -D PREROUTING "), "{remedy}");
    assert_eq!(ask(Some(other), "10.0.0.1", "8080/tcp"), "web");
}

fn rules_of_ours_that_the_other_variant_of_ip6tables_has(mut world: World) {
    let [_, other] = ward(&mut world);
    let theirs = match world.sh("ip6tables --version").contains("nf_tables") {
        true => "ip6tables-legacy",
        false => "ip6tables-nft",
    };
    let harm = format!(
        "{theirs} -t nat -N NETNS-PUBLISH; {theirs} -t nat -A PREROUTING -j NETNS-PUBLISH; \
         {theirs} -t nat -A NETNS-PUBLISH -p tcp --dport 8080 -j DNAT --to-destination [fd00:19::9]:80"
    );
    let flows = || is_reached(other);
    let case = Case { world: &world, check: "two-variants", args: &[], harm: &harm, flows };
    let finding = case.is_remedied();
    assert!(finding["why"].as_str().unwrap().contains(&format!("the tables of {theirs} too")), "{finding:#}");
    case.is_fixed();
}
