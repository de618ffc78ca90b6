//! What a shell and man(1) want to know of the command line, made from its definition.

use std::fs;
use std::path::Path;

use clap::{Arg, Command};
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

/// Writes a page about `cli`, one about each of its commands and one about the configuration file into
/// the directory `dir`, which is made if there is none: `netns.1`, `netns-attach.1`…
///
/// # Errors
/// A file cannot be written.
pub fn man(cli: Command, dir: &Path) -> Result<()> {
    let operation = || format!("write manual pages to {}", dir.display());
    fs::create_dir_all(dir).doing(operation)?;
    fs::write(dir.join("netns-hook.toml.5"), page_of_file(&cli)).doing(operation)?;
    clap_mangen::generate_to(cli, dir).doing(operation)?;
    for (name, example) in include_str!("../../pkg/examples.txt").lines().filter_map(|it| it.split_once(": "))
    {
        let page = dir.join(format!("{name}.1"));
        let example = format!("{}\n", escaped(example));
        let more = include_str!("../../pkg/sections.man").replace(".\\\" EXAMPLE\n", &example);
        let text = fs::read_to_string(&page).doing(operation)? + &more;
        fs::write(page, text).doing(operation)?;
    }
    Ok(())
}

/// The page about the configuration file, whose keys are the options of `cli`.
fn page_of_file(cli: &Command) -> String {
    let is_key = |option: &&Arg| !["config", "help", "version"].contains(&option.get_id().as_str());
    let key = |option: &Arg| {
        let value = option.get_value_names().and_then(<[_]>::first)?;
        let (name, help) = (escaped(option.get_long()?), escaped(&option.get_help()?.to_string()));
        Some(format!(".TP\n.BI \"{name} = \" {value}\n{help}\n"))
    };
    let keys: String = cli.get_arguments().filter(is_key).filter_map(key).collect();
    let example = escaped(include_str!("../../examples/netns-hook.toml"));
    include_str!("../../pkg/netns-hook.toml.5")
        .replace(".\\\" OPTIONS\n", &keys)
        .replace(".\\\" EXAMPLE\n", &example)
}

/// Text that `roff(7)` takes for nothing else.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace("\n.", "\n\\&.").replace("\n'", "\n\\&'")
}
