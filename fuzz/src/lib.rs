//! What must hold of everything that the hook accepts, however hostile: the fuzz targets find
//! the inputs, this says what they must not do.

use std::path::{Component, Path};

use netns::config::{self, DEFAULT_STATE_DIR, Options};
use netns::error::{Error, Result, is_obeyed};
use netns::firewall;
use netns::model::container::ContainerId;
use netns::model::network::{Network, NetworkSpec};
use netns::model::observed::{Forwarding, Host};
use netns::model::record::Record;
use netns::model::request::{NetworkRequest, Request};
use netns::model::rule::Rule;
use netns::model::sandbox::{FoundBy, NetnsRef, Sandbox};
use netns::model::step::Step;
use netns::plan::{self, Case, Claimed, Plan, lease, publish};
use netns::store::{Claim, decode, encode};

/// An error's lines are its own: the first, hints, and what else went wrong.
pub fn check_error(error: &Error) {
    for (at, line) in error.to_string().lines().enumerate() {
        assert!(!line.contains(is_obeyed), "{line:?}");
        assert!(at == 0 || line.starts_with("  hint: ") || line.starts_with("  also: "), "{line:?}");
    }
}

/// Plans `container` on an untouched host, and checks every step and both records.
pub fn check_plan(container: &ContainerId, options: &Options, defined: &[NetworkSpec]) {
    match planned(container, options, defined) {
        Ok(plan) => {
            let networks = plan.networks.iter().flat_map(|network| &network.network.steps);
            plan.all_steps().chain(networks).chain(&plan.record.steps).for_each(check_step);
            let text = encode(&plan.record).expect("a record is JSON");
            check_record(&text);
            assert_eq!(decode::<Record>(&text).expect("and reads back"), plan.record);
            for network in plan.networks {
                let text = encode(&network.network).expect("a record is JSON");
                check_network(&text);
                assert_eq!(decode::<Network>(&text).expect("and reads back"), network.network);
            }
        }
        Err(error) => check_error(&error),
    }
}

fn planned(container: &ContainerId, options: &Options, defined: &[NetworkSpec]) -> Result<Plan> {
    let told = Options::default();
    let request = config::resolve(options, &told, defined, container.clone(), NetnsRef::Pid(4242))?;
    let found_by = FoundBy::Process { pid: 4242, start_time: 1 };
    let sandbox = Sandbox { netns: 2, boot_id: "boot".to_owned(), found_by };
    let key = plan::IP_FORWARD.to_owned();
    let forwarding = Forwarding { key, value: "0".to_owned(), with: Vec::new() };
    let host = Host { forwarding6: forwarding.clone(), forwarding, ipv6: true, ..Host::default() };
    let claimed = chosen(&request)?;
    plan::attach(Case { request: &request, host: &host, claimed: &claimed, sandbox: &sandbox, now: 0 })
}

/// What is chosen where nobody holds anything.
fn chosen(request: &Request) -> Result<Claimed> {
    let container = &request.container;
    let addresses = |wanted: &NetworkRequest| {
        let free = |subnet: &_| lease::choose::<Error>(container, wanted, *subnet, None, |_| Ok(None));
        wanted.network.subnets.iter().map(free).collect()
    };
    let nobody = |other: &_| panic!("nobody publishes {other}");
    let mut claimed = Claimed {
        state_dir: DEFAULT_STATE_DIR.into(),
        networks: request.networks.iter().map(|_| None).collect(),
        addresses: request.networks.iter().map(addresses).collect::<Result<_>>()?,
        slots: vec![(1..=64).collect(); 16],
        ..Claimed::default()
    };
    claimed.ports = publish::choose::<Error>(request, &claimed, &[], |_, _| Ok(Vec::new()), nobody)?;
    Ok(claimed)
}

/// A container with this id and nothing else.
pub fn container(id: &str) -> ContainerId {
    ContainerId { id: id.to_owned(), bundle: "/bundle".into() }
}

/// What a disk may give back as a container's record: if it is one, it is written so that it
/// reads back the same, and whatever it lists can be told and claimed.
pub fn check_record(text: &[u8]) {
    let Ok(record) = decode::<Record>(text) else { return };
    let again = encode(&record).expect("a record is JSON");
    record.steps.iter().for_each(|step| drop(step.to_string()));
    let claims = Claim::all_of(&record);
    assert!(claims.len() <= 2 + record.addresses().count() + record.ports.len() + record.steps.len());
    assert_eq!(decode::<Record>(&again).expect("and reads back"), record);
}

/// The same of a network's.
pub fn check_network(text: &[u8]) {
    let Ok(network) = decode::<Network>(text) else { return };
    let again = encode(&network).expect("a record is JSON");
    network.steps.iter().for_each(|step| drop(step.to_string()));
    network.steps.iter().for_each(|step| drop(step.shared_name()));
    assert_eq!(decode::<Network>(&again).expect("and reads back"), network);
}

/// One line a command, files below their directory, names that are names.
pub fn check_step(step: &Step) {
    match step {
        Step::Firewall(rule) => return check_rule(rule),
        Step::Sysctl { key, .. } => {
            let parts: Vec<&str> = key.split('/').collect();
            assert!(parts.iter().all(|part| !["", ".", ".."].contains(part)), "{key}");
            assert!([3, 5].contains(&parts.len()), "{key}");
        }
        Step::WriteFile { base, path, .. } => {
            assert!(base.is_absolute());
            check_below(path);
        }
        Step::NameNetns { name, .. } => {
            assert!(!name.contains('/') && ![".", ".."].contains(&name.as_str()), "{name}");
        }
        Step::AddHost { line, .. } | Step::WriteResolver { contents: line, .. } => {
            assert!(line.lines().all(|line| !line.contains(is_obeyed)), "{line:?}");
        }
        _ => {}
    }
    assert!(!step.to_string().contains(is_obeyed), "{step}");
}

fn check_below(path: &Path) {
    let normal = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    assert!(path.components().all(normal), "{}", path.display());
}

/// What iptables-restore and a shell read is what was meant: one line a command, comments the
/// only thing that is quoted, and nothing that either of them would take for something else.
pub fn check_rule(rule: &Rule) {
    for line in firewall::lines(rule) {
        let parts: Vec<&str> = line.split('"').collect();
        // In iptables' words there is one comment, in those of nft one for each element.
        let nft = line.starts_with("nft '") && line.ends_with('\'');
        assert!(if nft { parts.len() % 2 == 1 } else { [1, 3].contains(&parts.len()) }, "{line:?}");
        for (at, part) in parts.iter().enumerate() {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b" _+-.@".contains(&b);
            let fine = |b: u8| fine(b) || (at % 2 == 0 && b"/:,!".contains(&b));
            let fine = |b: u8| fine(b) || (nft && at % 2 == 0 && b"'{};=".contains(&b));
            assert!(part.bytes().all(fine), "{line:?}");
        }
    }
}
