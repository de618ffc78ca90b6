//! Figures in rows and columns, and as Markdown. Pure.

use std::time::Duration;

/// What a figure counts, in the smallest unit: nanoseconds, bytes, or one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Micros,
    Count,
    Millions,
    MiB,
}

/// One thing, measured again and again.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub samples: Vec<f64>,
    pub unit: Unit,
}

/// What was found out about one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub title: &'static str,
    /// What is in it and how it came about.
    pub note: String,
    /// Over the rows' names, and over each column.
    pub head: Vec<String>,
    pub rows: Vec<(String, Vec<Option<Figure>>)>,
    /// Whether `netns` is one of several peers, which are compared with it.
    pub compares: bool,
}

/// The middle one, or between the two middle ones.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get((sorted.len().max(1) - 1) / 2), sorted.get(sorted.len() / 2));
    low.zip(high).map_or(f64::NAN, |(low, high)| f64::midpoint(*low, *high))
}

impl Figure {
    pub fn new(unit: Unit, samples: impl IntoIterator<Item = f64>) -> Self {
        Self { samples: samples.into_iter().collect(), unit }
    }

    pub fn times(unit: Unit, samples: &[Duration]) -> Self {
        Self::new(unit, samples.iter().map(|time| time.as_nanos() as f64))
    }

    pub fn median(&self) -> f64 {
        median(&self.samples)
    }

    /// The median as it is shown.
    pub fn shown(&self) -> String {
        let median = self.median();
        match self.unit {
            Unit::Millis => format!("{} ms", digits(median / 1e6)),
            Unit::Micros => format!("{} µs", digits(median / 1e3)),
            Unit::Millions => format!("{} million", digits(median / 1e6)),
            Unit::MiB => format!("{} MiB", digits(median / 1_048_576.0)),
            Unit::Count => format!("{median:.0}"),
        }
    }
}

/// Three digits say as much as such a measurement does.
fn digits(number: f64) -> String {
    match number {
        small if small < 9.995 => format!("{small:.2}"),
        some if some < 99.95 => format!("{some:.1}"),
        many => format!("{many:.0}"),
    }
}

impl Table {
    pub fn new<S: Into<String>>(
        title: &'static str,
        note: impl Into<String>,
        head: impl IntoIterator<Item = S>,
    ) -> Self {
        let head = head.into_iter().map(Into::into).collect();
        Self { title, note: note.into(), head, rows: Vec::new(), compares: false }
    }

    pub fn row(&mut self, name: impl Into<String>, cells: Vec<Option<Figure>>) {
        self.rows.push((name.into(), cells));
    }

    /// The median at a row and a column, if that was measured.
    pub fn at(&self, row: &str, column: &str) -> Option<f64> {
        let column = self.head.iter().skip(1).position(|name| name == column)?;
        let (_, cells) = self.rows.iter().find(|(name, _)| name == row)?;
        cells.get(column)?.as_ref().map(Figure::median)
    }

    /// As Markdown. Among peers, `netns` on each firewall is given as a multiple of the first, and
    /// those after it as multiples of `netns`.
    pub fn markdown(&self) -> String {
        let ours = self.head.iter().skip(1).position(|name| name == "netns").filter(|_| self.compares);
        let mut head = vec![self.head.first().cloned().unwrap_or_default()];
        for (at, name) in self.head.iter().skip(1).enumerate() {
            head.push(name.clone());
            match ours {
                Some(_) if at > 0 && name.starts_with("netns") => head.push(format!("× {}", self.head[1])),
                Some(ours) if at > ours => head.push("× netns".to_owned()),
                _ => {}
            }
        }
        let mut text = line(&head) + "|---" + &"|---:".repeat(head.len() - 1) + "|\n";
        for (name, cells) in &self.rows {
            let base = ours.and_then(|ours| cells.get(ours)?.as_ref());
            let mut row = vec![name.clone()];
            for (at, cell) in cells.iter().enumerate() {
                row.push(cell.as_ref().map_or("–".to_owned(), Figure::shown));
                match ours {
                    Some(_) if at > 0 && self.head[at + 1].starts_with("netns") => {
                        row.push(ratio(cell.as_ref(), cells[0].as_ref()));
                    }
                    Some(ours) if at > ours => row.push(ratio(cell.as_ref(), base)),
                    _ => {}
                }
            }
            text += &line(&row);
        }
        text
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn ratio(figure: Option<&Figure>, base: Option<&Figure>) -> String {
    let base = base.map(Figure::median).filter(|base| *base > 0.0);
    figure.zip(base).map_or(String::new(), |(figure, base)| digits(figure.median() / base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_figure_shows_three_digits_and_its_unit() {
        let shown = |unit, value| Figure::new(unit, [value]).shown();
        assert_eq!(shown(Unit::Millis, 1_234_567.0), "1.23 ms");
        assert_eq!(shown(Unit::Millis, 12_345_678.0), "12.3 ms");
        assert_eq!(shown(Unit::Micros, 123_456.0), "123 µs");
        assert_eq!(shown(Unit::MiB, 3.0 * 1024.0 * 1024.0), "3.00 MiB");
        assert_eq!(shown(Unit::Count, 312.0), "312");
    }

    #[test]
    fn a_table_compares_netns_with_the_floor_and_the_others_with_netns() {
        let mut table = Table::new("t", "", ["containers", "floor", "netns", "netavark"]);
        table.compares = true;
        let ms = |ms: f64| Some(Figure::new(Unit::Millis, [ms * 1e6]));
        table.row("1", vec![ms(2.0), ms(4.0), ms(40.0)]);
        table.row("1,000", vec![ms(2.0), ms(5.0), None]);
        assert_eq!(
            table.markdown(),
            "| containers | floor | netns | × floor | netavark | × netns |\n\
             |---|---:|---:|---:|---:|---:|\n\
             | 1 | 2.00 ms | 4.00 ms | 2.00 | 40.0 ms | 10.0 |\n\
             | 1,000 | 2.00 ms | 5.00 ms | 2.50 | – |  |\n"
        );
        assert_eq!(table.at("1,000", "netns"), Some(5e6));
        assert_eq!(table.at("1,000", "netavark"), None);
        assert_eq!(table.at("2", "netns"), None);
    }
}
