//! An address among many leases.
//!
//! No machine here has 60,000 containers, so all but one are records with their claims: copies
//! of that one's, which name its process, which lives, but with ids, addresses and lines of the
//! `hosts` file of their own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnetwork::IpNetwork;
use netns::config::DEFAULT_STATE_DIR;
use netns::model::hosts;
use netns::model::record::Record;
use netns::model::step::Step;
use netns::store::{Records, Store};

use super::{LEASES, thousands};
use crate::cost::Scale;
use crate::cost::lane::Lane;
use crate::cost::peers::{Ours, Ports};
use crate::cost::probe;
use crate::cost::race::measure;
use crate::cost::table::{Figure, Table, Unit};

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
    let mut lane = Lane::new(Box::new(Ours::<false> { without_bundle: true, networks: "" }));
    lane.grow(|_| Ports::None);
    for &count in scale.leases {
        eprintln!("  {} leases", thousands(count));
        lane.enter();
        pretend(count);
        table.row(thousands(count), figures(&mut lane, scale));
    }
    vec![table]
}

/// Makes the state directory one of `count` leases, in the way in which an attach records and
/// claims.
fn pretend(count: usize) {
    let dir = Path::new(DEFAULT_STATE_DIR);
    let known = Records::read(dir).expect("records").containers;
    let real = known.iter().find(|record| record.id() == "c1").expect("a container that is up");
    let store = Store::open(dir).expect("the state directory");
    let _lock = store.lock().expect("the lock");
    for number in known.len()..count {
        let record = copy(real, u32::try_from(number).expect("fits"));
        drop(store.begin(&record).expect("record and claim"));
        fs::remove_file(dir.join("pending").join(record.key().as_str())).expect("say that it is attached");
    }
    let known = Records::read(dir).expect("records");
    assert_eq!((known.containers.len(), known.incomplete, known.damaged.len()), (count.max(1), vec![], 0));
    lengthen_hosts(&known.containers[0], count);
}

/// Every other line, as in a table that is half full; the first ones may be the real one's.
fn line_of(number: u32) -> u32 {
    10 + 2 * number
}

/// The record of a container that came `number` after this one, of the same process.
fn copy(real: &Record, number: u32) -> Record {
    let mut record = real.clone();
    record.container.id = format!("z{number}");
    for lease in record.attachments.iter_mut().flat_map(|attachment| &mut attachment.addresses) {
        let IpNetwork::V4(first) = *lease else { continue };
        let address = Ipv4Addr::from_bits(first.ip().to_bits() + number);
        *lease = IpNetwork::new(IpAddr::V4(address), first.prefix()).expect("a lease");
    }
    let address = record.addresses().next().expect("an address").ip();
    for step in &mut record.steps {
        if let Step::AddHost { slot, line, .. } = step {
            (*slot, *line) = (line_of(number), format!("{address} z{number}"));
        }
    }
    record
}

/// Gives the network's `hosts` file the length that it has with so many containers.
fn lengthen_hosts(real: &Record, count: usize) {
    let path = real.steps.iter().find_map(|step| match step {
        Step::AddHost { path, .. } => Some(path),
        _ => None,
    });
    let path = path.expect("a line for its neighbours");
    let mut bytes = fs::read(path).expect("the hosts file");
    let slots = line_of(u32::try_from(count).expect("fits")) as usize;
    while bytes.len() < slots * hosts::SLOT {
        bytes.extend(hosts::blank());
    }
    fs::write(path, bytes).expect("write the hosts file");
}

/// A row.
fn figures(lane: &mut Lane<Ours>, scale: &Scale) -> Vec<Option<Figure>> {
    let mut cells = Vec::new();
    // The first of all finds the cursor before the leases, and reads them.
    measure(std::slice::from_mut(lane), 1, Ports::None);
    for cost in measure(std::slice::from_mut(lane), scale.rounds, Ports::None) {
        cells = [cost.up, cost.down].map(|times| Some(Figure::times(Unit::Millis, &times))).into();
    }
    cells.extend(probe::both(lane, Ports::None, scale, Unit::Count, probe::system_calls));
    cells.extend(probe::both(lane, Ports::None, scale, Unit::Millions, probe::instructions));
    cells
}
