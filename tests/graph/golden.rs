//! The world of examples/graph in every format: as it is kept here, and as README.md shows it.
//!
//! `NETNS_GOLDEN=write cargo test graph::` writes the files anew.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::formats::assert_well_formed;
use crate::common::{NETNS, World, skip, stderr};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What examples/graph prints with these arguments.
fn drawn(arguments: &[&str]) -> String {
    let output = Command::new("timeout")
        .args(["-s", "KILL", "60"])
        .arg(root().join("examples/graph"))
        .args(arguments)
        .env("NETNS", NETNS)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output()
        .expect("run examples/graph");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_example_is_drawn_in_every_format_as_it_always_was() {
    let Some(world) = World::new() else { return };
    // Where tunnels are loaded, every new namespace has some, and other numbers for the rest.
    if world.links().len() > 1 {
        return skip("a new namespace has more than loopback in it");
    }
    for (file, arguments) in [
        ("tests/graph/world.txt", &[][..]),
        ("tests/graph/world-ascii.txt", &["--ascii"]),
        ("tests/graph/world.dot", &["--format", "dot"]),
        ("tests/graph/world.mmd", &["--format=mermaid"]),
        ("tests/graph/world.json", &["--format", "json"]),
        ("examples/graph.svg", &["--format", "svg"]),
    ] {
        let (path, drawn) = (root().join(file), drawn(arguments));
        if std::env::var_os("NETNS_GOLDEN").is_some_and(|value| value == "write") {
            fs::write(&path, &drawn).expect("write the golden file");
        }
        let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(drawn, golden, "{file} differs");
        let format = arguments.last().map_or("text", |last| last.trim_start_matches("--format="));
        assert_well_formed(if format == "--ascii" { "text" } else { format }, &drawn);
    }
}

#[test]
fn the_readme_shows_what_is_drawn() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let golden = fs::read_to_string(root().join("tests/graph/world.txt")).expect("world.txt");
    assert!(readme.contains(&golden), "README.md has another picture than tests/graph/world.txt");
    assert!(readme.contains("(examples/graph.svg)"), "README.md does not show the SVG");
}

#[test]
fn the_svg_needs_nothing_from_elsewhere() {
    let svg = fs::read_to_string(root().join("examples/graph.svg")).expect("graph.svg");
    let elsewhere = svg.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for word in ["http", "href", "url(", "@import", "<script", "<image", "<foreignObject"] {
        assert!(!elsewhere.contains(word), "{word}");
    }
    assert!(svg.contains("sans-serif") && svg.contains("prefers-color-scheme: dark"));
}
