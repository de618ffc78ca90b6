//! Strokes and colours, and lines made of them.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Faint,
    Name,
    Address,
    Good,
    Bad,
    Half,
}

impl Paint {
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Faint => "2",
            Self::Name => "1",
            Self::Address => "36",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Half => "33",
        }
    }
}

/// The strokes that a picture is made of.
pub(super) struct Strokes {
    pub(super) down: &'static str,
    pub(super) branch: &'static str,
    pub(super) last: &'static str,
    pub(super) across: &'static str,
    pub(super) broken: &'static str,
    pub(super) joint: &'static str,
    pub(super) side: &'static str,
    pub(super) top: [&'static str; 2],
    pub(super) bottom: [&'static str; 2],
    pub(super) ellipsis: &'static str,
    pub(super) arrow: &'static str,
    /// Running, dead, incomplete.
    pub(super) marks: [&'static str; 3],
}

pub(super) const UNICODE: Strokes = Strokes {
    down: "│",
    branch: "├",
    last: "└",
    across: "─",
    broken: "╌",
    joint: "┤",
    side: "│",
    top: ["╭", "╮"],
    bottom: ["╰", "╯"],
    ellipsis: "…",
    arrow: "→",
    marks: ["●", "✗", "◐"],
};

pub(super) const ASCII: Strokes = Strokes {
    down: "|",
    branch: "+",
    last: "`",
    across: "-",
    broken: ".",
    joint: "+",
    side: "|",
    top: [".", "."],
    bottom: ["'", "'"],
    ellipsis: "...",
    arrow: "->",
    marks: ["*", "x", "?"],
};

/// Pieces of one line, each with its colour.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(pub(super) Vec<(Paint, String)>);

impl Line {
    pub(super) fn add(&mut self, paint: Paint, text: impl Into<String>) {
        self.0.push((paint, text.into()));
    }

    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text.chars().count()).sum()
    }

    /// Fills up to `width` characters.
    pub(super) fn pad(&mut self, width: usize, stroke: &str) {
        let missing = width.saturating_sub(self.width());
        if missing > 0 {
            let paint = if stroke == " " { Paint::Plain } else { Paint::Faint };
            self.add(paint, stroke.repeat(missing));
        }
    }
}

impl Line {
    /// One piece.
    pub(super) fn of(paint: Paint, text: impl Into<String>) -> Self {
        Self(vec![(paint, text.into())])
    }

    /// One more piece, unless it is empty.
    pub(super) fn note(&mut self, paint: Paint, text: &str) {
        if !text.is_empty() {
            self.add(paint, format!("  {text}"));
        }
    }

    /// As a terminal takes it.
    pub(super) fn shown(&self, colour: bool) -> String {
        let mut shown = String::new();
        for (paint, piece) in &self.0 {
            match paint.code() {
                code if colour && !code.is_empty() => {
                    shown.push_str(&format!("\x1b[{code}m{piece}\x1b[0m"));
                }
                _ => shown.push_str(piece),
            }
        }
        shown.truncate(shown.trim_end().len());
        shown
    }
}
