//! The tables of docs/networks.md.

use super::world::{CALLERS, NETWORKS, WAYS};

/// Whether a packet got there, by family; `None` until one was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    pub ipv4: Option<bool>,
    pub ipv6: Option<bool>,
}

impl Cell {
    /// One word where it is the same for both families, and that of a family where it alone gets there.
    fn text(self) -> &'static str {
        match (self.ipv4.expect("an IPv4 packet"), self.ipv6.expect("an IPv6 packet")) {
            (true, true) => "yes",
            (false, false) => "–",
            (true, false) => "IPv4",
            (false, true) => "IPv6",
        }
    }
}

/// All cells: by way, caller and network.
pub type Matrix = Vec<Vec<Vec<Cell>>>;

/// One table for each way, as Markdown.
pub fn tables(matrix: &Matrix) -> String {
    let mut text = String::new();
    for (way, rows) in WAYS.iter().zip(matrix) {
        let names: Vec<&str> = NETWORKS.iter().map(|network| network.title).collect();
        text += &format!("| {way} | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        for (caller, cells) in CALLERS.iter().zip(rows) {
            let cells: Vec<&str> = cells.iter().map(|cell| cell.text()).collect();
            text += &format!("| {caller} | {} |\n", cells.join(" | "));
        }
        text += "\n";
    }
    text
}
