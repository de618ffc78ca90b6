//! The questions. Each is asked in lanes of its own.

pub mod beside;
mod cni;
mod dense;
mod first;
mod full;
mod grow;
mod leases;
mod networks;
mod once;
mod packets;
mod pods;
mod ports;
mod process;

use std::time::Duration;

use super::Scale;
use super::race::Cost;
use super::table::{Figure, Table, Unit};

/// One question.
pub struct Case {
    pub name: &'static str,
    pub what: &'static str,
    pub run: fn(&Scale) -> Vec<Table>,
}

/// All of them.
pub const CASES: [Case; 12] = [
    Case { name: "grow", what: "one container more, however many are up", run: grow::run },
    Case { name: "first", what: "the first container, network included", run: first::run },
    Case { name: "ports", what: "no port, one, 32, 206, a range of 1,000", run: ports::run },
    Case { name: "networks", what: "a second family, a second network", run: networks::run },
    Case { name: "full", what: "ten published ports for each of 1,000 containers", run: full::run },
    Case { name: "dense", what: "32 published ports for each of 470 containers", run: dense::run },
    Case { name: "cni", what: "as a CNI plugin, beside the chain", run: cni::run },
    Case { name: "pods", what: "whole pods of containerd, as a kubelet asks for them", run: pods::run },
    Case { name: "once", what: "100 at once, and one after the other", run: once::run },
    Case { name: "beside", what: "what taking down cannot avoid", run: beside::run },
    Case { name: "leases", what: "an address among 60,000 leases", run: leases::run },
    Case { name: "process", what: "the hook's own instructions and memory", run: process::run },
];

/// The titles of the tables, by which goals and picture find them.
pub const SET_UP: &str = "Set up, one published port";
pub const TAKE_DOWN: &str = "Take down, one published port";
pub const QUIET: &str = "A quiet bridge";
pub const FIRST: &str = "The first container";
pub const PORTS_UP: &str = "Set up, by ports";
pub const PORTS_DOWN: &str = "Take down, by ports";
pub const NETWORKS: &str = "Set up and take down, by networks";
pub const PORTS_OF_OTHERS: &str = "Set up, by ports of others";
pub const FULL_UP: &str = "Set up, ten published ports each";
pub const FULL_DOWN: &str = "Take down, ten published ports each";
pub const DENSE_UP: &str = "Set up, 32 published ports each";
pub const DENSE_DOWN: &str = "Take down, 32 published ports each";
pub const CNI_ADD: &str = "As a CNI plugin: ADD";
pub const CNI_DEL: &str = "As a CNI plugin: DEL";
pub const POD_RUN: &str = "A whole pod: RunPodSandbox";
pub const POD_STOP: &str = "A whole pod: StopPodSandbox";
pub const PACKETS: &str = "A new connection's first packet";
pub const ONCE: &str = "Many at once";
pub const BESIDE: &str = "What taking down cannot avoid";
pub const LEASES: &str = "An address among many leases";
pub const PROCESS: &str = "The hook's own process";
pub const PROGRAM: &str = "The program";

/// Two tables, of setting up and of taking down, from what each peer took in each row.
fn up_and_down(
    titles: [&'static str; 2],
    note: &str,
    head: &str,
    rows: &[(String, Vec<Cost>)],
) -> [Table; 2] {
    let mut columns = vec![head];
    for cost in rows.iter().flat_map(|(_, costs)| costs) {
        if !columns.contains(&cost.peer) {
            columns.push(cost.peer);
        }
    }
    let table = |title, times: fn(&Cost) -> &Vec<Duration>| {
        let mut table = Table::new(title, note, columns.clone());
        table.compares = true;
        for (name, costs) in rows {
            let cost = |peer: &&str| costs.iter().find(|cost| cost.peer == *peer);
            let figure = |peer| cost(peer).map(|cost| Figure::times(Unit::Millis, times(cost)));
            table.row(name.clone(), columns.iter().skip(1).map(figure).collect());
        }
        table
    };
    [table(titles[0], |cost| &cost.up), table(titles[1], |cost| &cost.down)]
}

/// `1000` as `1,000`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(|group| String::from_utf8_lossy(group).into_owned()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_separated() {
        assert_eq!([0, 999, 1000, 60_000].map(thousands), ["0", "999", "1,000", "60,000"]);
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
