//! Whether a document is well-formed, by small checks of our own; and names that mean harm.

use std::process::{Command, Stdio};

use netns::graph::{self, Bridge, Container, End, Link, Namespace, Outside, Picture, Place, Style, Uplink};

use crate::common::{run, stderr};

/// Fails where a reader of the format would.
pub fn assert_well_formed(format: &str, document: &str) {
    assert!(!document.contains(|c: char| c.is_control() && c != '\n'), "{format}: {document:?}");
    match format {
        "json" => drop(serde_json::from_str::<serde_json::Value>(document).expect("JSON")),
        "svg" => assert_xml(document),
        "dot" => assert_dot(document),
        "mermaid" => assert_mermaid(document),
        "text" => {}
        other => panic!("what is {other}?"),
    }
}

/// Every element is closed in its turn, and no `&` begins anything but an entity.
fn assert_xml(document: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut left = document.trim_end();
    while let Some((before, after)) = left.split_once('<') {
        assert!(!before.contains('>'), "a stray > in {before:?}");
        for part in before.split('&').skip(1) {
            let entity = part.split(';').next().unwrap_or_default();
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "&{part}");
        }
        let (tag, following) = after.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        assert!(!tag.contains('&') && !tag.contains('\''), "<{tag}>");
        let name = tag.split_whitespace().next().expect("a tag has a name");
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in {document}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        left = following;
    }
    assert!(open.is_empty() && left.is_empty(), "left over: {open:?} {left:?}");
}

/// What is outside of quotes is of our making; and dot itself, where it is installed, reads it.
fn assert_dot(document: &str) {
    let (mut outside, mut quoted, mut escaped) = (String::new(), false, false);
    for c in document.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            _ if !quoted => outside.push(c),
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    assert!(!quoted, "a string does not end: {document}");
    let ours = |c: char| c.is_ascii_alphanumeric() || " \n{}[]=,;.-".contains(c);
    assert!(outside.chars().all(ours), "{outside}");
    assert_eq!(outside.matches('{').count(), 1, "{outside}");
    if Command::new("dot").arg("-V").stdin(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        let output = run(Command::new("timeout").args(["-s", "KILL", "30", "dot", "-Tsvg"]), document);
        assert!(output.status.success() && output.stderr.is_empty(), "{}\n{document}", stderr(&output));
    }
}

/// Nodes, edges and classes, a line each, and in quotes nothing that is markup.
fn assert_mermaid(document: &str) {
    let mut lines = document.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    for line in lines.filter(|line| !line.starts_with("  classDef ")) {
        let parts: Vec<&str> = line.split('"').collect();
        assert!(parts.len() == 1 || parts.len() == 3, "{line}");
        let label = parts.get(1).unwrap_or(&"").replace("<br/>", "");
        let fine = |c: char| c.is_alphanumeric() || " .,:/()+-#;".contains(c);
        assert!(label.chars().all(fine), "{label}");
        let ours = |c: char| c.is_ascii_alphanumeric() || " []():|.-".contains(c);
        assert!(parts.iter().step_by(2).all(|part| part.chars().all(ours)), "{line}");
    }
}

/// Names that would end a string, open markup, or move a cursor.
const HOSTILE: [&str; 8] = [
    "a\"];evil [x=\"",
    "</text><script>alert(1)</script>",
    "\u{1b}[2J\u{9b}31m\r\n\u{7}",
    "\\",
    "&amp;&#x41;",
    "`**b**`|\"]:::x",
    "\u{202e}gnp.exe\u{2028}",
    "\u{fffe}ä→日本",
];

/// A picture in which every text that anybody may choose is `name`.
fn picture_of(name: &str) -> Picture {
    let link = |index| Link {
        index,
        name: name.to_owned(),
        kind: name.to_owned(),
        state: "up".to_owned(),
        alias: Some(name.to_owned()),
        addresses: vec!["10.0.0.1/8".parse().unwrap()],
        ..Link::default()
    };
    let outside = |place| Outside {
        place,
        index: 7,
        name: Some(name.to_owned()),
        bridge: Some(name.to_owned()),
        port: Some("disabled".to_owned()),
    };
    let end = |place| End { inside: Some(link(2)), outside: Some(outside(place)) };
    let container = Container { id: "web".to_owned(), status: "running".to_owned(), ..Container::default() };
    let namespace = |bridge: &str| Namespace {
        bridge: bridge.to_owned(),
        containers: vec![container.clone()],
        ends: vec![end(Place::Host), end(Place::Elsewhere), End::default()],
        ..Namespace::default()
    };
    Picture {
        uplinks: vec![Uplink { link: link(3), gateways: Vec::new() }],
        bridges: vec![Bridge { link: link(4), strangers: vec![link(5)] }],
        namespaces: vec![namespace(name), namespace("elsewhere")],
    }
}

#[test]
fn no_name_breaks_out_of_any_format() {
    for name in HOSTILE {
        let picture = picture_of(name);
        assert_well_formed("dot", &graph::dot(&picture));
        assert_well_formed("mermaid", &graph::mermaid(&picture));
        assert_well_formed("svg", &graph::svg(&picture));
        let json = graph::json(&picture).unwrap();
        assert_well_formed("json", &json);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["bridges"][0]["name"], name, "programs get the name as it is");
        for ascii in [false, true] {
            let text = graph::text(&picture, Style { ascii, colour: false });
            assert_well_formed("text", &text);
            assert!(!text.contains(['\u{202e}', '\u{2028}']), "{text}");
            assert!(!ascii || text.is_ascii(), "{text}");
        }
    }
}

#[test]
fn boxes_are_boxes_whatever_stands_in_them() {
    for name in HOSTILE {
        let text = graph::text(&picture_of(name), Style { ascii: true, colour: false });
        // All boxes begin in one column; each is as wide below as it is above.
        let edges = |line: &str| {
            let chars: Vec<char> = line.chars().collect();
            let at = chars.iter().rposition(|c| *c == ' ').map_or(0, |at| at + 1);
            (at, chars.len())
        };
        let tops: Vec<_> = text.lines().filter(|line| line.ends_with("-.")).map(edges).collect();
        let bottoms: Vec<_> = text.lines().filter(|line| line.ends_with("-'")).map(edges).collect();
        assert_eq!(tops.len(), 2, "{text}");
        assert_eq!(tops, bottoms, "{text}");
        assert_eq!(tops[0].0, tops[1].0, "{text}");
        let widths = text.lines().filter(|line| line.ends_with(" |")).map(|line| line.chars().count());
        assert!(widths.into_iter().all(|width| width == tops[0].1 || width == tops[1].1), "{text}");
    }
}
