//! The two walks over a fake of the kernel that fails at every single step in turn.

use std::collections::BTreeSet;

use netns::config::Options;
use netns::error::{Error, Kind, Result};
use netns::model::bundle::Bundle;
use netns::model::observed::{Files, Host};
use netns::model::resolver::Resolver;
use netns::model::rule::{Change, Rule};
use netns::model::sandbox::Netns;
use netns::model::step::Step;
use netns::operations::apply::{Failed, Target, apply, undo, undone};
use netns::operations::undo_lines;

use crate::plan::{Known, attach, device, devices, fresh_host, publish};

/// A kernel that is only a set of what exists.
#[derive(Default)]
struct Fake {
    exists: BTreeSet<String>,
    started: Option<(Change, Vec<Rule>)>,
    /// What fails: a step's text, with `undo ` before it for its undoing, or one of the four
    /// ways in which rules fail.
    fails: BTreeSet<String>,
    /// What kind of failure that is, if not the usual one.
    kind: Option<Kind>,
}

const START: &str = "start iptables";
const FINISH: &str = "finish iptables";

/// What is the container's own, and no trace of ours.
const CONTAINER: &str = "the container";

impl Fake {
    fn failing(what: &[&str]) -> Self {
        Self { fails: what.iter().map(|text| (*text).to_owned()).collect(), ..Self::default() }
    }

    fn attempt(&self, what: &str) -> Result<()> {
        let failure = || Error::new(what, "as it was told to").of(self.kind.unwrap_or(Kind::Kernel));
        if self.fails.contains(what) { Err(failure()) } else { Ok(()) }
    }
}

fn verb(change: Change) -> &'static str {
    if change == Change::Add { "" } else { "undo " }
}

/// What of ours a step without an undoing goes with.
fn goes_with(step: &Step) -> Option<String> {
    match step {
        _ if step.traits().undone => None,
        Step::Sysctl { key, .. } => key.split('/').nth(3).map(str::to_owned),
        Step::SetUp { link, .. } if link.as_str() == "lo" => Some(CONTAINER.to_owned()),
        Step::AddSourceRule { .. } | Step::Mount(_) => Some(CONTAINER.to_owned()),
        Step::SetAlias { link, .. }
        | Step::Hairpin { link }
        | Step::Isolate { link }
        | Step::SetRate { link, .. }
        | Step::Redirect { link, .. }
        | Step::SetMaster { link, .. }
        | Step::PinPort { link, .. }
        | Step::AddRoute { link: Some(link), .. }
        | Step::SetUp { netns: Netns::Pid(_), link }
        | Step::AddAddress { netns: Netns::Pid(_), link, .. } => Some(link.to_string()),
        Step::WriteResolver { path, .. } => path.parent().map(|dir| dir.display().to_string()),
        _ => panic!("{step} is never undone"),
    }
}

impl Target for Fake {
    fn start_rules(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        self.attempt(&format!("{}{START}", verb(change)))?;
        self.started = Some((change, rules.iter().map(|rule| (*rule).clone()).collect()));
        Ok(())
    }

    fn finish_rules(&mut self) -> Result<()> {
        let Some((change, rules)) = self.started.take() else { return Ok(()) };
        let fine = self.attempt(&format!("{}{FINISH}", verb(change)));
        if self.kind == Some(Kind::Busy) {
            return fine;
        }
        for rule in rules {
            let text = Step::Firewall(rule).to_string();
            match change {
                // As with the real one, a failure may leave a part.
                Change::Add => assert!(self.exists.insert(text), "added twice"),
                Change::Remove if fine.is_ok() => drop(self.exists.remove(&text)),
                Change::Remove => {}
            }
            if fine.is_err() {
                break;
            }
        }
        fine
    }

    fn apply(&mut self, step: &Step) -> Result<()> {
        self.attempt(&step.to_string())?;
        let text = match goes_with(step) {
            Some(owner) if owner == CONTAINER => return Ok(()),
            Some(owner) => format!("on {owner}: {step}"),
            None => step.to_string(),
        };
        assert!(self.exists.insert(text), "{step} is applied twice");
        Ok(())
    }

    fn undo(&mut self, step: &Step) -> Result<()> {
        assert!(step.traits().undone, "{step} goes with what it is about");
        self.attempt(&format!("undo {step}"))?;
        let owners = match step {
            Step::AddVeth(veth) => vec![veth.name.to_string(), veth.peer.to_string()],
            Step::AddIfb(ifb) => vec![ifb.name.to_string()],
            Step::AddBridge(bridge) => vec![bridge.name.to_string()],
            Step::MoveDevice(device) => vec![device.inside.to_string()],
            Step::MakeNames { dir, .. } => vec![dir.display().to_string()],
            _ => Vec::new(),
        };
        self.exists.retain(|text| !owners.iter().any(|owner| text.starts_with(&format!("on {owner}: "))));
        self.exists.remove(&step.to_string());
        Ok(())
    }
}

/// All that the first container of a host takes: ports, a device, names, name servers of its own
/// and all.
fn all_steps() -> Vec<Step> {
    let options = Options {
        nic: devices(&["ens6f0=lan,ip=12.0.0.10/8,gateway=12.0.0.1"]).nic,
        dns: vec!["10.0.0.53".parse().unwrap()],
        name_netns: Some(true),
        ..publish("8080:80 127.0.0.1:53:53/udp")
    };
    let bundle = Bundle::parse("/bundles/web".as_ref(), b"{}").ok();
    let host = Host {
        devices: vec![device("ens6f0")],
        resolver: Resolver::of_host("nameserver 10.0.0.1\n"),
        files: Files { bundle, mntns: Some(7), before_pivot: true, ..Files::default() },
        ..fresh_host()
    };
    let plan = attach(options, &host, &Known::default(), "web", 42).unwrap();
    plan.all_steps().cloned().collect()
}

fn refs(steps: &[Step]) -> Vec<&Step> {
    steps.iter().collect()
}

fn others() -> Vec<Step> {
    all_steps().into_iter().filter(|step| step.rule().is_none()).collect()
}

#[test]
fn what_is_applied_exists_and_what_is_undone_does_not() {
    let mut fake = Fake::default();
    let steps = all_steps();
    apply(&refs(&steps), &mut fake).unwrap();
    let own = steps.iter().filter(|step| goes_with(step).is_some_and(|owner| owner == CONTAINER)).count();
    assert!(own >= 3, "its loopback, a routing rule and mounts: {own}");
    assert_eq!(fake.exists.len(), steps.len() - own, "every other step leaves something");
    undo(&refs(&steps), &mut fake).unwrap();
    assert_eq!(fake.exists, BTreeSet::new());
    undo(&refs(&steps), &mut fake).unwrap();
}

#[test]
fn a_failure_at_any_step_leaves_nothing_behind_and_names_the_step() {
    let mut failures: Vec<String> = others().iter().map(ToString::to_string).collect();
    assert!(failures.len() > 25, "{failures:?}");
    failures.extend([START, FINISH].map(str::to_owned));
    for failure in &failures {
        let mut fake = Fake::failing(&[failure]);
        let Failed { error, clean, .. } = apply(&refs(&all_steps()), &mut fake).unwrap_err();
        assert_eq!(error.to_string(), format!("{failure}: as it was told to"));
        assert!(clean, "{failure}");
        assert_eq!(fake.exists, BTreeSet::new(), "{failure} leaves something behind");
        assert!(fake.started.is_none(), "{failure}: nothing runs on");
    }
}

#[test]
fn a_firewall_that_does_not_answer_is_not_asked_again() {
    for (kind, clean) in [(Kind::Busy, true), (Kind::TimedOut, false)] {
        let asked_again = format!("undo {START}");
        let mut fake = Fake { kind: Some(kind), ..Fake::failing(&[FINISH, &asked_again]) };
        let failed = apply(&refs(&all_steps()), &mut fake).unwrap_err();
        assert_eq!(failed.error.to_string(), format!("{FINISH}: as it was told to"));
        assert_eq!((failed.clean, failed.rules), (clean, false), "{kind:?}");
        let left: Vec<&String> = fake.exists.iter().filter(|text| !text.starts_with("firewall ")).collect();
        assert_eq!(left, [""; 0], "{kind:?}: everything else is undone");
        assert_eq!(fake.exists.is_empty(), clean, "the next run removes what may be there");
    }
}

#[test]
fn a_step_and_the_firewall_may_fail_at_once() {
    for failure in others() {
        let failure = failure.to_string();
        let mut fake = Fake::failing(&[&failure, FINISH]);
        let Failed { error, clean, .. } = apply(&refs(&all_steps()), &mut fake).unwrap_err();
        let also = format!("{failure}: as it was told to\n  also: {FINISH}: as it was told to");
        assert_eq!(error.to_string(), also);
        assert!(clean && fake.exists.is_empty(), "{failure}: {:?}", fake.exists);
    }
}

#[test]
fn what_cannot_be_undone_is_all_that_is_left_and_is_told() {
    let last = others().last().unwrap().to_string();
    let others = others();
    for stuck in undone(&refs(&others)).filter(|step| step.to_string() != last) {
        let mut fake = Fake::failing(&[&last, &format!("undo {stuck}")]);
        let Failed { error, clean, .. } = apply(&refs(&all_steps()), &mut fake).unwrap_err();
        assert!(!clean, "{stuck} is still there");
        assert_eq!(
            error.to_string(),
            format!("{last}: as it was told to\n  also: undo {stuck}: as it was told to")
        );
        let on_it = |text: &&String| **text != stuck.to_string() && !text.starts_with("on ");
        assert_eq!(fake.exists.iter().find(on_it), None, "{stuck}: everything else is undone");
        assert!(fake.exists.contains(&stuck.to_string()));
    }
}

#[test]
fn undoing_goes_on_after_every_error_and_reports_all() {
    let mut fake = Fake::default();
    apply(&refs(&all_steps()), &mut fake).unwrap();
    let undone: Vec<String> = undone(&refs(&others())).map(ToString::to_string).collect();
    let complete = fake.exists.clone();
    for way in [START, FINISH] {
        fake.fails = undone.iter().map(|text| format!("undo {text}")).collect();
        fake.fails.insert(format!("undo {way}"));
        let error = undo(&refs(&all_steps()), &mut fake).unwrap_err().to_string();
        assert_eq!(error.lines().count(), fake.fails.len(), "{error}");
        assert!(fake.fails.iter().all(|failure| error.contains(failure)), "{error}");
        assert_eq!(fake.exists, complete, "nothing was undone");
    }
    fake.fails.clear();
    undo(&refs(&all_steps()), &mut fake).unwrap();
    assert_eq!(fake.exists, BTreeSet::new(), "the next run undoes it");
}

#[test]
fn undoing_tells_the_last_step_first() {
    let told = undo_lines(&refs(&all_steps()));
    let at = |start: &str| told.iter().position(|line| line.starts_with(start)).unwrap();
    let (file, veth) = (at("undo echo"), at("undo ip link add netnsv0-42"));
    let (bridge, forward) = (at("undo ip link add netns0"), at("undo sysctl -w net/ipv4/ip_forward"));
    assert!(file < veth && veth < bridge && bridge < forward, "{told:?}");
}
