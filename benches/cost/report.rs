//! Where the answers go: `benches/results.md`, `benches/cost.svg`, and between two marks in the
//! README, so that nobody copies figures by hand.

use std::fs;
use std::path::{Path, PathBuf};

use super::cases::{QUIET, SET_UP, TAKE_DOWN};
use super::peers;
use super::picture::{self, Panel, Series};
use super::table::Table;
use super::{Report, goals};

const BEGIN: &str = "<!-- written by benches/run -->\n";
const END: &str = "<!-- end -->\n";

/// Everything, as Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for table in report {
        let note = if table.note.is_empty() { String::new() } else { format!("{}\n\n", table.note) };
        text += &format!("## {}\n\n{note}{}\n", table.title, table.markdown());
    }
    format!("{text}## Goals\n\n{}", goals::markdown(report))
}

/// Writes the three files.
pub fn write(report: &Report) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let head = format!(
        "# What a container's network costs\n\n\
         Written by `benches/run`, which measures again. {} Times are medians of whole programs, their \
         start included. Peers take turns, so that what disturbs the machine disturbs all alike: compare \
         ratios, and figures of one table.\n\n\
         - *floor*: raw netlink in C, no lease, no record, no rule ([floor.c](cost/peers/floor.c))\n\
         - *netavark*: as podman runs it\n\
         - *CNI*: bridge with host-local, portmap and firewall, as libcni runs them\n\n\
         ![Cost by containers up](cost.svg)\n\n",
        machine()
    );
    put(&root.join("benches/results.md"), &(head + &markdown(report)));
    put(&root.join("benches/cost.svg"), &picture(report));
    let readme = root.join("README.md");
    let text = fs::read_to_string(&readme).expect("read README.md");
    let main = report.iter().find(|table| table.title == SET_UP).map(Table::markdown).unwrap_or_default();
    put(&readme, &between_marks(&text, &main).expect("README.md has the marks"));
}

fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// The text with something else between its marks; `None` if it has no marks.
fn between_marks(text: &str, new: &str) -> Option<String> {
    let (before, after) = text.split_once(BEGIN)?;
    let (_, after) = after.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{new}\n{END}{after}"))
}

/// What it ran on, as far as it matters.
fn machine() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: Vec<&str> = release.split('.').take(2).collect();
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "Linux {}, {cores} cores, {}, {}.",
        kernel.join("."),
        os.trim_matches('"'),
        peers::versions().join(", ")
    )
}

/// Setting up and taking down, side by side.
pub fn picture(report: &Report) -> String {
    let panel = |title: &str, main: &str| {
        let quiet = report.iter().filter(|table| table.title == QUIET);
        let tables = report.iter().filter(|table| table.title == main).chain(quiet);
        let mut series: Vec<Series> = Vec::new();
        for one in tables.flat_map(lines_of) {
            if !series.iter().any(|known| known.name == one.name) {
                series.push(one);
            }
        }
        Panel { title: title.to_owned(), series }
    };
    let mut down = panel("Take down", TAKE_DOWN);
    down.series.retain(|series| !series.name.contains("IPv6"));
    picture::svg(&[panel("Set up", SET_UP), down])
}

/// A line for each column.
fn lines_of(table: &Table) -> Vec<Series> {
    let line = |name: &String| {
        let point = |row: &String| Some((row.replace(',', "").parse().ok()?, table.at(row, name)? / 1e6));
        Series { name: name.clone(), points: table.rows.iter().filter_map(|(row, _)| point(row)).collect() }
    };
    table.head.iter().skip(1).map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        let new = between_marks(&text, "new").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}b\n"));
        assert_eq!(between_marks(&new, "new").unwrap(), new);
        assert_eq!(between_marks("a", "new"), None);
    }

    #[test]
    fn a_line_has_a_point_for_every_row_that_was_measured() {
        use crate::cost::table::{Figure, Unit};
        let mut table = Table::new(SET_UP, "", ["containers up", "netns", "CNI"]);
        let ms = |ms: f64| Some(Figure::new(Unit::Millis, [ms * 1e6]));
        table.row("1", vec![ms(2.0), ms(90.0)]);
        table.row("1,000", vec![ms(3.0), None]);
        let lines = lines_of(&table);
        assert_eq!((lines[0].name.as_str(), &lines[0].points), ("netns", &vec![(1.0, 2.0), (1000.0, 3.0)]));
        assert_eq!(lines[1].points, [(1.0, 90.0)]);
    }
}
