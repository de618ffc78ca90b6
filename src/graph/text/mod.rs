//! A picture for a terminal: the host's side as a tree on the left, a box for each container's
//! namespace on the right, and lines between them.

mod boxes;
mod line;

use super::{Bridge, End, Link, NO_UPLINK, NO_VETH, NOTHING, Namespace, Picture, default_routes};
use crate::error::is_obeyed;
use line::{ASCII, Line, Paint, Strokes, UNICODE};

/// What the terminal can show.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Nothing but ASCII.
    pub ascii: bool,
    /// ECMA-48 colours.
    pub colour: bool,
}

/// The picture as text.
pub fn text(picture: &Picture, style: Style) -> String {
    let strokes = if style.ascii { &ASCII } else { &UNICODE };
    let picture = &picture.clone().spelled(|text| safe(text, style.ascii));
    let mut drawing = Drawing { strokes, column: column(picture), lines: Vec::new() };
    drawing.picture(picture);
    drawing.lines.iter().map(|line| line.shown(style.colour) + "\n").collect()
}

/// The same text without anything that a terminal may obey, or cannot show.
fn safe(text: &str, ascii: bool) -> String {
    let unfit = |c: char| is_obeyed(c) || ascii && !c.is_ascii();
    text.chars().map(|c| if unfit(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Where the boxes begin: right of the longest name on a line, for the whole picture.
fn column(picture: &Picture) -> usize {
    let width = |namespace: &Namespace| {
        namespace.ends.iter().map(|end| namespace.label(end).chars().count()).max().unwrap_or_default()
    };
    let longest = picture.namespaces.iter().map(width).max().unwrap_or_default();
    "│  ├─ ".chars().count() + longest.max(NO_VETH.len()) + " ──".chars().count()
}

struct Drawing {
    strokes: &'static Strokes,
    column: usize,
    lines: Vec<Line>,
}

impl Drawing {
    fn picture(&mut self, picture: &Picture) {
        for uplink in &picture.uplinks {
            let mut line = link(&uplink.link);
            line.note(Paint::Plain, &default_routes(uplink));
            self.lines.push(line);
        }
        if picture.uplinks.is_empty() {
            self.lines.push(Line::of(Paint::Faint, NO_UPLINK.to_owned()));
        }
        if picture.bridges.is_empty() && picture.namespaces.is_empty() {
            self.lines.push(Line::of(Paint::Plain, NOTHING.to_owned()));
        }
        let apart: Vec<&Namespace> = picture.apart().collect();
        let mut groups = picture.bridges.len() + usize::from(!apart.is_empty());
        for bridge in &picture.bridges {
            groups -= 1;
            let namespaces: Vec<&Namespace> = picture.on(&bridge.link.name).collect();
            self.network(Some(bridge), &namespaces, groups == 0);
        }
        if !apart.is_empty() {
            self.network(None, &apart, true);
        }
    }

    /// A bridge with its ports, or the namespaces that are on none.
    fn network(&mut self, bridge: Option<&Bridge>, namespaces: &[&Namespace], last: bool) {
        let Strokes { down, branch, last: corner, across, .. } = self.strokes;
        self.lines.push(Line::of(Paint::Faint, (*down).to_owned()));
        let mut head = Line::of(Paint::Faint, format!("{}{across} ", if last { corner } else { branch }));
        head.0.extend(
            bridge
                .map_or_else(|| vec![(Paint::Plain, "no bridge".to_owned())], |bridge| link(&bridge.link).0),
        );
        self.lines.push(head);
        let outer = if last { "   ".to_owned() } else { format!("{down}  ") };
        let strangers = bridge.map(|bridge| bridge.strangers.as_slice()).unwrap_or_default();
        let branches = namespaces.iter().map(|namespace| branches(namespace, bridge.is_some()));
        let mut left = branches.sum::<usize>() + strangers.len();
        for stranger in strangers {
            left -= 1;
            let mut line = Line::of(Paint::Faint, format!("{outer}{}{across} ", self.fork(left)));
            line.0.extend(link(stranger).0);
            if let Some(alias) = &stranger.alias {
                line.note(Paint::Faint, alias);
            }
            self.lines.push(line);
        }
        for namespace in namespaces {
            self.namespace(&outer, namespace, &mut left, bridge.is_some());
        }
    }

    fn fork(&self, left: usize) -> &'static str {
        if left == 0 { self.strokes.last } else { self.strokes.branch }
    }

    /// One box, and the lines that lead to it. `left` branches are still to come on the bridge.
    fn namespace(&mut self, outer: &str, namespace: &Namespace, left: &mut usize, bridged: bool) {
        let rows = boxes::rows(namespace, self.strokes);
        let width = rows.iter().map(Line::width).max().unwrap_or_default() + 2;
        self.border(outer, *left, width, self.strokes.top);
        let lost = bridged && namespace.ends.is_empty();
        for (at, row) in rows.into_iter().enumerate() {
            let end = namespace.ends.get(at);
            let (mut line, joined) = match end {
                Some(end) => self.line(outer, namespace, end, left),
                None if lost && at == 0 => (self.lost(outer, left), true),
                None => (self.trunk(outer, *left), false),
            };
            line.pad(self.column, " ");
            let Strokes { joint, side, .. } = self.strokes;
            line.add(Paint::Faint, format!("{} ", if joined { joint } else { side }));
            line.0.extend(row.0);
            line.pad(self.column + width, " ");
            line.add(Paint::Faint, format!(" {side}"));
            self.lines.push(line);
        }
        self.border(outer, *left, width, self.strokes.bottom);
    }

    fn trunk(&self, outer: &str, left: usize) -> Line {
        let trunk = if left == 0 { "" } else { self.strokes.down };
        Line::of(Paint::Faint, format!("{outer}{trunk}"))
    }

    fn border(&mut self, outer: &str, left: usize, width: usize, [from, to]: [&str; 2]) {
        let mut line = self.trunk(outer, left);
        line.pad(self.column, " ");
        line.add(Paint::Faint, format!("{from}{}{to}", self.strokes.across.repeat(width)));
        self.lines.push(line);
    }

    /// The veth pair of a dead container, which the kernel has deleted.
    fn lost(&self, outer: &str, left: &mut usize) -> Line {
        *left -= 1;
        let broken = self.strokes.broken;
        let mut line = Line::of(Paint::Faint, format!("{outer}{}{broken} ", self.fork(*left)));
        line.add(Paint::Bad, NO_VETH);
        line.add(Paint::Plain, " ");
        line.pad(self.column, broken);
        line
    }

    /// What is left of the box, and whether it is joined to it there.
    fn line(&self, outer: &str, namespace: &Namespace, end: &End, left: &mut usize) -> (Line, bool) {
        let Strokes { across, broken, .. } = self.strokes;
        let on_bridge = namespace.is_on_bridge(end);
        *left -= usize::from(on_bridge);
        let Some(outside) = &end.outside else { return (self.trunk(outer, *left), false) };
        let fine = outside.is_fine();
        let stroke = if fine { across } else { broken };
        let mut line = if on_bridge {
            Line::of(Paint::Faint, format!("{outer}{}{stroke} ", self.fork(*left)))
        } else {
            let mut line = self.trunk(outer, *left);
            line.pad(outer.chars().count() + 3, " ");
            line
        };
        line.add(if fine { Paint::Plain } else { Paint::Half }, namespace.label(end));
        line.add(Paint::Plain, " ");
        line.pad(self.column, stroke);
        (line, true)
    }
}

/// A link of the host.
fn link(link: &Link) -> Line {
    let mut line = Line::of(Paint::Name, link.name.clone());
    if link.index > 0 {
        line.add(Paint::Plain, format!(" ({})", link.index));
    }
    line.note(Paint::Address, &link.addresses());
    if let Some(trouble) = link.trouble() {
        line.note(Paint::Half, trouble);
    }
    line
}

/// How many branches a namespace takes on its bridge.
fn branches(namespace: &Namespace, bridged: bool) -> usize {
    let ends = namespace.ends.iter().filter(|end| namespace.is_on_bridge(end)).count();
    if bridged && namespace.ends.is_empty() { 1 } else { ends }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_container_is_counted() {
        let link = Link {
            name: "eth0".to_owned(),
            kind: "veth".to_owned(),
            state: "up".to_owned(),
            addresses: vec!["10.0.0.1/8".parse().unwrap()],
            more_addresses: 1999,
            ..Link::default()
        };
        let ends = vec![End { inside: Some(link), outside: None }];
        let namespaces = vec![Namespace { ends, more_interfaces: 15_936, ..Namespace::default() }];
        let picture = Picture { namespaces, ..Picture::default() };
        let drawn = text(&picture, Style::default());
        assert!(
            drawn.contains("10.0.0.1/8 … and 1,999 more") && drawn.contains("│ … and 15,936 more"),
            "{drawn}"
        );
        let drawn = text(&picture, Style { ascii: true, colour: false });
        assert!(drawn.is_ascii() && drawn.contains("| ... and 15,936 more"), "{drawn}");
    }
}
