//! What stands in the box of a namespace.

use super::line::{Line, Paint, Strokes};
use crate::graph::{Container, End, Namespace};
use crate::model::bounded::more;
use crate::model::port::PortMapping;

/// Ports stand beside each other up to this width, in characters.
const PORTS_WIDTH: usize = 46;

/// What stands in a box: a line for each interface, then one or more for each container.
pub(super) fn rows(namespace: &Namespace, strokes: &Strokes) -> Vec<Line> {
    let titles =
        namespace.ends.iter().map(|end| end.inside.as_ref().map_or(1, |l| l.title().chars().count()));
    let width = titles.max().unwrap_or_default();
    let mut rows: Vec<Line> = namespace.ends.iter().map(|end| interface(end, strokes, width)).collect();
    let more = more(namespace.more_interfaces).map(|more| plain(&more, strokes));
    rows.extend(more.map(|more| Line::of(Paint::Faint, more)));
    if namespace.ends.is_empty() {
        let leases = namespace.containers.iter().flat_map(|container| &container.leases);
        let mut leases: Vec<String> = leases.map(ToString::to_string).collect();
        leases.dedup();
        let shown = leases.join(" ");
        rows.push(Line(vec![(Paint::Address, shown), (Paint::Faint, " leased".to_owned())]));
    }
    let width = namespace.containers.iter().map(|container| container.id.chars().count()).max();
    for container in &namespace.containers {
        rows.extend(container_lines(container, strokes, width.unwrap_or_default()));
    }
    rows
}

/// Without what the terminal cannot show.
fn plain(text: &str, strokes: &Strokes) -> String {
    text.replace('…', strokes.ellipsis)
}

fn interface(End { inside, outside }: &End, strokes: &Strokes, width: usize) -> Line {
    let mut line = Line::default();
    let Some(link) = inside else {
        line.add(Paint::Faint, "?");
        return line;
    };
    line.add(Paint::Plain, link.title());
    line.pad(width, " ");
    line.note(Paint::Address, &plain(&link.addresses(), strokes));
    // An interface without another end is worth a word, and so is one of another kind.
    if outside.is_none() || link.kind != "veth" {
        line.note(Paint::Faint, &link.kind);
    }
    if let Some(trouble) = link.trouble() {
        line.note(Paint::Half, trouble);
    }
    line
}

fn container_lines(container: &Container, strokes: &Strokes, width: usize) -> Vec<Line> {
    let [running, dead, incomplete] = strokes.marks;
    let (mark, paint) = match container.status.as_str() {
        "running" => (running, Paint::Good),
        "dead" => (dead, Paint::Bad),
        _ => (incomplete, Paint::Half),
    };
    let mut line = Line::of(paint, format!("{mark} "));
    line.add(Paint::Name, container.id.clone());
    line.pad(2 + width, " ");
    line.add(paint, format!("  {}", container.status));
    let indent = 2 + width + 2 + container.status.len().max("running".len()) + 2;
    let mut lines = vec![line];
    for (at, ports) in ports(&container.published, strokes.arrow).into_iter().enumerate() {
        if at > 0 {
            lines.push(Line::default());
        }
        if let Some(line) = lines.last_mut() {
            line.pad(indent, " ");
            line.add(Paint::Plain, ports);
        }
    }
    lines
}

/// Published ports, as many on a line as fit.
fn ports(published: &[PortMapping], arrow: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for port in published {
        let port = port.to_string().replace("->", arrow);
        match lines.last_mut() {
            Some(line) if line.chars().count() + port.chars().count() + 2 <= PORTS_WIDTH => {
                line.push_str(&format!("  {port}"));
            }
            _ => lines.push(port),
        }
    }
    lines
}
