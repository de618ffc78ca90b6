//! The command line: what can be asked for, and one match.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use netns::cni;
use netns::commands;
use netns::config::{Options, Settings, flags};
use netns::doctor;
use netns::error::Error;
use netns::graph::{self, Format};
use netns::hook;
use netns::install::inject::Extras;
use netns::install::{self, Engine};
use netns::kernel::signals;
use netns::log::print;
use netns::model::sandbox::NetnsRef;
use netns::operations;

/// Gives a container its network in a few milliseconds, and takes every trace of it back.
///
/// Without a command it is an OCI hook (prestart, createRuntime and poststop alike): it reads
/// the container's state JSON from standard input, and attaches or detaches by its status.
#[derive(Parser)]
#[command(name = "netns", version = VERSION)]
#[command(after_help = "`netns help options` lists the options of the hook, which commands take too.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    told: Told,
}

/// What stands with or without a command.
#[derive(Args)]
struct Told {
    #[command(flatten)]
    options: Options,
    /// Configuration file [default: /etc/netns-hook.toml, if it exists]
    #[arg(long, global = true, env = "NETNS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Create a network alone: bridge, address, forwarding, masquerade
    Create {
        /// The network, as the configuration file defines it [default: what the options describe]
        name: Option<String>,
    },
    /// List networks
    Networks {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// List containers
    #[command(alias = "list")]
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
        /// Only the ids
        #[arg(long, short, conflicts_with = "json")]
        quiet: bool,
        /// Long ids in full
        #[arg(long)]
        no_trunc: bool,
    },
    /// Remove a network; refused while containers are attached
    Rm {
        /// The network [default: what the options describe]
        name: Option<String>,
        /// Detach its containers first
        #[arg(long)]
        force: bool,
    },
    /// Attach a running container, by one of its processes or its network namespace
    #[command(group = clap::ArgGroup::new("whom").args(["pid", "netns"]).required(true))]
    Attach {
        /// A process in the container's network namespace
        #[arg(value_parser = clap::value_parser!(i32).range(1..))]
        pid: Option<i32>,
        /// The network namespace itself, as /run/netns/NAME
        #[arg(long, value_name = "PATH")]
        netns: Option<PathBuf>,
        /// What to call the container [default: the pid, or the last part of the path]
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
    /// Detach a container, running or not
    Detach {
        /// The container's id, the beginning of it, its hostname or an alias
        id: String,
    },
    /// Run a program of the host in a container's network
    Exec {
        /// The container's id, the beginning of it, its hostname or an alias
        id: String,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Show everything about one container
    Inspect {
        /// The container's id, the beginning of it, its hostname or an alias
        id: String,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Draw uplinks, bridges, veth pairs, containers and published ports
    Graph {
        /// What to draw it for
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
        /// Draw it again whenever something changes, until interrupted
        #[arg(long)]
        watch: bool,
        /// Text without box drawing [default: where the locale is not UTF-8]
        #[arg(long)]
        ascii: bool,
    },
    /// Say why traffic fails, and what to do
    Doctor {
        /// The container's id, the beginning of it, its hostname or an alias [default: all, and the networks]
        id: Option<String>,
        /// Send packets too: to the gateway and to published ports, on this machine only
        #[arg(long)]
        probe: bool,
        /// Fix what is ours; nobody else's firewall
        #[arg(long)]
        fix: bool,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Show why hooks failed
    Failures {
        /// Forget it instead
        #[arg(long)]
        clear: bool,
    },
    /// Remove what dead or interrupted containers left, and what of ours no record tells of
    Gc {
        /// Only say which
        #[arg(long)]
        dry_run: bool,
        /// Instead make records of networks, and of containers that live, that no record tells of
        #[arg(long, conflicts_with = "dry_run")]
        adopt: bool,
    },
    /// Restore every rule that should be there, after a firewall was flushed
    Reload,
    /// Put the hook into a bundle's config.json, with the options given here as its arguments
    Inject {
        /// The bundle's directory, or the file itself
        bundle: PathBuf,
        /// Let the container's programs ping: add CAP_NET_RAW
        #[arg(long)]
        net_raw: bool,
        /// Take the container's own NETNS_PUBLISH=… and the like for annotations
        #[arg(long)]
        from_env: bool,
        /// Take out what was put in
        #[arg(long, conflicts_with_all = ["net_raw", "from_env"])]
        undo: bool,
    },
    /// Tell an engine of the hook, with the options given here as its arguments
    Install {
        /// The engine
        engine: Engine,
        /// Print what would be written where; change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Take back what install did
    Uninstall {
        /// The engine
        engine: Engine,
    },
    /// Print what the hook would do for the state JSON on standard input; changes nothing
    Plan,
    /// Print a script that completes commands and options in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages to a directory: netns.1, one for each command, and netns-hook.toml.5
    Man {
        /// The directory
        dir: PathBuf,
    },
    /// Print version and commit
    Version,
    /// List the options that the hook and all commands take
    #[command(after_help = "Each is also an environment variable (NETNS_PUBLISH), a key of the \
    configuration file (publish = \"8080:80\") and, within the policy, an annotation of the container \
    (org.netns.publish). \
    Annotation, flag, environment, file, default: the first that is set wins.")]
    Options,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("NETNS_COMMIT"), ")");

fn main() -> ExitCode {
    let started = Instant::now();
    let Cli { command, told: Told { options, config } } = parse(std::env::args_os().collect());
    let settings = Settings::new(started, options, config);
    let reset = signals::reset();
    if cni::is_called() {
        return cni::cni(&settings, reset);
    }
    let reset = reset.map_err(|error| (error, false));
    match reset.and_then(|()| run(command, &settings)) {
        Ok(status) => status,
        Err((error, forgiven)) => {
            settings.log.error(&error);
            if forgiven { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

/// What went wrong, and whether the exit status is 0 all the same.
type Failure = (Error, bool);

fn run(command: Option<Command>, settings: &Settings) -> Result<ExitCode, Failure> {
    let Some(command) = command else {
        return hook::hook(settings).map(|()| ExitCode::SUCCESS);
    };
    let done = match command {
        Command::Create { name } => commands::create(settings, name.as_deref()),
        Command::Networks { json } => commands::networks::networks(settings, json),
        Command::Ls { quiet: true, .. } => commands::ls::ids(settings),
        Command::Ls { json, no_trunc, .. } => commands::ls::ls(settings, json, no_trunc),
        Command::Rm { name, force } => commands::rm(settings, name.as_deref(), force),
        Command::Attach { pid, netns, id } => {
            let netns = netns.map_or_else(|| NetnsRef::Pid(pid.unwrap_or_default()), NetnsRef::Path);
            commands::attach(settings, &netns, id)
        }
        Command::Detach { id } => operations::detach_named(settings, &id),
        Command::Exec { id, command } => {
            return commands::exec::exec(settings, &id, &command).map_err(|error| (error, false));
        }
        Command::Inspect { id, json } => commands::inspect::inspect(settings, &id, json),
        Command::Graph { format, watch, ascii } => graph::graph(settings, format, ascii, watch),
        Command::Doctor { id, probe, fix, json } => {
            let options = doctor::Options { probe, fix, json };
            let healthy = doctor::doctor(settings, id.as_deref(), options).map_err(|error| (error, false))?;
            return Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Failures { clear } => commands::failures(settings, clear),
        Command::Gc { adopt: true, .. } => commands::adopt(settings),
        Command::Gc { dry_run, .. } => commands::gc(settings, dry_run),
        Command::Reload => commands::reload(settings),
        Command::Inject { bundle, undo: true, .. } => install::inject::undo(&bundle),
        Command::Inject { bundle, net_raw, from_env, .. } => {
            install::inject::inject(settings, &bundle, Extras { net_raw, from_env })
        }
        Command::Install { engine, dry_run } => install::install(settings, engine, dry_run),
        Command::Uninstall { engine } => {
            commands::tell_attached(settings);
            install::uninstall(engine)
        }
        Command::Plan => commands::plan(settings),
        Command::Completions { shell } => commands::completions::completions(Cli::command(), shell),
        Command::Man { dir } => commands::completions::man(cli(), &dir),
        Command::Version => print(&format!("netns {VERSION}\n")),
        Command::Options => {
            drop(cli().get_matches_from(["netns", "help", "options"]));
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS).map_err(|error| (error, false))
}

/// Parses the arguments, or prints help or what is wrong with them and exits with 2.
fn parse(args: Vec<OsString>) -> Cli {
    match flags::of_hook(&args) {
        Some((options, config)) => Cli { command: None, told: Told { options, config } },
        None => parse_command(args),
    }
}

/// As [`parse`], whatever the arguments are. Apart from it, since to make the parser takes 60 KiB of
/// stack, which a function touches as soon as it is called.
#[inline(never)]
fn parse_command(mut args: Vec<OsString>) -> Cli {
    let cli = cli();
    respell(&mut args, &cli);
    cli.get_subcommands().for_each(|command| respell(&mut args, command));
    Cli::from_arg_matches(&cli.get_matches_from(args)).unwrap_or_else(|error| error.exit())
}

/// The command line, with help for an option only where it matters.
fn cli() -> clap::Command {
    let mut cli = without_empty_variables(Cli::command());
    let options: Vec<clap::Arg> = cli.get_arguments().cloned().collect();
    cli = cli.mut_args(|option| option.hide(true));
    let of_every_run = ["state_dir", "config", "debug", "log"];
    let matters = |command: &str, option: &str| match command {
        "options" | "inject" | "install" => true,
        "attach" | "plan" => !of_every_run.contains(&option),
        "create" => ["bridge", "ip", "mtu", "firewall"].contains(&option),
        "rm" => option == "bridge",
        _ => false,
    };
    cli.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        command.args(options.iter().filter(|option| matters(&name, option.get_id().as_str())).cloned())
    })
}

/// A variable that is empty says nothing.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_args(|option| {
        let is_empty = option.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
        if is_empty { option.env(clap::builder::Resettable::Reset) } else { option }
    })
}

/// Writes flags that `command` knows as it knows them: those of the Go hook of this name may have
/// one dash or two, as `-bridge br0` and `--d`.
fn respell(args: &mut [OsString], command: &clap::Command) {
    // What comes after `exec` is for another program.
    for arg in args.iter_mut().skip(1).take_while(|arg| *arg != "exec") {
        let Some(text) = arg.to_str() else { continue };
        let word = text.trim_start_matches('-');
        let (dashes, name) = (text.len() - word.len(), word.split('=').next().unwrap_or(word));
        let is_long = |known: &clap::Arg| name.len() > 1 && known.get_long() == Some(name);
        let is_short = |known: &clap::Arg| known.get_short().is_some_and(|short| name == short.to_string());
        if dashes == 1 && command.get_arguments().any(is_long) {
            *arg = format!("--{word}").into();
        } else if dashes == 2 && command.get_arguments().any(is_short) {
            *arg = format!("-{word}").into();
        }
    }
}
