//! A picture for Graphviz, `dot(1)`.

use std::fmt::Write;

use super::Picture;
use super::nodes::{Kind, nodes};
use crate::error::is_obeyed;

/// How nodes look: neither on a light nor on a dark page does anything vanish.
fn looks(kind: Kind) -> &'static str {
    match kind {
        Kind::Uplink => "shape=ellipse, fillcolor=\"#e0e7ff\", color=\"#6366f1\"",
        Kind::Bridge => "fillcolor=\"#ccfbf1\", color=\"#0d9488\"",
        Kind::Link => "fillcolor=\"#f1f5f9\", color=\"#64748b\"",
        Kind::Container => "fillcolor=\"#ffffff\", color=\"#475569\"",
        Kind::Dead => "fillcolor=\"#fee2e2\", color=\"#dc2626\", style=\"rounded,filled,dashed\"",
    }
}

/// The picture in the DOT language.
pub fn dot(picture: &Picture) -> String {
    let all = nodes(picture);
    let mut text = String::from(
        "graph netns {\n  \
         graph [rankdir=LR, ranksep=1.2, nodesep=0.35, fontname=\"sans-serif\", bgcolor=\"transparent\"];\n  \
         node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontsize=11];\n  \
         edge [fontname=\"sans-serif\", fontsize=9, color=\"#64748b\", fontcolor=\"#64748b\"];\n",
    );
    for node in &all.nodes {
        let lines: Vec<String> = node.lines.iter().map(|line| escape(line)).collect();
        let _ = writeln!(text, "  {} [label=\"{}\", {}];", node.name, lines.join("\\n"), looks(node.kind));
    }
    for edge in &all.edges {
        let dashed = if edge.dashed { ", style=dashed" } else { "" };
        let _ = writeln!(text, "  {} -- {} [label=\"{}\"{dashed}];", edge.from, edge.to, escape(&edge.label));
    }
    text.push_str("}\n");
    text
}

/// Fit for a quoted string: no quote ends it, no backslash begins one of dot's own escapes, and
/// no `&` an entity.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '&' => escaped.push_str("&amp;"),
            c if is_obeyed(c) => {
                let _ = write!(escaped, "\\\\u{{{:x}}}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_end_its_string() {
        assert_eq!(escape("a\"];b\\"), "a\\\"];b\\\\");
        assert_eq!(escape("&lt;\n\u{1b}"), "&amp;lt;\\\\u{a}\\\\u{1b}");
    }
}
