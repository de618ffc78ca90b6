//! The plan is a value: golden texts of the pure planner, its refusals, and what `netns plan`
//! prints beside what the hook then does.
//!
//! `NETNS_GOLDEN=write cargo test plan::` writes the texts in `tests/plan` anew.

mod known;
mod parent;

use std::path::Path;
use std::process::Command;

use netns::config::Options;
use netns::error::Result;
use netns::model::observed::{Forwarding, Host, NameHolder};
use netns::model::sandbox::{FoundBy, Sandbox};
use netns::model::step::Step;
use netns::operations::{apply_lines, undo_lines};
use netns::plan::Plan;

use self::known::sandbox;
pub use self::known::{
    Known, after, attach, device, devices, fresh_host, host_with, host_with_network, host_with_routes,
    publish, route,
};
use crate::common::{NETNS, World, run, state, stderr, wait_for};

/// Compares a plan, and what would undo it, with the text in `tests/plan`. The network's rules
/// are undone as they were made and not told again.
fn assert_golden(name: &str, plan: &Plan) {
    let attach = apply_lines(&plan.all_steps().collect::<Vec<_>>());
    let detach = undo_lines(&plan.record.steps.iter().collect::<Vec<_>>());
    let network: Vec<&Step> = plan.networks.iter().flat_map(|network| &network.network.steps).collect();
    let mut network = undo_lines(&network);
    network.retain(|line| !line.starts_with("undo iptables") && !line.starts_with("undo ip6tables"));
    let parts = [("attach", attach), ("detach", detach), ("remove the network", network)];
    let text: String =
        parts.iter().map(|(what, lines)| format!("# {what}\n{}\n", lines.join("\n"))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan").join(format!("{name}.txt"));
    if std::env::var_os("NETNS_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "the plan is not that of {}", path.display());
}

/// The plan of the first container of a fresh host, which asks for nothing.
fn first() -> Plan {
    attach(Options::default(), &fresh_host(), &Known::default(), "web", 42).unwrap()
}

#[test]
fn a_fresh_host_gets_a_network_and_the_ports() {
    let options = publish("8080:80 127.0.0.1:53:53/udp 7000-7099:9000-9099");
    let plan = attach(options, &fresh_host(), &Known::default(), "web", 42).unwrap();
    assert_golden("fresh-host-with-ports", &plan);
}

/// By what a host since Linux 6.17 is to forward IPv6, and does not yet.
fn forces_ipv6() -> Forwarding {
    let key = "net/ipv6/conf/all/force_forwarding".to_owned();
    Forwarding { key, value: "0".to_owned(), with: Vec::new() }
}

#[test]
fn a_network_of_both_families_has_its_rules_and_the_ports_in_each() {
    let options = Options {
        ip: ["172.19.0.1/16", "fd00:19::1/64"].map(|ip| ip.parse().unwrap()).into(),
        ..publish("8080:80 0.0.0.0:53:53/udp [fd00::1]:443:443")
    };
    let host = Host { forwarding6: forces_ipv6(), ..fresh_host() };
    let plan = attach(options, &host, &Known::default(), "web", 42).unwrap();
    assert_golden("both-families", &plan);
}

#[test]
fn a_network_in_place_gets_only_a_veth_pair() {
    let second = attach(Options::default(), &host_with_network(), &after(&first()), "db", 43).unwrap();
    assert_golden("network-in-place", &second);
}

#[test]
fn a_container_with_rates_has_a_queue_for_each_direction() {
    let rate = |text: &str| Some(text.parse().unwrap());
    let options = Options { rate_in: rate("200mbit"), rate_out: rate("10mbit,64kb"), ..Options::default() };
    let second = attach(options, &host_with_network(), &after(&first()), "db", 43).unwrap();
    assert_golden("rates", &second);
}

#[test]
fn a_foreign_bridge_is_set_right_and_undone_to_what_it_was() {
    let host = host_with(Some("bridge"), 9000, false, None);
    let options = Options { mtu: Some("1400".parse().unwrap()), ..Options::default() };
    let plan = attach(options, &host, &Known::default(), "web", 42).unwrap();
    assert_golden("foreign-bridge", &plan);
}

#[test]
fn a_bridge_of_ours_that_drifted_is_set_right_and_goes_whole() {
    let drifted = host_with(Some("bridge"), 1300, false, None);
    let second = attach(Options::default(), &drifted, &after(&first()), "db", 43).unwrap();
    assert_golden("drifted-bridge", &second);
}

#[test]
fn a_kernel_without_ipv6_is_not_asked_to_silence_it() {
    let mut host = Host { ipv6: false, ..fresh_host() };
    host.networks[0].uplink_mtu = Some(1420);
    let plan = attach(Options::default(), &host, &Known::default(), "web", 42).unwrap();
    assert_golden("no-ipv6", &plan);
}

#[test]
fn a_joined_namespace_gets_nothing_but_its_ports() {
    let owner = attach(publish("8080:80"), &fresh_host(), &Known::default(), "sandbox", 42).unwrap();
    let mut host = host_with_network();
    host.networks[0].route_localnet = Some("1".to_owned());
    let same = Sandbox { netns: 42, ..sandbox(43) };
    let plan = after(&owner).attach(publish("8443:443"), &host, &same, "app").unwrap();
    assert!(plan.networks.is_empty() && plan.record.attachments == owner.record.attachments);
    assert_golden("joined-namespace", &plan);
}

#[test]
fn a_static_address_and_every_name_are_the_ones_asked_for() {
    let options = Options {
        bridge: Some("br7".parse().unwrap()),
        ip: vec!["10.7.0.254/24".parse().unwrap()],
        iface: Some("net1".parse().unwrap()),
        static_ip: vec!["10.7.0.9".parse().unwrap()],
        ipfile: Some("/run/address".to_owned()),
        ..Options::default()
    };
    let host = Host { taken: vec!["netnsv0-42".parse().unwrap()], ..fresh_host() };
    let plan = attach(options, &host, &Known::default(), "web", 42).unwrap();
    assert_golden("static-address", &plan);
}

#[test]
fn a_device_with_a_gateway_takes_the_default_route_and_leaves_the_bridge_its_answers() {
    let host = Host { devices: vec![device("ens6f0")], ..host_with_network() };
    let asked = devices(&["ens6f0=lan,ip=12.0.0.10/8,gateway=12.0.0.1,mac=02:00:00:00:00:05,mtu=9000"]);
    let plan = attach(asked, &host, &after(&first()), "db", 43).unwrap();
    assert_golden("nic-beside-the-bridge", &plan);
}

#[test]
fn two_networks_that_are_new() {
    let text = "[network.front]\nsubnets = [\"10.8.0.1/24\"]\n[network.back]\nsubnets = [\"10.9.0.1/24\"]";
    let defined = netns::config::file::parse(text, Path::new("/f")).unwrap().networks;
    let network =
        "front:alias=web;back:ip=10.9.0.7,mac=02:00:00:00:00:07,metric=50,route=10.7.0.0/16 via 10.9.0.2";
    let network = network.split(';').map(|place| place.parse().unwrap()).collect();
    let asked = Options { network, ..publish("8080:80") };
    let mut host = fresh_host();
    host.networks.extend(fresh_host().networks);
    let known = Known { defined, ..Known::default() };
    assert_golden("two-networks", &attach(asked, &host, &known, "web", 42).unwrap());
}

#[test]
fn two_networks_of_both_families_each_with_its_modes() {
    let text = "[network.front]\nsubnets = [\"10.8.0.1/24\", \"fd00:8::1/64\"]\ninter-container = false\n\
                [network.back]\nsubnets = [\"10.9.0.1/24\", \"fd00:9::1/64\"]\nmode-ipv6 = \"routed\"";
    for firewall in ["iptables", "nftables"] {
        let defined = netns::config::file::parse(text, Path::new("/f")).unwrap().networks;
        let network = "front:ip=fd00:8::7;back:ip=10.9.0.7,publish=8081:81,metric=50";
        let network = network.split(';').map(|place| place.parse().unwrap()).collect();
        let asked = Options { network, firewall: Some(firewall.parse().unwrap()), ..publish("8080:80") };
        let mut host = Host { forwarding6: forces_ipv6(), ..fresh_host() };
        host.networks.extend(fresh_host().networks);
        let known = Known { defined, ..Known::default() };
        let plan = attach(asked, &host, &known, "web", 42).unwrap();
        assert_golden(&format!("two-networks-of-both-families-{firewall}"), &plan);
    }
}

#[test]
fn a_network_of_many_hosts_trusts_links_and_addresses() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan/subnet.env");
    let text = format!(
        "[network.flat]\nsubnet-from = \"{}\"\ntrusted-interfaces = [\"flannel.1\", \"wg0\"]\n\
         no-masquerade-to = [\"10.9.0.0/16\"]\n[network.wire]\nfirewall = \"nftables\"\n\
         subnets = [\"10.9.7.1/24\"]\ntrusted-interfaces = [\"ens6\"]\nno-masquerade-to = [\"10.9.0.0/16\"]",
        file.display()
    );
    let defined = netns::config::file::parse(&text, Path::new("/f")).unwrap().networks;
    let asked =
        Options { network: ["flat", "wire"].map(|name| name.parse().unwrap()).into(), ..Options::default() };
    // flannel's WireGuard leads all of the network to its device.
    let mut host = host_with_routes(vec![route("10.5.0.0/16", "wg0"), route("10.9.0.0/16", "ens6")]);
    host.networks[0].has_iptables = true;
    host.networks.push(host.networks[0].clone());
    let known = Known { defined, ..Known::default() };
    assert_golden("many-hosts", &attach(asked, &host, &known, "web", 42).unwrap());
}

#[test]
fn devices_alone_take_no_network() {
    let host = Host { devices: ["ens6f0", "ens6f1"].map(device).to_vec(), ..Host::default() };
    let asked = devices(&["ens6f0,ip=12.0.0.10/8", "ens6f1=wan,ip=fd00::2/64,gateway=fd00::1"]);
    let asked = Options { no_bridge: Some(true), ..asked };
    let plan = attach(asked, &host, &Known::default(), "web", 42).unwrap();
    assert_eq!(plan.networks, []);
    assert_golden("nic-alone", &plan);
}

#[test]
fn what_the_fuzzers_demand_of_a_plan_holds_of_usual_ones() {
    let asked = Options {
        alias: vec!["db".parse().unwrap()],
        name_netns: Some(true),
        ..publish("8080:80 53:53/udp 81")
    };
    for options in [Options::default(), asked] {
        crate::fuzzed::check_plan(&crate::fuzzed::container("web"), &options, &[]);
    }
}

/// The plan of a container whose namespace is to have a name that `holder` has.
fn named(sandbox: &Sandbox, holder: NameHolder) -> Result<Plan> {
    let host = Host { name: holder, ..host_with_network() };
    let options = Options { name_netns: Some(true), ..Options::default() };
    after(&first()).attach(options, &host, sandbox, "db")
}

#[test]
fn a_namespace_gets_a_name_unless_it_has_it() {
    for free in [NameHolder::Free, NameHolder::Stale] {
        assert_golden("named", &named(&sandbox(43), free).unwrap());
    }
    let has_it = named(&sandbox(43), NameHolder::Same).unwrap();
    assert!(!has_it.all_steps().chain(&has_it.record.steps).any(|step| step.name_file().is_some()));
    let holder = NameHolder::Others("another has it".to_owned());
    let error = named(&sandbox(43), holder).unwrap_err().to_string();
    let expected =
        "name the network namespace of container db: ip netns attach db 43: another has it\n  hint: ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn a_namespace_without_a_process_is_called_by_a_variable() {
    let by_path = Sandbox { found_by: FoundBy::Path("/run/netns/blue".into()), ..sandbox(43) };
    assert_golden("by-path", &named(&by_path, NameHolder::Free).unwrap());
}

/// The lines of a debug log without their times.
fn steps_of(log: &str) -> Vec<&str> {
    log.lines()
        .filter_map(|line| line.strip_prefix("netns: +")?.split_once("ms "))
        .map(|(_, step)| step)
        .collect()
}

#[test]
fn what_is_printed_without_privilege_is_what_the_hook_then_does() {
    let Some(mut world) = World::new() else { return };
    let before = world.snapshot();
    // Where anyone may run it.
    let copy = "/run/test/netns-copy";
    std::fs::copy(NETNS, copy).unwrap();
    world.sh(&format!("chmod 755 {copy} /run/test"));
    let container = world.process();
    let ports = [("publish", "8080:80,81,127.0.0.1::53/udp,8000-8010:8000-8010")];
    let input = state("web", "creating", Some(container.pid), &ports);
    let mut unprivileged = Command::new("setpriv");
    unprivileged.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", copy, "plan"]);
    let printed = run(&mut unprivileged, &input);
    assert!(printed.status.success(), "{}", stderr(&printed));
    std::fs::remove_file(copy).unwrap();
    world.assert_as(&before);

    let attached = world.netns(&["-d"], &input);
    assert!(attached.status.success(), "{}", stderr(&attached));
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), steps_of(&stderr(&attached)));
    assert!(printed.lines().count() > 20, "{printed}");
}

#[test]
fn the_plan_among_others_is_what_the_hook_then_does() {
    let Some(mut world) = World::new() else { return };
    let (dead, first, second) = (world.process(), world.process(), world.process());
    world.attach_ok("a", first, &[("publish", "8080:80")]);
    world.attach_ok("dead", dead, &[("publish", "8443:443")]);
    world.kill(dead);
    let veth = format!("netnsv0-{}", dead.pid);
    wait_for("the veth pair of the dead to go", || !world.links().contains(&veth));
    let attach = state("b", "creating", Some(second.pid), &[("publish", "8443:443")]);
    for (input, opening) in [
        (&attach, "# clean up container dead"),
        (&attach, ""),
        (&state("b", "stopped", None, &[]), "undo iptables -t nat -N NETNS-tcp-32"),
        (&state("a", "stopped", None, &[]), "undo iptables -t nat -N NETNS-tcp-31"),
    ] {
        let before = world.snapshot();
        let printed = world.netns_ok(&["plan"], input);
        world.assert_as(&before);
        assert!(printed.starts_with(opening) && printed.is_empty() == opening.is_empty(), "{printed}");
        let done = world.netns(&["-d"], input);
        assert!(done.status.success(), "{}", stderr(&done));
        assert_eq!(printed.lines().collect::<Vec<_>>(), steps_of(&stderr(&done)), "{input}");
    }
}

#[test]
fn only_leasing_moves_on_which_address_is_leased_next() {
    let Some(mut world) = World::new() else { return };
    let [first, fixed, second, next] = [(); 4].map(|()| world.process());
    let leased_next = |world: &World| {
        let printed = world.netns_ok(&["plan"], &state("next", "creating", Some(next.pid), &[]));
        let line = printed.lines().find_map(|line| line.strip_prefix("echo -n ")).unwrap_or_default();
        line.split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(leased_next(&world), "172.19.0.2");
    world.attach_ok("first", first, &[]);
    world.attach_ok("fixed", fixed, &[("static-ip", "172.19.0.9")]);
    assert_eq!(leased_next(&world), "172.19.0.3", "not the one after that which was asked for");
    world.attach_ok("second", second, &[]);
    world.attach_ok("joins-the-first", first, &[]);
    world.detach_ok("second");
    assert_eq!(leased_next(&world), "172.19.0.4", "not the one that has just become free");
}
