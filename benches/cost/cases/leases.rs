//! An address among many leases.
//!
//! No machine here has 60,000 containers, so all but one are records, copies of that one's, and
//! all name its process, which lives.

use std::fs;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::{LEASES, thousands};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ours, Ports};
use crate::cost::probe;
use crate::cost::race::measure;
use crate::cost::table::{Figure, Table, Unit};

const STATE: &str = "/run/netns-hook";

pub fn run(scale: &Scale) -> Vec<Table> {
    let note = "One container more, without ports, so that no iptables runs; all but one of the others are \
                records alone. System calls by strace, instructions in user space by callgrind.";
    let head = [
        "leases",
        "set up",
        "take down",
        "set up, system calls",
        "take down, system calls",
        "set up, instructions",
        "take down, instructions",
    ];
    let mut table = Table::new(LEASES, note, head);
    let mut lane = Lane::new(Box::new(Ours { without_bundle: true }));
    lane.grow(|_| Ports::None);
    for &count in scale.leases {
        eprintln!("  {} leases", thousands(count));
        lane.enter();
        pretend(count);
        table.row(thousands(count), figures(&mut lane, scale));
    }
    vec![table]
}

/// Makes the state directory one of `count` leases.
fn pretend(count: usize) {
    let containers = format!("{STATE}/containers");
    let mut files: Vec<_> =
        fs::read_dir(&containers).expect("records").map(|file| file.expect("record")).collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let real = files.first().expect("a container that is up").path();
    let text = fs::read_to_string(real).expect("a record");
    let mut record: Value = serde_json::from_str(&text).expect("a record is JSON");
    let first: Ipv4Addr = address(&record).parse().expect("an address");
    for number in files.len()..count {
        record["id"] = format!("z{number}").into();
        let lease = Ipv4Addr::from_bits(first.to_bits() + u32::try_from(number).expect("fits"));
        record["addresses"][0] = format!("{lease}/16").into();
        fs::write(format!("{containers}/z{number}@0.json"), record.to_string()).expect("write a record");
    }
    // Made again from the records by the next run.
    fs::remove_file(format!("{STATE}/index")).expect("remove the index");
}

fn address(record: &Value) -> String {
    let address = record["addresses"][0].as_str().expect("an address");
    address.split('/').next().unwrap_or_default().to_owned()
}

/// A row.
fn figures(lane: &mut Lane<Ours>, scale: &Scale) -> Vec<Option<Figure>> {
    let mut cells = Vec::new();
    // The first of all walks past the leases, and makes the index.
    measure(std::slice::from_mut(lane), 1, Ports::None);
    for cost in measure(std::slice::from_mut(lane), scale.rounds, Ports::None) {
        cells = [cost.up, cost.down].map(|times| Some(Figure::times(Unit::Millis, &times))).into();
    }
    cells.extend(probe::both(lane, Ports::None, scale, Unit::Count, probe::system_calls));
    cells.extend(probe::both(lane, Ports::None, scale, Unit::Millions, probe::instructions));
    cells
}
