//! A container's namespace as a card: a band for each interface, and below them who lives there.

use super::canvas::{Canvas, width};
use crate::graph::{Container, End, Namespace};
use crate::model::bounded::more;

/// The height of an interface's band.
pub(super) const BAND: f64 = 34.0;
/// The narrowest card.
const NARROWEST: f64 = 300.0;
const PAD: f64 = 16.0;
const HEAD: f64 = 32.0;
const CHIP: f64 = 22.0;
const GAP: f64 = 6.0;

/// How wide the cards of these namespaces must be.
pub(super) fn widest<'a>(namespaces: impl Iterator<Item = &'a Namespace>) -> f64 {
    let wanted = namespaces.flat_map(|namespace| {
        let bands = namespace.ends.iter().map(|end| {
            let (title, addresses, kind) = band(end);
            width(&title, 13.0) + width(&addresses, 13.0) + width(&kind, 11.5) + 4.0 * PAD
        });
        let heads = namespace.containers.iter().flat_map(|container| {
            let head = width(&container.id, 15.0) + width(&container.status, 11.5) + 4.0 * PAD;
            let chips = chips(container).into_iter().map(|chip| width(&chip, 11.5) + 4.0 * PAD);
            chips.chain([head]).collect::<Vec<_>>()
        });
        bands.chain(heads).collect::<Vec<_>>()
    });
    wanted.fold(NARROWEST, f64::max)
}

/// How high the card of a namespace is.
pub(super) fn height(namespace: &Namespace, wide: f64) -> f64 {
    let more = usize::from(namespace.more_interfaces > 0);
    let bands = (namespace.ends.len() + more).max(1) as f64 * BAND;
    let lives = |container: &Container| HEAD + rows(container, wide).len() as f64 * (CHIP + GAP);
    bands + namespace.containers.iter().map(lives).sum::<f64>() + 10.0
}

/// The interface's title, its addresses, and its kind where that is worth a word.
fn band(End { inside, outside }: &End) -> (String, String, String) {
    let Some(link) = inside else {
        return ("?".to_owned(), String::new(), String::new());
    };
    let kind = if outside.is_none() || link.kind != "veth" { link.kind.clone() } else { String::new() };
    let trouble = link.trouble().map(str::to_owned).unwrap_or_default();
    (link.title(), link.addresses(), [kind, trouble].join(" ").trim().to_owned())
}

fn chips(container: &Container) -> Vec<String> {
    container.published.iter().map(|port| port.to_string().replace("->", " → ")).collect()
}

/// The chips of a container, as many in a row as fit.
fn rows(container: &Container, wide: f64) -> Vec<Vec<String>> {
    let (mut rows, mut room): (Vec<Vec<String>>, f64) = (Vec::new(), 0.0);
    for chip in chips(container) {
        let needs = width(&chip, 11.5) + PAD + GAP;
        match rows.last_mut() {
            Some(row) if needs <= room => row.push(chip),
            _ => {
                room = wide - 3.0 * PAD;
                rows.push(vec![chip]);
            }
        }
        room -= needs;
    }
    rows
}

/// Paints the card with its upper left corner at a point.
pub(super) fn paint(canvas: &mut Canvas, namespace: &Namespace, (x, y): (f64, f64), wide: f64) {
    let high = height(namespace, wide);
    canvas.rect("shade", [x + 1.0, y + 4.0, wide, high], 12.0);
    canvas.rect(if namespace.is_dead() { "gone" } else { "card" }, [x, y, wide, high], 12.0);
    let mut down = y;
    for end in &namespace.ends {
        let class = if namespace.is_on_bridge(end) { "band" } else { "nic" };
        let first = down <= y;
        paint_band(canvas, class, end, (x, down), wide, first);
        down += BAND;
    }
    if let Some(more) = more(namespace.more_interfaces) {
        canvas.text("faint", (x + PAD, down + 22.0), &more);
        down += BAND;
    }
    if namespace.ends.is_empty() {
        let leases = namespace.containers.first().map(|container| &container.leases);
        let leases = leases.into_iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        canvas.text("faint", (x + PAD, down + 22.0), &format!("{leases} leased"));
        down += BAND;
    }
    canvas.line("rule", (x + 1.0, down), (x + wide - 1.0, down));
    for container in &namespace.containers {
        down = paint_container(canvas, container, (x, down), wide);
    }
}

fn paint_band(canvas: &mut Canvas, class: &str, end: &End, (x, y): (f64, f64), wide: f64, first: bool) {
    let (left, right, top, bottom) = (x + 0.7, x + wide - 0.7, y + 0.7, y + BAND);
    let corner = if first { 11.3 } else { 0.0 };
    canvas.path(
        class,
        &format!(
            "M{left:.1} {bottom:.1} V{:.1} q0 -{corner} {corner} -{corner} H{:.1} q{corner} 0 {corner} {corner} V{bottom:.1} Z",
            top + corner,
            right - corner
        ),
    );
    if !first {
        canvas.line("rule", (left, y), (right, y));
    }
    let (title, addresses, kind) = band(end);
    canvas.text("name", (x + PAD, y + 22.0), &title);
    if !kind.is_empty() {
        canvas.text("small faint", (x + PAD + width(&title, 13.0) + 8.0, y + 22.0), &kind);
    }
    canvas.text_to("", (x + wide - PAD, y + 22.0), &addresses);
}

/// Paints one container, and says where the next one begins.
fn paint_container(canvas: &mut Canvas, container: &Container, (x, y): (f64, f64), wide: f64) -> f64 {
    let paint = match container.status.as_str() {
        "running" => "good",
        "dead" => "bad",
        _ => "half",
    };
    canvas.circle(paint, (x + PAD + 4.5, y + 20.0), 4.5);
    canvas.text("title", (x + PAD + 18.0, y + 25.0), &container.id);
    canvas.text_to(&format!("small {paint}"), (x + wide - PAD, y + 24.0), &container.status);
    let mut down = y + HEAD;
    for row in rows(container, wide) {
        let mut left = x + PAD + 18.0;
        for chip in row {
            let needs = width(&chip, 11.5) + PAD;
            canvas.rect("chip", [left, down + 4.0, needs, CHIP], CHIP / 2.0);
            canvas.text_at("port", (left + needs / 2.0, down + 19.0), &chip);
            left += needs + GAP;
        }
        down += CHIP + GAP;
    }
    down
}
