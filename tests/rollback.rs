//! The two walks over a fake of the kernel that fails at every single step in turn.

use std::collections::BTreeSet;

use netns::apply::{Failed, Target, apply, undo, undo_lines};
use netns::config::Options;
use netns::error::{Error, Result};
use netns::firewall::{Change, Rule};
use netns::plan::{Host, Step};
use netns::store::record::Survey;

use crate::plan::{attach, fresh_host, interface, nics, publish};

/// A kernel that is only a set of what exists.
#[derive(Default)]
struct Fake {
    exists: BTreeSet<String>,
    started: Option<(Change, Vec<Rule>)>,
    /// What fails: a step's text, with `undo ` before it for its undoing, or one of the four
    /// ways in which rules fail.
    fails: BTreeSet<String>,
}

const START: &str = "start iptables";
const FINISH: &str = "finish iptables";

impl Fake {
    fn failing(what: &[&str]) -> Self {
        Self { fails: what.iter().map(|text| (*text).to_owned()).collect(), ..Self::default() }
    }

    fn attempt(&self, what: &str) -> Result<()> {
        if self.fails.contains(what) { Err(Error::new(what, "as it was told to")) } else { Ok(()) }
    }
}

fn verb(change: Change) -> &'static str {
    if change == Change::Add { "" } else { "undo " }
}

/// The link of ours that a step without an undoing goes with. A container's loopback is its own
/// and no trace of ours.
fn goes_with(step: &Step) -> Option<String> {
    match step {
        Step::Sysctl { before: None, key, .. } => key.split('/').nth(3).map(str::to_owned),
        Step::SetAlias { link, .. }
        | Step::Hairpin { link }
        | Step::SetMaster { link, .. }
        | Step::AddSourceRoute { link, .. }
        | Step::AddRoute { link, .. } => Some(link.to_string()),
        // The container's own, like its loopback.
        Step::AddSourceRule { .. } => Some("lo".to_owned()),
        Step::SetUp { pid: Some(_), link } | Step::AddAddress { pid: Some(_), link, .. } => {
            Some(link.to_string())
        }
        _ => None,
    }
}

impl Target for Fake {
    fn start_rules(&mut self, change: Change, rules: &[&Rule]) -> Result<()> {
        self.attempt(&format!("{}{START}", verb(change)))?;
        self.started = Some((change, rules.iter().map(|rule| (*rule).clone()).collect()));
        Ok(())
    }

    fn finish_rules(&mut self) -> Result<()> {
        let Some((change, rules)) = self.started.take() else { return Ok(()) };
        let fine = self.attempt(&format!("{}{FINISH}", verb(change)));
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
        let text = goes_with(step).map_or_else(|| step.to_string(), |link| format!("on {link}: {step}"));
        if !text.starts_with("on lo: ") {
            assert!(self.exists.insert(text), "{step} is taken twice");
        }
        Ok(())
    }

    fn undo(&mut self, step: &Step) -> Result<()> {
        self.attempt(&format!("undo {step}"))?;
        let links = match step {
            Step::AddVeth(veth) => vec![veth.name.to_string(), veth.peer.to_string()],
            Step::AddBridge(bridge) => vec![bridge.name.to_string()],
            Step::MoveNic(nic) => vec![nic.inside.to_string()],
            _ => Vec::new(),
        };
        self.exists.retain(|text| !links.iter().any(|link| text.starts_with(&format!("on {link}: "))));
        self.exists.remove(&step.to_string());
        Ok(())
    }
}

/// All that the first container of a host takes, ports, an interface and all.
fn steps() -> Vec<Step> {
    let nic = nics(&["ens6f0=lan,ip=12.0.0.10/8,gateway=12.0.0.1"]).nic;
    let options = Options { nic, ..publish("8080:80 127.0.0.1:53:53/udp") };
    let host = Host { interfaces: vec![interface("ens6f0")], ..fresh_host() };
    attach(options, &host, &Survey::default(), "web", 42).unwrap().take
}

fn others() -> Vec<Step> {
    steps().into_iter().filter(|step| !matches!(step, Step::Firewall(_))).collect()
}

#[test]
fn what_is_taken_exists_and_what_is_undone_does_not() {
    let mut fake = Fake::default();
    apply(&steps(), &mut fake).unwrap();
    let (taken, lo) = (steps(), 2);
    assert_eq!(fake.exists.len(), taken.len() - lo, "every step leaves something");
    undo(&taken, &mut fake).unwrap();
    assert_eq!(fake.exists, BTreeSet::new());
    undo(&taken, &mut fake).unwrap();
}

#[test]
fn a_failure_at_any_step_leaves_nothing_behind_and_names_the_step() {
    let mut failures: Vec<String> = others().iter().map(ToString::to_string).collect();
    assert!(failures.len() > 15, "{failures:?}");
    failures.extend([START, FINISH].map(str::to_owned));
    for failure in &failures {
        let mut fake = Fake::failing(&[failure]);
        let Failed { error, clean, .. } = apply(&steps(), &mut fake).unwrap_err();
        assert_eq!(error.to_string(), format!("{failure}: as it was told to"));
        assert!(clean, "{failure}");
        assert_eq!(fake.exists, BTreeSet::new(), "{failure} leaves something behind");
        assert!(fake.started.is_none(), "{failure}: nothing runs on");
    }
}

#[test]
fn a_step_and_the_firewall_may_fail_at_once() {
    for failure in others() {
        let failure = failure.to_string();
        let mut fake = Fake::failing(&[&failure, FINISH]);
        let Failed { error, clean, .. } = apply(&steps(), &mut fake).unwrap_err();
        let also = format!("{failure}: as it was told to\n  also: {FINISH}: as it was told to");
        assert_eq!(error.to_string(), also);
        assert!(clean && fake.exists.is_empty(), "{failure}: {:?}", fake.exists);
    }
}

#[test]
fn what_cannot_be_undone_is_all_that_is_left_and_is_told() {
    let last = others().last().unwrap().to_string();
    let undone: Vec<Step> = others().into_iter().rev().skip_while(|step| step.to_string() == last).collect();
    for stuck in undone.iter().filter(|step| step.is_undone()) {
        let mut fake = Fake::failing(&[&last, &format!("undo {stuck}")]);
        let Failed { error, clean, .. } = apply(&steps(), &mut fake).unwrap_err();
        assert!(!clean, "{stuck} is still there");
        assert_eq!(
            error.to_string(),
            format!("{last}: as it was told to\n  also: undo {stuck}: as it was told to")
        );
        let on_it = |text: &&String| **text != stuck.to_string() && !text.starts_with("on ");
        assert_eq!(fake.exists.iter().find(on_it), None, "{stuck}: the rest is undone");
        assert!(fake.exists.contains(&stuck.to_string()));
    }
}

#[test]
fn undoing_goes_on_after_every_error_and_reports_all() {
    let mut fake = Fake::default();
    apply(&steps(), &mut fake).unwrap();
    let undone: Vec<String> =
        others().iter().filter(|step| step.is_undone()).map(ToString::to_string).collect();
    let complete = fake.exists.clone();
    for way in [START, FINISH] {
        fake.fails = undone.iter().map(|text| format!("undo {text}")).collect();
        fake.fails.insert(format!("undo {way}"));
        let error = undo(&steps(), &mut fake).unwrap_err().to_string();
        assert_eq!(error.lines().count(), fake.fails.len(), "{error}");
        assert!(fake.fails.iter().all(|failure| error.contains(failure)), "{error}");
        assert_eq!(fake.exists, complete, "nothing was undone");
    }
    fake.fails.clear();
    undo(&steps(), &mut fake).unwrap();
    assert_eq!(fake.exists, BTreeSet::new(), "the next run undoes it");
}

#[test]
fn undoing_tells_the_last_step_first() {
    let told = undo_lines(&steps());
    let at = |start: &str| told.iter().position(|line| line.starts_with(start)).unwrap();
    let (file, cable) = (at("undo echo"), at("undo ip link add netnsv0-42"));
    let (bridge, forward) = (at("undo ip link add netns0"), at("undo sysctl -w net/ipv4/ip_forward"));
    assert!(file < cable && cable < bridge && bridge < forward, "{told:?}");
}
