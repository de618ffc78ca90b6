//! A picture for a page: one file of its own, readable on light and on dark.
//!
//! From left to right: the uplinks, the bridges, and the containers' namespaces, with a line for
//! each interface.

mod canvas;
mod card;

use super::{Bridge, Link, NO_UPLINK, NO_VETH, NOTHING, Namespace, Picture, default_routes};
use canvas::{Canvas, width};
use card::BAND;

const MARGIN: f64 = 36.0;
/// Between two cards, and between two networks.
const GAPS: [f64; 2] = [22.0, 44.0];
/// Between uplinks and bridges.
const FAN: f64 = 84.0;
const UPLINK: f64 = 78.0;
const LOWEST_BRIDGE: f64 = 92.0;
const STRANGER: f64 = 40.0;

/// Where the columns begin, and how wide they are.
struct Columns {
    uplinks: [f64; 2],
    bridges: [f64; 2],
    cards: [f64; 2],
}

/// The picture as an SVG document.
pub fn svg(picture: &Picture) -> String {
    let columns = columns(picture);
    let (mut below, mut nodes) = (Canvas::default(), Canvas::default());
    let mut down = MARGIN;
    let mut middles = Vec::new();
    for bridge in &picture.bridges {
        let namespaces: Vec<&Namespace> = picture.on(&bridge.link.name).collect();
        let top = down;
        down = group(&mut nodes, &namespaces, &bridge.strangers, &columns, down);
        down = down.max(top + LOWEST_BRIDGE);
        if bridge.link.index > 0 {
            middles.push(f64::midpoint(top, down));
        }
        paint_bridge(&mut nodes, bridge, &columns, (top, down));
        down += GAPS[1];
    }
    let apart: Vec<&Namespace> = picture.apart().collect();
    if !apart.is_empty() {
        down = group(&mut nodes, &apart, &[], &columns, down) + GAPS[1];
    }
    let needed = picture.uplinks.len().max(1) as f64 * (UPLINK + GAPS[0]) - GAPS[0];
    let high = (down - GAPS[1]).max(MARGIN + needed) + MARGIN;
    let first = f64::midpoint(0.0, high - needed);
    paint_uplinks(&mut nodes, &mut below, picture, &columns, first, &middles);
    if picture.bridges.is_empty() && picture.namespaces.is_empty() {
        nodes.text("faint", (columns.bridges[0], high / 2.0 + 4.0), NOTHING);
    }
    let wide = columns.cards[0] + columns.cards[1] + MARGIN;
    let mut canvas = Canvas::default();
    canvas.rect("panel", [0.5, 0.5, wide.ceil() - 1.0, high.ceil() - 1.0], 18.0);
    canvas.append(below);
    canvas.append(nodes);
    let containers: usize = picture.namespaces.iter().map(|namespace| namespace.containers.len()).sum();
    let networks = picture.bridges.len();
    canvas.finish(wide, high, &format!("Containers on their networks: {containers} on {networks}"))
}

fn columns(picture: &Picture) -> Columns {
    let about = |link: &Link| width(&link.title(), 15.0).max(width(&link.addresses(), 13.0));
    let uplink =
        picture.uplinks.iter().map(|uplink| about(&uplink.link).max(width(&default_routes(uplink), 11.5)));
    let uplink = uplink.fold(width(NO_UPLINK, 13.0), f64::max) + 68.0;
    let bridge = picture.bridges.iter().map(|bridge| about(&bridge.link)).fold(90.0, f64::max) + 36.0;
    let labels = picture
        .namespaces
        .iter()
        .flat_map(|namespace| namespace.ends.iter().map(|end| width(&namespace.label(end), 11.5)));
    let lines = labels.fold(60.0, f64::max) + 44.0;
    let bridges = MARGIN + uplink + FAN;
    let nothing =
        if picture.bridges.is_empty() && picture.namespaces.is_empty() { width(NOTHING, 13.0) } else { 0.0 };
    let strangers = picture
        .bridges
        .iter()
        .flat_map(|bridge| &bridge.strangers)
        .map(|link| about(link) + width(link.alias.as_deref().unwrap_or_default(), 11.5) + 60.0);
    let wide =
        strangers.fold(card::widest(picture.namespaces.iter()), f64::max).max(nothing - bridge - lines);
    Columns { uplinks: [MARGIN, uplink], bridges: [bridges, bridge], cards: [bridges + bridge + lines, wide] }
}

/// Paints the cards of one network with their lines, and says where they end.
fn group(canvas: &mut Canvas, namespaces: &[&Namespace], strangers: &[Link], at: &Columns, top: f64) -> f64 {
    let [x, wide] = at.cards;
    let from = at.bridges[0] + at.bridges[1];
    let mut down = top;
    for stranger in strangers {
        let middle = down + STRANGER / 2.0;
        canvas.line("veth", (from, middle), (x, middle));
        canvas.circle("end", (from, middle), 5.0);
        canvas.rect("card", [x, down, wide, STRANGER], 12.0);
        canvas.text("name", (x + 16.0, middle + 4.5), &stranger.title());
        canvas.text_to(
            "small faint",
            (x + wide - 16.0, middle + 4.5),
            stranger.alias.as_deref().unwrap_or_default(),
        );
        down += STRANGER + GAPS[0];
    }
    for namespace in namespaces {
        card::paint(canvas, namespace, (x, down), wide);
        lines(canvas, namespace, at, down);
        down += card::height(namespace, wide) + GAPS[0];
    }
    if down > top { down - GAPS[0] } else { down }
}

/// Paints the lines that lead to a card.
fn lines(canvas: &mut Canvas, namespace: &Namespace, at: &Columns, top: f64) {
    let (from, to) = (at.bridges[0] + at.bridges[1], at.cards[0]);
    if namespace.ends.is_empty() {
        let middle = top + BAND / 2.0;
        canvas.line("cut", (from + 8.0, middle), (to - 8.0, middle));
        canvas.text_at("small bad", (f64::midpoint(from, to), middle - 8.0), NO_VETH);
    }
    for (nth, end) in namespace.ends.iter().enumerate() {
        let middle = top + (nth as f64 + 0.5) * BAND;
        let Some(outside) = &end.outside else {
            canvas.rect("interface", [to - 5.0, middle - 5.0, 10.0, 10.0], 2.0);
            continue;
        };
        let label = namespace.label(end);
        if namespace.is_on_bridge(end) {
            canvas.line(if outside.is_fine() { "veth" } else { "cut" }, (from, middle), (to, middle));
            canvas.circle("end", (from, middle), 5.0);
            canvas.circle("end", (to, middle), 5.0);
            canvas.text_at("small faint", (f64::midpoint(from, to), middle - 8.0), &label);
            continue;
        }
        let begin = f64::midpoint(from, to);
        canvas.line("wire", (begin, middle), (to, middle));
        canvas.rect("interface", [begin - 5.0, middle - 5.0, 10.0, 10.0], 2.0);
        canvas.rect("interface", [to - 5.0, middle - 5.0, 10.0, 10.0], 2.0);
        canvas.text_to("small faint", (to - 12.0, middle - 8.0), &label);
    }
}

fn paint_bridge(canvas: &mut Canvas, bridge: &Bridge, at: &Columns, (top, bottom): (f64, f64)) {
    let [x, wide] = at.bridges;
    let (middle, centre) = (f64::midpoint(top, bottom), x + wide / 2.0);
    let class = if bridge.link.index == 0 { "gone" } else { "bridge" };
    canvas.under(|canvas| canvas.rect(class, [x, top, wide, bottom - top], 14.0));
    canvas.text_at("title", (centre, middle - 10.0), &bridge.link.name);
    canvas.text_at("", (centre, middle + 10.0), &bridge.link.addresses());
    let kind = match (bridge.link.trouble(), bridge.link.index) {
        (Some("missing"), _) => "missing".to_owned(),
        (Some(trouble), index) => format!("bridge ({index}) {trouble}"),
        (None, index) => format!("bridge ({index})"),
    };
    canvas.text_at("small faint", (centre, middle + 28.0), &kind);
}

fn paint_uplinks(
    nodes: &mut Canvas,
    below: &mut Canvas,
    picture: &Picture,
    at: &Columns,
    first: f64,
    bridges: &[f64],
) {
    let [x, wide] = at.uplinks;
    let mut fan = |middle: f64| {
        let (from, to) = (x + wide, at.bridges[0]);
        let bend = f64::midpoint(from, to);
        for bridge in bridges {
            below.path(
                "way",
                &format!(
                    "M{from:.1} {middle:.1} C{bend:.1} {middle:.1} {bend:.1} {bridge:.1} {to:.1} {bridge:.1}"
                ),
            );
        }
    };
    if picture.uplinks.is_empty() {
        nodes.rect("gone", [x, first, wide, UPLINK], 14.0);
        nodes.text_at("faint", (x + wide / 2.0, first + UPLINK / 2.0 + 4.5), NO_UPLINK);
    }
    for (nth, uplink) in picture.uplinks.iter().enumerate() {
        let top = first + nth as f64 * (UPLINK + GAPS[0]);
        fan(top + UPLINK / 2.0);
        nodes.rect("uplink", [x, top, wide, UPLINK], 14.0);
        globe(nodes, (x + 26.0, top + UPLINK / 2.0));
        nodes.text("title", (x + 52.0, top + 27.0), &uplink.link.title());
        nodes.text("", (x + 52.0, top + 46.0), &uplink.link.addresses());
        nodes.text("small faint", (x + 52.0, top + 63.0), &default_routes(uplink));
    }
}

fn globe(canvas: &mut Canvas, (x, y): (f64, f64)) {
    canvas.circle("globe", (x, y), 12.0);
    let (left, up) = (x - 12.0, y - 12.0);
    canvas.path(
        "globe",
        &format!("M{left:.1} {y:.1} h24 M{x:.1} {up:.1} a5.5 12 0 0 0 0 24 a5.5 12 0 0 0 0 -24"),
    );
}
