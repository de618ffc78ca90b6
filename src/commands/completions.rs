//! What a shell and man(1) want to know of the command line, made from its definition.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use crate::error::{Doing, Result};
use crate::log::print;

/// Prints a script for `shell` that completes the commands and options of `cli`.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(mut cli: Command, shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    let name = cli.get_name().to_owned();
    clap_complete::generate(shell, &mut cli, name, &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes a page about `cli` and one about each of its commands into the directory `dir`, which
/// is made if there is none: `netns.1`, `netns-attach.1`…
///
/// # Errors
/// A file cannot be written.
pub fn man(cli: Command, dir: &Path) -> Result<()> {
    let operation = || format!("write manual pages to {}", dir.display());
    fs::create_dir_all(dir).doing(operation)?;
    clap_mangen::generate_to(cli, dir).doing(operation)
}
