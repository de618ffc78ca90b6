//! What an SVG is made of, and how wide a text will be.

use std::fmt::Write;

use crate::error::is_obeyed;

/// Colours by class, for a light page and for a dark one; no font and nothing else is loaded.
pub(super) const STYLE: &str = "  text { font-family: system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif; font-size: 13px; fill: #1e293b }
  .panel { fill: #f8fafc; stroke: #e2e8f0 }
  .card { fill: #ffffff; stroke: #cbd5e1; stroke-width: 1.25 }
  .gone { fill: #fff5f5; stroke: #f87171; stroke-width: 1.25; stroke-dasharray: 6 4 }
  .shade { fill: #0f172a; fill-opacity: .07 }
  .bridge { fill: #dffaf3; stroke: #14b8a6; stroke-width: 1.5 }
  .uplink { fill: #e0e7ff; stroke: #818cf8; stroke-width: 1.5 }
  .band { fill: #f0fdfa }
  .nic { fill: #fffbeb }
  .rule { stroke: #e2e8f0 }
  .chip { fill: #eef2ff; stroke: #c7d2fe }
  .veth { stroke: #14b8a6; stroke-width: 2.5; fill: none; stroke-linecap: round }
  .way { stroke: #a5b4fc; stroke-width: 2.5; fill: none; stroke-linecap: round }
  .wire { stroke: #f59e0b; stroke-width: 2.5; fill: none; stroke-linecap: round }
  .cut { stroke: #f87171; stroke-width: 2; fill: none; stroke-dasharray: 2 6; stroke-linecap: round }
  .end { fill: #ffffff; stroke: #14b8a6; stroke-width: 2.5 }
  .interface { fill: #ffffff; stroke: #f59e0b; stroke-width: 2.5 }
  .globe { fill: none; stroke: #6366f1; stroke-width: 1.5 }
  .title { font-size: 15px; font-weight: 600 }
  .name { font-weight: 600 }
  .small { font-size: 11.5px }
  .faint { fill: #64748b }
  .port { font-size: 11.5px; fill: #3730a3 }
  .good { fill: #16a34a }
  .bad { fill: #dc2626 }
  .half { fill: #d97706 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e2e8f0 }
    .panel { fill: #0f172a; stroke: #1e293b }
    .card { fill: #1e293b; stroke: #475569 }
    .gone { fill: #2a1a22; stroke: #b91c1c }
    .shade { fill: #000000; fill-opacity: .3 }
    .bridge { fill: #123f3e; stroke: #2dd4bf }
    .uplink { fill: #312e81; stroke: #818cf8 }
    .band { fill: #16333a }
    .nic { fill: #3a2f1a }
    .rule { stroke: #334155 }
    .chip { fill: #2e2f6b; stroke: #4f52b5 }
    .end, .interface { fill: #0f172a }
    .way { stroke: #6366f1 }
    .globe { stroke: #a5b4fc }
    .faint { fill: #a9b6ca }
    .port { fill: #c7d2fe }
    .good { fill: #4ade80 }
    .bad { fill: #f87171 }
    .half { fill: #fbbf24 }
  }
";

/// Elements, in the order in which they are painted.
#[derive(Debug, Default)]
pub(super) struct Canvas {
    body: String,
}

impl Canvas {
    pub(super) fn rect(&mut self, class: &str, [x, y, width, height]: [f64; 4], round: f64) {
        let _ = writeln!(
            self.body,
            "  <rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round}\"/>"
        );
    }

    /// Paints over what is there already what `other` has.
    pub(super) fn append(&mut self, other: Self) {
        self.body.push_str(&other.body);
    }

    /// Paints below what is there already.
    pub(super) fn under(&mut self, paint: impl FnOnce(&mut Self)) {
        let above = std::mem::take(self);
        paint(self);
        self.append(above);
    }

    /// `data` is in the language of SVG's paths.
    pub(super) fn path(&mut self, class: &str, data: &str) {
        let _ = writeln!(self.body, "  <path class=\"{class}\" d=\"{data}\"/>");
    }

    pub(super) fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        self.path(class, &format!("M{:.1} {:.1} L{:.1} {:.1}", from.0, from.1, to.0, to.1));
    }

    pub(super) fn circle(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        let _ =
            writeln!(self.body, "  <circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>");
    }

    /// A text whose baseline begins at a point.
    pub(super) fn text(&mut self, class: &str, at: (f64, f64), text: &str) {
        self.write(class, at, "start", text);
    }

    /// A text whose baseline ends at a point.
    pub(super) fn text_to(&mut self, class: &str, at: (f64, f64), text: &str) {
        self.write(class, at, "end", text);
    }

    /// A text around a point.
    pub(super) fn text_at(&mut self, class: &str, at: (f64, f64), text: &str) {
        self.write(class, at, "middle", text);
    }

    fn write(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let anchor = if anchor == "start" { String::new() } else { format!(" text-anchor=\"{anchor}\"") };
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        let _ =
            writeln!(self.body, "  <text{class} x=\"{x:.1}\" y=\"{y:.1}\"{anchor}>{}</text>", escape(text));
    }

    /// The whole document.
    pub(super) fn finish(self, width: f64, height: f64, title: &str) -> String {
        let [w, h] = [width.ceil(), height.ceil()];
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">\n  \
             <title>{}</title>\n  <style>\n{STYLE}  </style>\n{}</svg>\n",
            escape(title),
            self.body
        )
    }
}

/// Fit for character data: no markup, and nothing that XML or a reader would stumble over.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if is_obeyed(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(escaped, "{}", c.escape_unicode());
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// How wide a text of this size will be at most, as no font is at hand: by the widest of the
/// usual ones.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | '|' | '\'' | ' ' => 0.33,
        'f' | 't' | 'r' | '(' | ')' | '-' | '/' => 0.42,
        'm' | 'w' | 'M' | 'W' | '@' | '→' => 0.95,
        c if c.is_ascii_uppercase() => 0.72,
        c if c.is_ascii() => 0.63,
        _ => 1.0,
    };
    text.chars().map(em).sum::<f64>() * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_be_markup() {
        assert_eq!(escape("</text><script>&'\""), "&lt;/text&gt;&lt;script&gt;&amp;&#39;&quot;");
        assert_eq!(escape("a\u{0}\u{1b}[2J\u{ffff}"), "a\\u{0}\\u{1b}[2J\\u{ffff}");
    }
}
