//! What a shell and man(1) want to know of the command line, made from its definition.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use crate::error::{Doing, Result};
use crate::log::print;

/// Prints a script for `shell` that completes the commands and options of `cli`, and in bash,
/// zsh and fish the ids of containers.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(mut cli: Command, shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    let name = cli.get_name().to_owned();
    clap_complete::generate(shell, &mut cli, name, &mut script);
    print(&with_ids(&String::from_utf8_lossy(&script), &cli, shell))
}

fn with_ids(script: &str, cli: &Command, shell: Shell) -> String {
    let ids = "$(netns ls --quiet 2>/dev/null)";
    let takes_id = |command: &&Command| command.get_positionals().any(|argument| argument.get_id() == "id");
    let commands: Vec<&str> = cli.get_subcommands().filter(takes_id).map(Command::get_name).collect();
    match shell {
        Shell::Bash => commands.iter().fold(script.to_owned(), |script, command| {
            let options = format!("netns__subcmd__{command})\n            opts=\"");
            script.replace(&options, &format!("{options}{ids} "))
        }),
        Shell::Zsh => {
            let words = |line: &str| match line.strip_suffix(":_default' \\") {
                Some(id) if id.contains(":id -- ") => format!("{id}:({ids})' \\\n"),
                _ => format!("{line}\n"),
            };
            script.lines().map(words).collect()
        }
        Shell::Fish => {
            let commands = commands.join(" ");
            let ids = ids.trim_start_matches('$');
            let using = format!("__fish_netns_using_subcommand {commands}");
            format!("{script}complete -c netns -n \"{using}\" -f -a \"{ids}\"\n")
        }
        _ => script.to_owned(),
    }
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
