//! The plan is a value: golden texts of the pure planner, its refusals, and what `netns plan`
//! prints beside what the hook then does.
//!
//! `NETNS_GOLDEN=write cargo test plan::` writes the texts in `tests/plan` anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use ipnetwork::IpNetwork;
use netns::apply::undo_lines;
use netns::config::{Config, Options};
use netns::error::Result;
use netns::hook::{Container, Wants};
use netns::kernel::process::Process;
use netns::link::physical::{Before, Identity};
use netns::link::saved::Octets;
use netns::plan::{self, Case, Host, Interface, Link, Name, Plan, Route};
use netns::store::index::Entry;
use netns::store::record::Survey;

use crate::common::{NETNS, World, run, state, stderr, wait_for};

/// A host with IPv6 on which nothing of ours is yet.
pub fn fresh_host() -> Host {
    let wire = Route { destination: "10.0.0.0/24".parse().unwrap(), link: "wire0".to_owned() };
    Host { ip_forward: "0".to_owned(), ipv6: true, routes: vec![wire], ..Host::default() }
}

/// The same host once the network is there.
pub fn host_with_network() -> Host {
    let addresses = vec!["172.19.0.1/16".parse().unwrap()];
    let bridge = Link { kind: Some("bridge".to_owned()), mtu: 1500, up: true, addresses };
    Host {
        bridge: Some(bridge),
        ip_forward: "1".to_owned(),
        route_localnet: Some("0".to_owned()),
        ..fresh_host()
    }
}

/// A host that has this link in place of the bridge.
pub fn host_with(kind: Option<&str>, mtu: u32, up: bool, address: Option<&str>) -> Host {
    let addresses: Vec<IpNetwork> = address.into_iter().map(|address| address.parse().unwrap()).collect();
    let link = Link { kind: kind.map(str::to_owned), mtu, up, addresses };
    Host { bridge: Some(link), route_localnet: Some("0".to_owned()), ..fresh_host() }
}

/// The plan of attaching container `id`, whose process has this pid and is alone in its
/// network namespace.
pub fn attach(options: Options, host: &Host, survey: &Survey, id: &str, pid: i32) -> Result<Plan> {
    let config = Config::resolve(&[options])?;
    let (container, process) = (container(id, pid), process(pid));
    plan::attach(Case { config: &config, host, survey, container: &container, process: &process, now: 0 })
}

fn container(id: &str, pid: i32) -> Container {
    Container {
        id: id.to_owned(),
        bundle: PathBuf::from("/bundles").join(id),
        pid: Some(pid),
        netns: None,
        wants: Wants::Attach,
        annotations: Default::default(),
    }
}

fn process(pid: i32) -> Process {
    Process { pid, start_time: 1, netns: pid.unsigned_abs().into(), boot_id: "boot".to_owned(), path: None }
}

/// What is remembered once this plan has been carried out.
pub fn after(plan: &Plan) -> Survey {
    Survey {
        networks: plan.network.clone().into_iter().collect(),
        containers: vec![Entry::from(&plan.record)],
        damaged: vec![],
        rest: None,
    }
}

pub fn publish(specs: &str) -> Options {
    let publish = specs.split(' ').map(|spec| spec.parse().unwrap()).collect();
    Options { publish, ..Options::default() }
}

/// Compares a plan, and what would undo it, with the text in `tests/plan`. The network's rules
/// are undone as they were made and not told again.
fn assert_golden(name: &str, plan: &Plan) {
    let take = plan.take.iter().map(ToString::to_string).collect();
    let container = undo_lines(&plan.record.steps);
    let mut network = plan.network.as_ref().map_or_else(Vec::new, |network| undo_lines(&network.steps));
    network.retain(|line| !line.starts_with("undo iptables"));
    let parts: [(&str, Vec<String>); 3] =
        [("attach", take), ("detach", container), ("remove the network", network)];
    let text: String =
        parts.iter().map(|(what, lines)| format!("# {what}\n{}\n", lines.join("\n"))).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan").join(format!("{name}.txt"));
    if std::env::var_os("NETNS_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, golden, "the plan is not that of {}", path.display());
}

#[test]
fn a_fresh_host_gets_a_network_and_the_ports() {
    let options = publish("8080:80 127.0.0.1:53:53/udp 7000-7099:9000-9099");
    let plan = attach(options, &fresh_host(), &Survey::default(), "web", 42).unwrap();
    assert_golden("fresh-host-with-ports", &plan);
}

#[test]
fn a_network_in_place_gets_only_a_cable() {
    let first = attach(Options::default(), &fresh_host(), &Survey::default(), "web", 42).unwrap();
    let second = attach(Options::default(), &host_with_network(), &after(&first), "db", 43).unwrap();
    assert_golden("network-in-place", &second);
}

#[test]
fn a_foreign_bridge_is_mended_and_given_back_as_it_was() {
    let host = host_with(Some("bridge"), 9000, false, None);
    let options = Options { mtu: Some("1400".parse().unwrap()), ..Options::default() };
    let plan = attach(options, &host, &Survey::default(), "web", 42).unwrap();
    assert_golden("foreign-bridge", &plan);
}

#[test]
fn a_bridge_of_ours_that_drifted_is_mended_and_goes_whole() {
    let first = attach(Options::default(), &fresh_host(), &Survey::default(), "web", 42).unwrap();
    let drifted = Host { ip_forward: "0".to_owned(), ..host_with(Some("bridge"), 1300, false, None) };
    let second = attach(Options::default(), &drifted, &after(&first), "db", 43).unwrap();
    assert_golden("drifted-bridge", &second);
}

#[test]
fn a_kernel_without_ipv6_is_not_asked_to_silence_it() {
    let host = Host { ipv6: false, uplink_mtu: Some(1420), ..fresh_host() };
    let plan = attach(Options::default(), &host, &Survey::default(), "web", 42).unwrap();
    assert_golden("no-ipv6", &plan);
}

#[test]
fn a_joined_namespace_gets_nothing_but_its_ports() {
    let owner = attach(publish("8080:80"), &fresh_host(), &Survey::default(), "sandbox", 42).unwrap();
    let config = Config::resolve(&[publish("8443:443")]).unwrap();
    let host = Host { route_localnet: Some("1".to_owned()), ..host_with_network() };
    let (app, owners) = (container("app", 43), &owner.record);
    let same = Process { netns: 42, ..process(43) };
    let survey = after(&owner);
    let case =
        Case { config: &config, host: &host, survey: &survey, container: &app, process: &same, now: 0 };
    let plan = plan::join(case, owners).unwrap();
    assert_golden("joined-namespace", &plan);
}

#[test]
fn a_static_address_and_every_name_are_the_ones_asked_for() {
    let options = Options {
        bridge: Some("br7".parse().unwrap()),
        ip: Some("10.7.0.254/24".parse().unwrap()),
        iface: Some("net1".parse().unwrap()),
        static_ip: Some("10.7.0.9".parse().unwrap()),
        ipfile: Some("/run/address".to_owned()),
        ..Options::default()
    };
    let host = Host { host_interface_taken: true, ..fresh_host() };
    let plan = attach(options, &host, &Survey::default(), "web", 42).unwrap();
    assert_golden("static-address", &plan);
    assert_eq!(plan.network.unwrap().cursor, None, "it is not the cursor's business");
}

/// An interface of the host as it may be asked for.
pub fn interface(name: &str) -> Interface {
    let identity = Identity { index: 3, address: Octets(vec![2, 0xaa, 0, 0, 0, 1]), ..Identity::default() };
    Interface {
        name: name.parse().unwrap(),
        loopback: false,
        immovable: false,
        uplink: false,
        master_kind: None,
        before: Before { identity, mtu: 1500, up: true, ..Before::default() },
    }
}

pub fn nics(specs: &[&str]) -> Options {
    Options { nic: specs.iter().map(|spec| spec.parse().unwrap()).collect(), ..Options::default() }
}

#[test]
fn an_interface_with_a_gateway_takes_the_default_route_and_leaves_the_bridge_its_answers() {
    let first = attach(Options::default(), &fresh_host(), &Survey::default(), "web", 42).unwrap();
    let host = Host { interfaces: vec![interface("ens6f0")], ..host_with_network() };
    let asked = nics(&["ens6f0=lan,ip=12.0.0.10/8,gateway=12.0.0.1,mac=02:00:00:00:00:05,mtu=9000"]);
    let plan = attach(asked, &host, &after(&first), "db", 43).unwrap();
    assert_golden("nic-beside-the-bridge", &plan);
}

#[test]
fn interfaces_alone_take_no_network() {
    let interfaces = ["ens6f0", "ens6f1"].map(interface).to_vec();
    let host = Host { interfaces, ..Host::default() };
    let asked = nics(&["ens6f0,ip=12.0.0.10/8", "ens6f1=wan,ip=fd00::2/64,gateway=fd00::1"]);
    let asked = Options { no_bridge: Some(true), ..asked };
    let plan = attach(asked, &host, &Survey::default(), "web", 42).unwrap();
    assert_eq!(plan.network, None);
    assert_golden("nic-alone", &plan);
}

#[test]
fn what_the_fuzzers_demand_of_a_plan_holds_of_usual_ones() {
    let asked = Options {
        alias: vec!["db".parse().unwrap()],
        name_netns: Some(true),
        ..publish("8080:80 53:53/udp")
    };
    for options in [Options::default(), asked] {
        crate::fuzzed::check_plan(&crate::fuzzed::container("web"), &[options]);
    }
}

/// The plan of a container whose namespace is to have a name that `holder` has.
fn named(process: Process, holder: Name) -> Result<Plan> {
    let config = Config::resolve(&[Options { name_netns: Some(true), ..Options::default() }])?;
    let host = Host { name: holder, ..host_with_network() };
    let first = attach(Options::default(), &fresh_host(), &Survey::default(), "web", 42)?;
    let (survey, db) = (after(&first), container("db", 43));
    plan::attach(Case {
        config: &config,
        host: &host,
        survey: &survey,
        container: &db,
        process: &process,
        now: 0,
    })
}

#[test]
fn a_namespace_gets_a_name_unless_it_has_it() {
    for free in [Name::Free, Name::Stale] {
        assert_golden("named", &named(process(43), free).unwrap());
    }
    let has_it = named(process(43), Name::Same).unwrap();
    assert!(!has_it.take.iter().chain(&has_it.record.steps).any(|step| step.name_file().is_some()));
    let error = named(process(43), Name::Others("another has it".to_owned())).unwrap_err().to_string();
    let expected =
        "name the network namespace of container db: ip netns attach db 43: another has it\n  hint: ";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn a_namespace_without_a_process_is_called_by_a_variable() {
    let by_path = Process { pid: 0, path: Some("/run/netns/blue".into()), ..process(43) };
    assert_golden("by-path", &named(by_path, Name::Free).unwrap());
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
    let cable = format!("netnsv0-{}", dead.pid);
    wait_for("the cable of the dead to go", || !world.links().contains(&cable));
    let attach = state("b", "creating", Some(second.pid), &[("publish", "8443:443")]);
    for (input, opening) in [
        (&attach, "# reap container dead"),
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
