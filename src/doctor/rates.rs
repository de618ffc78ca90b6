//! Rates: whether what keeps a container to them is there, and whether it loses packets for them.

use super::facts::Container;
use super::{Check, Facts, Finding, link};
use crate::model::limits::Queue;
use crate::model::link::ifb_of;
use crate::model::rate::Rate;
use crate::model::sandbox::Netns;
use crate::model::step::Step;
use crate::model::value::Iface;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let seen = facts.containers.iter().filter(|container| container.inside.is_some());
    let connected = seen.filter(|container| link::is_connected(facts, container));
    connected.flat_map(|container| of(facts, container)).collect()
}

/// What is wrong with the rates of one attachment.
pub(super) fn of(facts: &Facts, container: &Container) -> Vec<Finding> {
    match missing(facts, container) {
        Some(finding) => vec![finding],
        None => full(facts, container),
    }
}

/// What was done for the rates of one attachment, and is gone.
fn missing(facts: &Facts, container: &Container) -> Option<Finding> {
    let (host, end) = (&facts.host, &container.host_end);
    let ifb = ifb_of(end)?;
    let all: Vec<&Step> = container.record.steps.iter().filter(|step| is_for(step, end, &ifb)).collect();
    let is_gone = |step: &&&Step| match step {
        Step::AddIfb(_) => host.link(&ifb).is_none(),
        // Whoever has chosen another rate may have had a reason.
        Step::SetRate { link, .. } => host.limits.of(link, &host.links).is_none(),
        step => !host.limits.has(step, &host.links),
    };
    let mut steps: Vec<Step> = all.iter().filter(is_gone).map(|step| (*step).clone()).collect();
    let redirected = host.link(end).is_some_and(|link| host.limits.redirects.contains_key(&link.index));
    let is_down = host.link(&ifb).is_some_and(|link| !link.up);
    let what = if steps.iter().any(|step| matches!(step, Step::AddIfb(_))) {
        steps = all.into_iter().filter(|step| is_gone_with(step, &ifb)).cloned().collect();
        format!("link {ifb}, which what it sends waits on, is gone")
    } else if is_down {
        steps.push(Step::SetUp { netns: Netns::Host, link: ifb.clone() });
        format!("link {ifb}, which what it sends waits on, is down")
    } else {
        "what keeps it to its rate is gone".to_owned()
    };
    let receives = |step: &Step| matches!(step, Step::SetRate { link, .. } if link == end);
    let harm = match &steps[..] {
        [] => return None,
        _ if redirected && (is_down || host.link(&ifb).is_none()) => "it reaches nobody",
        steps if steps.iter().all(receives) => "it is sent all that others send",
        _ => "it sends as fast as it can",
    };
    let finding = Finding::new(Check::RateMissing, container.object(), format!("{what}: {harm}"));
    Some(finding.steps(steps))
}

/// Whether a step limits what passes these links of the host.
fn is_for(step: &Step, end: &Iface, ifb: &Iface) -> bool {
    matches!(step, Step::SetRate { link, .. } if link == end) || is_gone_with(step, ifb)
}

/// Whether a step is of no effect without this link, which what a container sends waits on.
fn is_gone_with(step: &Step, ifb: &Iface) -> bool {
    match step {
        Step::AddIfb(link) => link.name == *ifb,
        Step::SetRate { link, .. } | Step::SetAlias { link, .. } => link == ifb,
        Step::Redirect { to, .. } => to == ifb,
        Step::Sysctl { netns: Netns::Host, key, .. } => key.split('/').nth(3) == Some(ifb.as_str()),
        _ => false,
    }
}

/// Queues in which packets have found no room while they were looked at.
fn full(facts: &Facts, container: &Container) -> Vec<Finding> {
    let (host, end) = (&facts.host, &container.host_end);
    let ways = [("rate-in", "to"), ("rate-out", "from")];
    let tell = |((option, way), (link, queue)): ((&str, &str), (Iface, Queue))| {
        let index = host.link(&link)?.index;
        let lost = host.overflow.get(&index).filter(|lost| **lost > 0)?;
        let rate = Rate { bits: queue.bits, burst: None };
        let why = format!(
            "{lost} packets {way} it were dropped within a moment, since more than {rate} are sent that way"
        );
        let more = Rate::new(2 * queue.bits, None).ok()?;
        let bucket = more.bucket(host.link(&link)?.mtu).ok()?;
        let finding = Finding::new(Check::QueueFull, container.object(), why);
        let finding = finding.remedy(Step::SetRate { link, bucket });
        Some(finding.advice(format!("for good: give it --{option} {more}, or let less be sent")))
    };
    let queues = host.limits.of_host_end(end, &host.links);
    ways.into_iter().zip(queues).filter_map(|(way, queue)| tell((way, queue?))).collect()
}
