//! Taking down beside the two things that the kernel makes anybody wait for: a rule's deletion
//! and a link's.

use std::time::Duration;

use super::{BESIDE, up_and_down};
use crate::cost::Scale;
use crate::cost::call::Call;
use crate::cost::lane::Lane;
use crate::cost::peers::{Floor, Ours, Peer, Ports};
use crate::cost::race::{fill, measure_and};
use crate::cost::table::{Figure, Table, Unit};

/// The column of the rule's deletion.
pub const RESTORE: &str = "iptables-restore that deletes one rule";

pub fn run(scale: &Scale) -> Vec<Table> {
    let peers: [Box<dyn Peer>; 3] =
        [Box::new(Floor::<true>), Box::new(Ours::<false>::default()), Box::new(Ours::<true>::default())];
    let mut lanes: Vec<Lane> = peers.into_iter().map(Lane::new).collect();
    fill(&mut lanes, 1, |_| Ports::one(10_000));
    let mut restores = Vec::new();
    let costs = measure_and(&mut lanes, scale.rounds, 1, Ports::one(40_000), |lane| {
        if lane.peer.name() == "netns" {
            restores.push(delete_a_rule(lane));
        }
    });
    let note = "One container is up, another with one published port comes and goes. The floor deletes the \
                link alone, with ip(8).";
    let [_, mut down] = up_and_down([BESIDE; 2], note, "", &[("take down".to_owned(), costs)]);
    add(&mut down, &[restores]);
    vec![down]
}

/// Adds the column.
pub fn add(table: &mut Table, restores: &[Vec<Duration>]) {
    table.head.push(RESTORE.to_owned());
    for ((_, cells), times) in table.rows.iter_mut().zip(restores) {
        cells.push(Some(Figure::times(Unit::Millis, times)));
    }
}

/// How long the deletion of one rule takes, in a chain of its own.
/// It changes the ruleset behind our back, and so the next set-up looks whether all rules are
/// still there: none is to be measured after it.
pub fn delete_a_rule(lane: &Lane) -> Duration {
    lane.enter();
    let restore = |lines: &str| {
        let input = format!("*nat\n{lines}\nCOMMIT\n");
        Call::new(["iptables-restore", "--noflush"], input).run().0
    };
    let rule = "BESIDE -p tcp --dport 9 -j DNAT --to-destination 172.19.255.254:9";
    if !lane.world.try_sh("iptables -t nat -n -L BESIDE").status.success() {
        restore(":BESIDE - [0:0]");
    }
    restore(&format!("-A {rule}"));
    restore(&format!("-D {rule}"))
}
