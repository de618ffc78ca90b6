//! The command: a picture in the format that is asked for.

use clap::ValueEnum;

use super::collect::picture;
use super::watch::is_screen;
use super::{Picture, Style};
use crate::config::Settings;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::log::print;
use crate::operations::warn_of_damage;
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

/// Prints a picture of uplinks, bridges, veth pairs and containers; again and again if `watch`.
///
/// # Errors
/// The records cannot be read, or the kernel does not answer.
pub fn graph(settings: &Settings, format: Format, ascii: bool, watch: bool) -> Result<()> {
    let style = Style { ascii: ascii || !speaks_utf8(), colour: wants_colour() };
    let mut kernel = Kernel::open(settings.log.clone())?;
    let mut drawn = || {
        let records = Records::read(&settings.state_dir)?;
        warn_of_damage(&settings.log, &records);
        draw(&picture(&mut kernel, &records)?, format, style)
    };
    if watch {
        return super::watch::watch(settings, drawn);
    }
    print(&drawn()?)
}

fn draw(picture: &Picture, format: Format, style: Style) -> Result<String> {
    Ok(match format {
        Format::Text => super::text(picture, style),
        Format::Dot => super::dot(picture),
        Format::Mermaid => super::mermaid(picture),
        Format::Svg => super::svg(picture),
        Format::Json => super::json(picture)?,
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

/// Whether standard output shows colours, and they are wanted (<https://no-color.org>).
fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_screen() && !refused
}
