//! A picture for Mermaid, which GitHub and GitLab draw where they find it in Markdown.

use std::fmt::Write;

use super::Picture;
use super::nodes::{Kind, nodes};
use crate::error::is_obeyed;

const CLASSES: &str = "  \
    classDef uplink fill:#e0e7ff,stroke:#6366f1,color:#1e1b4b\n  \
    classDef bridge fill:#ccfbf1,stroke:#0d9488,color:#134e4a\n  \
    classDef link fill:#f1f5f9,stroke:#64748b,color:#0f172a\n  \
    classDef container fill:#ffffff,stroke:#475569,color:#0f172a\n  \
    classDef dead fill:#fee2e2,stroke:#dc2626,color:#7f1d1d,stroke-dasharray:4 3\n";

/// The brackets that give a node its shape, and its class.
fn looks(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::Uplink => ("([", "])", "uplink"),
        Kind::Bridge => ("[[", "]]", "bridge"),
        Kind::Link => ("[", "]", "link"),
        Kind::Container => ("(", ")", "container"),
        Kind::Dead => ("(", ")", "dead"),
    }
}

/// The picture as a Mermaid flowchart.
pub fn mermaid(picture: &Picture) -> String {
    let all = nodes(picture);
    let mut text = String::from("flowchart LR\n");
    for node in &all.nodes {
        let (open, close, class) = looks(node.kind);
        let lines: Vec<String> = node.lines.iter().map(|line| escape(line)).collect();
        let _ = writeln!(text, "  {}{open}\"{}\"{close}:::{class}", node.name, lines.join("<br/>"));
    }
    for edge in &all.edges {
        let line = if edge.dashed { "-.-" } else { "---" };
        let label = escape(&edge.label);
        let label = if label.is_empty() { label } else { format!("|\"{label}\"|") };
        let _ = writeln!(text, "  {} {line}{label} {}", edge.from, edge.to);
    }
    text.push_str(CLASSES);
    text
}

/// Fit for a quoted label, in which HTML and Markdown mean something: everything that could be
/// part of either becomes an entity, which Mermaid writes with `#`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut following = text.chars().peekable();
    while let Some(c) = following.next() {
        // "1. " and "- " begin a list.
        let bullet = ".+-".contains(c) && matches!(following.peek(), None | Some(' '));
        if is_obeyed(c) {
            let _ = write!(escaped, "#92;u{:x}", u32::from(c));
        } else if c.is_alphanumeric() || " .,:/()+-".contains(c) && !bullet {
            escaped.push(c);
        } else {
            let _ = write!(escaped, "#{};", u32::from(c));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_be_markup() {
        assert_eq!(escape("\"]<b>`#quot;"), "#34;#93;#60;b#62;#96;#35;quot#59;");
        assert_eq!(escape("a\nb"), "a#92;uab");
        assert_eq!(escape("1. running"), "1#46; running");
        assert_eq!(escape("0.0.0.0:80->80/tcp"), "0.0.0.0:80-#62;80/tcp");
    }
}
