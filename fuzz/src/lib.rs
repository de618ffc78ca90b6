//! What must hold of everything that the hook accepts, however hostile: the fuzz targets find
//! the inputs, this says what they must not do.

use std::path::{Component, Path};

use netns::config::{Config, Options};
use netns::error::{Error, is_obeyed};
use netns::firewall::{Rule, iptables};
use netns::hook::{Container, Wants};
use netns::kernel::process::Process;
use netns::plan::{self, Case, Host, Plan, Step};
use netns::store::record::Survey;

/// An error's lines are its own: the first, hints, and what else went wrong.
pub fn check_error(error: &Error) {
    for (at, line) in error.to_string().lines().enumerate() {
        assert!(!line.contains(is_obeyed), "{line:?}");
        assert!(at == 0 || line.starts_with("  hint: ") || line.starts_with("  also: "), "{line:?}");
    }
}

/// Plans `container` on an untouched host, and checks every step.
pub fn check_plan(container: &Container, layers: &[Options]) {
    let config = match Config::resolve(layers) {
        Ok(config) => config,
        Err(error) => return check_error(&error),
    };
    let process = Process { pid: 4242, start_time: 1, netns: 2, boot_id: "boot".to_owned(), path: None };
    let free_ports = config.publish.iter().filter(|publish| publish.host.is_none());
    let host = Host {
        ip_forward: "0".to_owned(),
        ipv6: true,
        free_ports: free_ports.map(|publish| publish.container).collect(),
        ..Host::default()
    };
    let survey = Survey::default();
    let case = Case { config: &config, host: &host, survey: &survey, container, process: &process, now: 0 };
    match plan::attach(case) {
        Ok(Plan { network, record, take }) => {
            let held = network.iter().flat_map(|network| &network.steps).chain(&record.steps);
            take.iter().chain(held).for_each(check_step);
            let text = serde_json::to_vec(&record).expect("a record is JSON");
            assert_eq!(serde_json::from_slice::<netns::store::record::Record>(&text).unwrap(), record);
        }
        Err(error) => check_error(&error),
    }
}

/// A container with this id and nothing else.
pub fn container(id: &str) -> Container {
    Container {
        id: id.to_owned(),
        bundle: "/bundle".into(),
        pid: Some(4242),
        netns: None,
        wants: Wants::Attach,
        annotations: Default::default(),
    }
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
    let commands = iptables::commands(rule);
    let text = Step::Firewall(rule.clone()).to_string();
    assert_eq!(text.lines().count(), commands.len(), "{text}");
    for command in commands {
        let line = command.to_string();
        let parts: Vec<&str> = line.split('"').collect();
        assert!([1, 3].contains(&parts.len()), "{line}");
        for (at, part) in parts.iter().enumerate() {
            let fine = |b: u8| b.is_ascii_alphanumeric() || b" _+-.@".contains(&b);
            let fine = |b: u8| fine(b) || (at != 1 && b"/:,!".contains(&b));
            assert!(part.bytes().all(fine), "{line}");
        }
    }
}
