//! One container for people: a word on the left, what there is to say on the right.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{End, Inspection, Limit};
use crate::error::is_obeyed;
use crate::model::bounded::more;
use crate::model::limits::Queue;
use crate::model::observed::Counter;
use crate::model::rate::Rate;
use crate::model::record::Record;

/// How wide the left column is.
const WORDS: usize = 14;

pub(super) fn text(inspection: &Inspection<'_>, record: &Record) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{}", format!("{name:<WORDS$}{}", safe(value)).trim_end());
    };
    of_record(&mut line, inspection, record);
    let width = counter_widths(inspection);
    let mut end = |name: &str, end: &End| {
        line(name, &describe(end));
        if let Some(port) = &end.port {
            let hairpin = if port.hairpin { "on" } else { "off" };
            let isolated = if port.isolated { ", isolated" } else { "" };
            line("  port", &format!("number {}, {}, hairpin {hairpin}{isolated}", port.number, port.state));
        }
        line("  received", &passed(&end.counters.rx, width));
        line("  sent", &passed(&end.counters.tx, width));
    };
    let ours = |end: &&End| Some(end.index) != inspection.container_end.as_ref().map(|end| end.index);
    let ends = [
        ("bridge", &inspection.bridge_link),
        ("host end", &inspection.host_end),
        ("inside", &inspection.container_end),
    ];
    let there = ends.iter().filter_map(|(name, end)| Some((*name, end.as_ref()?)));
    let others = inspection.interfaces.iter().filter(ours).map(|end| ("inside", end));
    let bridges = inspection.other_bridge_links.iter().map(|end| ("bridge", end));
    let host_ends = inspection.other_host_ends.iter().map(|end| ("host end", end));
    there.chain(bridges).chain(host_ends).chain(others).for_each(|(name, found)| end(name, found));
    more(inspection.more_interfaces).iter().for_each(|more| line("inside", more));
    let missing = ends.iter().filter(|(_, end)| end.is_none() && record.bridge().is_some());
    for (name, _) in missing {
        line(name, "not there");
    }
    inspection.rates.iter().for_each(|limit| line(&format!("rate {}", limit.direction), &limited(limit)));
    inspection
        .routes
        .iter()
        .cloned()
        .chain(more(inspection.more_routes))
        .for_each(|route| line("route", &route));
    for rule in &inspection.rules {
        line("rule", rule);
        for counter in inspection.rule_counters.iter().filter(|counter| counter.rule == *rule) {
            let (packets, bytes) = (count(counter.packets, "packet"), count(counter.bytes, "byte"));
            line("  matched", &format!("{packets}  {bytes}"));
        }
    }
    record.ports.iter().for_each(|mapping| line("published", &mapping.to_string()));
    inspection.failures.iter().for_each(|failure| line("failure", failure));
    text
}

/// What the record says.
fn of_record(line: &mut impl FnMut(&str, &str), inspection: &Inspection<'_>, record: &Record) {
    let row = &inspection.row;
    line("container", record.id());
    line("bundle", &record.container.bundle.display().to_string());
    if let Some(path) = record.sandbox.path() {
        line("netns", &path.display().to_string());
    }
    if let Some(pid) = record.sandbox.pid() {
        line("pid", &pid.to_string());
    }
    line("status", row.status);
    line("since", &format!("{}, {} ago", row.since, age(record.since)));
    for place in &record.attachments {
        place.addresses.iter().for_each(|lease| match place.bridge.as_ref().or(place.parent.as_ref()) {
            Some(link) => line("lease", &format!("{lease} on {link}")),
            None => line("address", &lease.to_string()),
        });
    }
    for nic in &row.nics {
        line("nic", &format!("{} of the host, {} inside", nic.name, nic.interface));
    }
    record
        .attachments
        .iter()
        .flat_map(|place| &place.gateways)
        .for_each(|ip| line("gateway", &ip.to_string()));
    inspection.shared_with.iter().for_each(|id| line("shared with", id));
}

/// As [`describe`] of `ip -o link`, without what is the same for all.
fn describe(end: &End) -> String {
    let peer = end.peer_index.map_or_else(String::new, |index| format!("@if{index}"));
    let mac = if end.mac.is_empty() { String::new() } else { format!(" {}", end.mac) };
    let mut text =
        format!("{}: {}{peer} {}{mac} mtu {} state {}", end.index, end.name, end.kind, end.mtu, end.state);
    if let Some(bridge) = &end.bridge {
        let _ = write!(text, " port of {bridge}");
    }
    for word in end.addresses.iter().cloned().chain(more(end.more_addresses)) {
        let _ = write!(text, " {word}");
    }
    text
}

/// How wide packets and bytes get, so that they stand below each other.
fn counter_widths(inspection: &Inspection<'_>) -> [usize; 2] {
    let ends =
        [&inspection.bridge_link, &inspection.host_end].into_iter().flatten().chain(&inspection.interfaces);
    let ends = ends.chain(&inspection.other_bridge_links).chain(&inspection.other_host_ends);
    let counters = ends.flat_map(|end| [end.counters.rx, end.counters.tx]);
    let width = |[packets, bytes]: [usize; 2], counter: Counter| {
        [packets.max(counter.packets.to_string().len()), bytes.max(counter.bytes.to_string().len())]
    };
    counters.fold([1, 1], width)
}

fn passed(counter: &Counter, [packets, bytes]: [usize; 2]) -> String {
    let Counter { errors, dropped, .. } = counter;
    let (p, b) = (counter.packets, counter.bytes);
    format!("{p:>packets$} packets  {b:>bytes$} bytes  {errors} errors  {dropped} dropped")
}

/// As `tc -s qdisc`.
fn limited(Limit { interface, queue, .. }: &Limit) -> String {
    let Queue { bits, packets, bytes, dropped, waiting, .. } = queue;
    let rate = Rate { bits: *bits, burst: None };
    format!(
        "{interface} {rate}  {packets} packets  {bytes} bytes  {dropped} dropped  {waiting} bytes waiting"
    )
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// The two largest units will do.
fn age(since: u64) -> String {
    let then = UNIX_EPOCH + Duration::from_secs(since);
    let age = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    let age = humantime::format_duration(Duration::from_secs(age)).to_string();
    age.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Names from the kernel and paths may contain anything.
fn safe(text: &str) -> String {
    let spell = |c: char| if is_obeyed(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(spell).collect()
}
