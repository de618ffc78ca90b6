//! The whole cabling, drawn.

mod collect;
mod watch;

use std::io::{IsTerminal, stdout};

use clap::ValueEnum;

use super::{Settings, print, warn_of_damage};
use crate::error::Result;
use crate::graph::{self, Picture, Style};
use crate::kernel::Kernel;
use crate::store::Records;

/// How a picture is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal
    Text,
    /// For dot(1) of Graphviz
    Dot,
    /// For Markdown on GitHub and GitLab
    Mermaid,
    /// For a page
    Svg,
    /// For programs
    Json,
}

/// Prints a picture of uplinks, bridges, cables and containers; again and again if `watch`.
///
/// # Errors
/// The records cannot be read, or the kernel does not answer.
pub fn graph(settings: &Settings, format: Format, ascii: bool, watch: bool) -> Result<()> {
    let style = Style { ascii: ascii || !speaks_utf8(), colour: wants_colour() };
    let mut kernel = Kernel::look(settings.log.clone())?;
    let mut look = || {
        let records = Records::read(&settings.state_dir)?;
        warn_of_damage(&settings.log, &records.damaged);
        draw(&collect::picture(&mut kernel, &records)?, format, style)
    };
    if watch { watch::watch(settings, look) } else { print(&look()?) }
}

fn draw(picture: &Picture, format: Format, style: Style) -> Result<String> {
    Ok(match format {
        Format::Text => graph::text(picture, style),
        Format::Dot => graph::dot(picture),
        Format::Mermaid => graph::mermaid(picture),
        Format::Svg => graph::svg(picture),
        Format::Json => graph::json(picture)?,
    })
}

/// Whether the locale's character set is UTF-8 (`locale(7)`): the first variable that is set
/// decides.
fn speaks_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Whether somebody looks who can see colours, and wants to (<https://no-color.org>).
fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_screen() && !refused
}

/// Whether standard output is a terminal that can do more than print.
fn is_screen() -> bool {
    stdout().is_terminal() && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}
