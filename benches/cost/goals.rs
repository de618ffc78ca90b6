//! What this project wants of itself, and whether it is so. Pure.

use super::cases::beside::RESTORE;
use super::cases::{
    BESIDE, CNI_ADD, FULL_DOWN, FULL_UP, LEASES, NETWORKS, ONCE, PACKETS, PORTS_OF_OTHERS, PORTS_UP, PROCESS,
    PROGRAM, SET_UP, TAKE_DOWN,
};
use super::table::Table;

/// Where a figure stands: table, row and column.
type Place = (&'static str, &'static str, &'static str);

/// What a figure is divided by.
#[derive(Debug, Clone, Copy)]
enum By {
    Figure(Place),
    Number(f64),
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Goal {
    what: &'static str,
    figure: Place,
    by: By,
    bound: Bound,
}

const fn goal(what: &'static str, figure: Place, by: By, bound: Bound) -> Goal {
    Goal { what, figure, by, bound }
}

const ONE: Place = (SET_UP, "1", "netns");
const AT_300: Place = (SET_UP, "300", "netns");
const ALL_PORTS: Place = (FULL_UP, "1,000", "netns");
const NFT: &str = "netns, nftables";
const NFT_ONE: Place = (SET_UP, "1", NFT);
const NFT_AT_300: Place = (SET_UP, "300", NFT);
const NFT_PORT: Place = (PORTS_UP, "1", NFT);
const MIB: By = By::Number(1_048_576.0);

use Bound::{AtLeast, AtMost};
use By::Figure;

const GOALS: &[Goal] = &[
    goal("set up: at most 2.5 times the floor", ONE, Figure((SET_UP, "1", "floor")), AtMost(2.5)),
    goal("set up: 10 times faster than netavark", (SET_UP, "1", "netavark"), Figure(ONE), AtLeast(10.0)),
    goal("set up: 15 times faster than CNI", (SET_UP, "1", "CNI"), Figure(ONE), AtLeast(15.0)),
    goal("300 up: at most 2.5 times the floor", AT_300, Figure((SET_UP, "300", "floor")), AtMost(2.5)),
    goal("300 up: at most 1.5 times what it takes with one", AT_300, Figure(ONE), AtMost(1.5)),
    goal("300 up: 40 times faster than netavark", (SET_UP, "300", "netavark"), Figure(AT_300), AtLeast(40.0)),
    goal("300 up: 40 times faster than CNI", (SET_UP, "300", "CNI"), Figure(AT_300), AtLeast(40.0)),
    goal(
        "10,000 ports: at most 2.5 times the floor",
        ALL_PORTS,
        Figure((FULL_UP, "1,000", "floor")),
        AtMost(2.5),
    ),
    goal(
        "10,000 ports: at most twice what it takes with ten",
        ALL_PORTS,
        Figure((FULL_UP, "1", "netns")),
        AtMost(2.0),
    ),
    goal(
        "10,000 ports, take down: at most twice what it takes with ten",
        (FULL_DOWN, "1,000", "netns"),
        Figure((FULL_DOWN, "1", "netns")),
        AtMost(2.0),
    ),
    goal(
        "a range of 1,000 ports: at most 1.1 times one port",
        (PORTS_UP, "a range of 1,000", "netns"),
        Figure((PORTS_UP, "1", "netns")),
        AtMost(1.1),
    ),
    goal(
        "take down: at most 1.5 times the deletion of one rule",
        (BESIDE, "take down", "netns"),
        Figure((BESIDE, "take down", RESTORE)),
        AtMost(1.5),
    ),
    goal(
        "take down: 4 times faster than netavark",
        (TAKE_DOWN, "1", "netavark"),
        Figure((TAKE_DOWN, "1", "netns")),
        AtLeast(4.0),
    ),
    goal(
        "100 at once: no longer than one after the other",
        (ONCE, "set up, all at once", "netns"),
        Figure((ONCE, "set up, one after the other", "netns")),
        AtMost(1.0),
    ),
    goal("100 at once: none fails", (ONCE, "of these failed", "netns"), By::Number(1.0), AtMost(0.0)),
    goal(
        // Who verifies 64 others makes a call for each.
        "60,000 leases: at most 1.03 times the system calls with 100",
        (LEASES, "60,000", "set up, system calls"),
        Figure((LEASES, "100", "set up, system calls")),
        AtMost(1.03),
    ),
    goal(
        "60,000 leases: at most 1.1 times the instructions",
        (LEASES, "60,000", "set up, instructions"),
        Figure((LEASES, "10", "set up, instructions")),
        AtMost(1.1),
    ),
    goal("nftables: at most 1.6 times the floor", NFT_ONE, Figure((SET_UP, "1", "floor")), AtMost(1.6)),
    goal(
        "nftables: 14 times faster than netavark",
        (SET_UP, "1", "netavark"),
        Figure(NFT_ONE),
        AtLeast(14.0),
    ),
    goal("nftables: 25 times faster than CNI", (SET_UP, "1", "CNI"), Figure(NFT_ONE), AtLeast(25.0)),
    goal(
        "nftables, 300 up: at most 1.4 times the floor",
        NFT_AT_300,
        Figure((SET_UP, "300", "floor")),
        AtMost(1.4),
    ),
    goal(
        "nftables, 300 up: 45 times faster than netavark",
        (SET_UP, "300", "netavark"),
        Figure(NFT_AT_300),
        AtLeast(45.0),
    ),
    goal(
        "nftables, 300 up: 80 times faster than CNI",
        (SET_UP, "300", "CNI"),
        Figure(NFT_AT_300),
        AtLeast(80.0),
    ),
    goal(
        "nftables, 1,000 up: at most 1.4 times the floor",
        (SET_UP, "1,000", NFT),
        Figure((SET_UP, "1,000", "floor")),
        AtMost(1.4),
    ),
    goal(
        "nftables, 32 ports: at most 1.1 times one port",
        (PORTS_UP, "32", NFT),
        Figure(NFT_PORT),
        AtMost(1.1),
    ),
    goal(
        "nftables, a range of 1,000 ports: at most 1.5 times one port",
        (PORTS_UP, "a range of 1,000", NFT),
        Figure(NFT_PORT),
        AtMost(1.5),
    ),
    goal(
        "nftables, 10,000 ports: at most 1.1 times what it takes with 100",
        (PORTS_OF_OTHERS, "10,000", NFT),
        Figure((PORTS_OF_OTHERS, "100", NFT)),
        AtMost(1.1),
    ),
    goal(
        "nftables, first packet among 10,000 ports: at most 1.1 times that among one",
        (PACKETS, "10,000, nftables", "connect"),
        Figure((PACKETS, "one, nftables", "connect")),
        AtMost(1.1),
    ),
    goal("CNI: ADD 20 times faster", (CNI_ADD, "1", "CNI"), Figure((CNI_ADD, "1", "netns")), AtLeast(20.0)),
    goal(
        "CNI, nftables: ADD 20 times faster",
        (CNI_ADD, "1", "CNI"),
        Figure((CNI_ADD, "1", "netns, nftables")),
        AtLeast(20.0),
    ),
    goal(
        "CNI, 300 up: ADD 50 times faster",
        (CNI_ADD, "300", "CNI"),
        Figure((CNI_ADD, "300", "netns")),
        AtLeast(50.0),
    ),
    goal(
        "CNI, nftables, 300 up: ADD 50 times faster",
        (CNI_ADD, "300", "CNI"),
        Figure((CNI_ADD, "300", "netns, nftables")),
        AtLeast(50.0),
    ),
    goal(
        "both families: at most 1.25 times IPv4 alone",
        (NETWORKS, "one network, both families, 1 up", "netns"),
        Figure((NETWORKS, "one network, IPv4, 1 up", "netns")),
        AtMost(1.25),
    ),
    goal(
        "nftables, both families: at most 1.25 times IPv4 alone",
        (NETWORKS, "one network, both families, 1 up", "netns, nftables"),
        Figure((NETWORKS, "one network, IPv4, 1 up", "netns, nftables")),
        AtMost(1.25),
    ),
    goal(
        "two networks: at most 1.8 times one",
        (NETWORKS, "two networks, IPv4, 1 up", "netns"),
        Figure((NETWORKS, "one network, IPv4, 1 up", "netns")),
        AtMost(1.8),
    ),
    goal(
        "nftables, two networks: at most 1.8 times one",
        (NETWORKS, "two networks, IPv4, 1 up", "netns, nftables"),
        Figure((NETWORKS, "one network, IPv4, 1 up", "netns, nftables")),
        AtMost(1.8),
    ),
    goal(
        "nftables, take down: at most 1.1 times the deletion of the link alone",
        (BESIDE, "take down", NFT),
        Figure((BESIDE, "take down", "floor")),
        AtMost(1.1),
    ),
    goal(
        "nftables, 100 at once, taken down: at most 1.5 times the floor",
        (ONCE, "take down, all at once", NFT),
        Figure((ONCE, "take down, all at once", "floor")),
        AtMost(1.5),
    ),
    goal("the program: at most 4 MiB", (PROGRAM, "netns", "size"), MIB, AtMost(4.0)),
    goal("1,000 up: at most 8 MiB of memory", (PROCESS, "1,000", "set up, memory"), MIB, AtMost(8.0)),
];

/// The goals that these tables say something about.
pub fn markdown(report: &[Table]) -> String {
    let at = |(title, row, column): Place| {
        report.iter().filter(|table| table.title == title).find_map(|table| table.at(row, column))
    };
    let mut text = "| goal | measured | reached |\n|---|---:|---|\n".to_owned();
    for goal in GOALS {
        let divisor = match goal.by {
            Figure(place) => at(place),
            By::Number(number) => Some(number),
        };
        let Some((figure, divisor)) = at(goal.figure).zip(divisor) else { continue };
        let is = figure / divisor;
        let reached = match goal.bound {
            AtMost(bound) => is <= bound,
            AtLeast(bound) => is >= bound,
        };
        let reached = if reached { "yes" } else { "**no**" };
        text += &format!("| {} | {is:.2} | {reached} |\n", goal.what);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::table::{Figure, Unit};

    #[test]
    fn only_a_goal_that_was_measured_is_judged() {
        let mut table = Table::new(SET_UP, "", ["containers up", "floor", "netns", "netavark"]);
        let ms = |ms: f64| Some(Figure::new(Unit::Millis, [ms * 1e6]));
        table.row("1", vec![ms(2.0), ms(5.1), ms(51.0)]);
        assert_eq!(
            markdown(&[table]),
            "| goal | measured | reached |\n|---|---:|---|\n\
             | set up: at most 2.5 times the floor | 2.55 | **no** |\n\
             | set up: 10 times faster than netavark | 10.00 | yes |\n"
        );
    }
}
