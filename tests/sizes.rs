//! Nothing in `src`, nor the README, is too long to be read at once.

use crate::rooms::sources;

/// The most lines that a file may have, its tests included.
const FILE: usize = 350;
/// The most lines that a function may have.
const FUNCTION: usize = 60;
/// The fewest lines that are too many for the README.
const README: usize = 250;

/// The functions of a file with their bodies' lines: from a line with `fn` to the next line that
/// is only a brace, as far to the right.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let start = line.trim_start();
        let words: Vec<&str> = start.split(['(', '<']).next().unwrap_or(start).split(' ').collect();
        let is_function = words.contains(&"fn") || start.starts_with("pub(") && start.contains(" fn ");
        if !is_function || start.starts_with("//") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - start.len()]);
        let body = lines[at..].iter().position(|line| line.ends_with(['{', ';', '}'])).unwrap_or(0);
        // One without a body, or with all of it in one line.
        if !lines[at + body].ends_with('{') {
            continue;
        }
        let length = lines[at..].iter().position(|line| *line == end).expect("the end of a function");
        found.push((start, length + 1));
    }
    found
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut long = Vec::new();
    let mut count = 0;
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE {
            long.push(format!("{}: {lines} lines", file.display()));
        }
        for (function, lines) in functions(&text) {
            count += 1;
            if lines > FUNCTION {
                long.push(format!("{}: {function}: {lines} lines", file.display()));
            }
        }
    }
    assert!(count > 500, "only {count} functions are found");
    assert_eq!(long, [""; 0]);
}

#[test]
fn the_introduction_is_short() {
    let lines = include_str!("../README.md").lines().count();
    assert!(lines < README, "README.md has {lines} lines: its details belong into docs/");
}

#[test]
fn a_function_is_measured_from_its_first_line_to_its_last() {
    let text = "\
impl A {
    fn declared(&self);
    pub(super) fn short() -> u8 { 1 }
    pub fn long(
        a: u8,
    ) -> u8 {
        if a > 1 {
            2
        }
    }
}
const fn one() {
    // a line
}
";
    assert_eq!(functions(text), [("pub fn long(", 7), ("const fn one() {", 3)]);
}
