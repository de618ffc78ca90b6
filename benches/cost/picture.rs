//! Lines over containers, as SVG. Both axes are logarithmic: what stays flat is flat, and what
//! takes a hundred times as long is still in the picture. Pure.

use std::fmt::Write as _;

use super::cases::thousands;

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    /// Containers and milliseconds.
    pub points: Vec<(f64, f64)>,
}

/// One diagram beside others, which share their axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    pub title: String,
    pub series: Vec<Series>,
}

const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 400.0;
/// Where the diagrams are, from above; and what is left of and between them.
const TOP: f64 = 84.0;
const BOTTOM: f64 = 348.0;
const LEFT: f64 = 62.0;
const GAP: f64 = 72.0;
/// What numbers at two lines' ends need between their baselines.
const LINE: f64 = 14.0;

/// In light and in dark, with a ground of its own, so that it can be read on any page.
const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#59636e}\
.title{font-size:14px;font-weight:600;fill:#1f2328}\
.ground{fill:#fff;stroke:#d1d9e0}.grid{stroke:#e6eaef}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}.l1,.l2{stroke-width:3.5}.l5{stroke-dasharray:5 4}\
.l0,.l5{stroke:#8b949e}.l1{stroke:#0969da}.l2{stroke:#1a7f37}.l3{stroke:#d4720b}.l4{stroke:#8250df}\
.p0,.p5{fill:#8b949e}.p1{fill:#0969da}.p2{fill:#1a7f37}.p3{fill:#d4720b}.p4{fill:#8250df}\
text.p1,text.p2{font-weight:600}\
@media(prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#f0f6fc}\
.ground{fill:#0d1117;stroke:#3d444d}.grid{stroke:#21262d}\
.l1{stroke:#4493f8}.l2{stroke:#3fb950}.l3{stroke:#e3933a}.l4{stroke:#ab7df8}\
.p1{fill:#4493f8}.p2{fill:#3fb950}.p3{fill:#e3933a}.p4{fill:#ab7df8}}";

/// From a range of numbers to a range of pixels.
#[derive(Clone, Copy)]
struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    fn at(self, value: f64) -> f64 {
        let part = (value / self.from.0).ln() / (self.from.1 / self.from.0).ln();
        self.to.0 + part * (self.to.1 - self.to.0)
    }

    /// Powers of ten, and what is between.
    fn ticks(self) -> Vec<f64> {
        let all = (-3..7).flat_map(|power| [1.0, 3.0].map(|digit| digit * 10f64.powi(power)));
        all.filter(|tick| (self.from.0..=self.from.1 * 1.001).contains(tick)).collect()
    }
}

/// The picture. Lines of one name have one colour, by the order in which the first panel
/// names them.
pub fn svg(panels: &[Panel]) -> String {
    let points = || panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points);
    let most = |pick: fn(&(f64, f64)) -> f64| points().map(pick).fold(1.0, f64::max);
    let least = points().map(|point| point.1).fold(1000.0, f64::min);
    let y = Scale { from: (least * 0.7, most(|point| point.1) * 1.3), to: (BOTTOM, TOP) };
    let width = (WIDTH - LEFT - GAP * panels.len() as f64) / panels.len() as f64;
    let names: Vec<&str> =
        panels.iter().take(1).flat_map(|panel| &panel.series).map(|one| &*one.name).collect();

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
         <title>Milliseconds by containers that are up</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n",
        WIDTH - 1.0,
        HEIGHT - 1.0
    );
    svg += &legend(&names);
    for (at, panel) in panels.iter().enumerate() {
        let left = LEFT + at as f64 * (width + GAP);
        let x = Scale { from: (1.0, most(|point| point.0).max(10.0)), to: (left, left + width) };
        svg += &frame(panel, x, y);
        svg += &lines(panel, &names, x, y);
    }
    svg + "</svg>\n"
}

fn legend(names: &[&str]) -> String {
    let (mut svg, mut x) = (String::new(), LEFT);
    for (class, name) in names.iter().enumerate() {
        let _ = writeln!(
            svg,
            "<path class=\"line l{class}\" d=\"M{x:.0} 26h24\"/>\
             <text x=\"{:.0}\" y=\"30\">{name}</text>",
            x + 30.0
        );
        x += 54.0 + 7.0 * name.len() as f64;
    }
    svg
}

/// Title, grid and the numbers at it.
fn frame(panel: &Panel, x: Scale, y: Scale) -> String {
    let (left, right) = x.to;
    let mut svg = format!(
        "<text class=\"title\" x=\"{left:.0}\" y=\"{:.0}\">{}</text>\n\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">containers up</text>\n",
        TOP - 20.0,
        panel.title,
        f64::midpoint(left, right),
        BOTTOM + 38.0
    );
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(svg, "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>");
        // Once is enough: the diagrams share this axis.
        if left <= LEFT {
            let (x, y, tick) = (left - 6.0, at + 4.0, milliseconds(tick));
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{tick}</text>");
        }
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {TOP:.1}V{BOTTOM:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            thousands(tick as usize)
        );
    }
    svg
}

fn milliseconds(number: f64) -> String {
    if number < 1000.0 { format!("{number} ms") } else { format!("{} s", number / 1000.0) }
}

/// The lines, and at the end of each what it has come to.
fn lines(panel: &Panel, names: &[&str], x: Scale, y: Scale) -> String {
    let mut svg = String::new();
    let mut ends = Vec::new();
    // The first lines lie above the others.
    for series in panel.series.iter().rev() {
        let class = names.iter().position(|name| *name == series.name).unwrap_or(names.len());
        let points: Vec<(f64, f64)> = series.points.iter().map(|(n, ms)| (x.at(*n), y.at(*ms))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(svg, "<path class=\"line l{class}\" d=\"M{}\"/>", path.join("L"));
        for (x, y) in &points {
            let _ = writeln!(svg, "<circle class=\"p{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
        if let (Some((_, ms)), Some((x, y))) = (series.points.last(), points.last()) {
            ends.push((class, *x, *y, *ms));
        }
    }
    ends.sort_by(|one, other| one.2.total_cmp(&other.2));
    for (at, (class, x, _, ms)) in apart(&ends).into_iter().zip(&ends) {
        let digits = if *ms < 10.0 { 1 } else { 0 };
        let _ = writeln!(
            svg,
            "<text class=\"p{class}\" x=\"{:.1}\" y=\"{:.1}\">{ms:.digits$} ms</text>",
            x + 7.0,
            at + 4.0
        );
    }
    svg
}

/// Where the numbers at lines' ends go, which are sorted from above: those that would cover one
/// another move down.
fn apart(ends: &[(usize, f64, f64, f64)]) -> Vec<f64> {
    let mut placed: Vec<(f64, f64)> = Vec::new();
    for (_, x, y, _) in ends {
        let covered = placed.iter().filter(|other| (other.0 - x).abs() < 50.0);
        let lowest = covered.map(|other| other.1 + LINE).fold(f64::MIN, f64::max);
        placed.push((*x, y.max(lowest)));
    }
    placed.into_iter().map(|(_, y)| y).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logarithmic_scale_gives_every_power_the_same_room() {
        let scale = Scale { from: (1.0, 1000.0), to: (0.0, 300.0) };
        assert!((scale.at(10.0) - 100.0).abs() < 1e-9 && (scale.at(100.0) - 200.0).abs() < 1e-9);
        assert_eq!(scale.ticks(), [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]);
    }

    #[test]
    fn numbers_do_not_cover_one_another() {
        let ends = [(0, 10.0, 100.0, 5.0), (1, 10.0, 102.0, 5.1), (2, 400.0, 103.0, 5.2)];
        assert_eq!(apart(&ends), [100.0, 100.0 + LINE, 103.0]);
    }

    #[test]
    fn every_line_is_in_the_picture_and_in_its_legend() {
        let series = |name: &str| Series { name: name.to_owned(), points: vec![(1.0, 2.0), (10.0, 4.0)] };
        let panel = Panel { title: "Set up".to_owned(), series: vec![series("floor"), series("netns")] };
        let svg = svg(&[panel.clone(), panel]);
        assert_eq!(svg.matches("class=\"line l0\"").count(), 3, "{svg}");
        assert_eq!(svg.matches("class=\"line l1\"").count(), 3, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 8);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
