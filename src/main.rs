//! The command line: what can be asked for, and one match.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use netns::commands::doctor::Wishes;
use netns::commands::graph::Format;
use netns::commands::inject::Extras;
use netns::commands::install::Engine;
use netns::commands::{self, Settings};
use netns::config::Options;
use netns::error::Result;
use netns::failures;
use netns::hook::{Container, Wants, read_state};

/// Gives a container its network in a few milliseconds, and takes every trace of it back.
///
/// Without a command it is an OCI hook (prestart, createRuntime and poststop alike): it reads
/// the container's state JSON from standard input, and attaches or detaches by its status.
#[derive(Parser)]
#[command(name = "netns", version = VERSION, disable_version_flag = true)]
#[command(after_help = "Every option is also an environment variable (NETNS_MTU), a key of the \
configuration file (mtu = 1400) and an annotation of the container (org.netns.mtu). \
Annotation, flag, environment, file, default: the first that is set wins.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    told: Told,
}

/// What stands with or without a command.
#[derive(Args, Default)]
struct Told {
    #[command(flatten)]
    options: Options,
    /// Configuration file [default: /etc/netns-hook.toml, if it exists]
    #[arg(long, global = true, env = "NETNS_CONFIG", value_name = "FILE", help_heading = "Options")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Create the network alone: bridge, address, forwarding, masquerade
    Create,
    /// List containers
    #[command(alias = "list")]
    Ls {
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Remove the network; refused while containers are attached
    Rm {
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
        /// The container's id
        id: String,
    },
    /// Run a program of the host in a container's network
    Exec {
        /// The container's id
        id: String,
        /// The program and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Show everything about one container
    Inspect {
        /// The container's id
        id: String,
        /// As a JSON object
        #[arg(long)]
        json: bool,
    },
    /// Draw uplinks, bridges, cables, containers and published ports
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
    /// Say why traffic fails, and what mends it
    Doctor {
        /// The container's id [default: all, and the networks]
        id: Option<String>,
        /// Send packets too: to the gateway and to published ports, on this machine only
        #[arg(long)]
        probe: bool,
        /// Mend what is ours; nobody else's firewall
        #[arg(long)]
        fix: bool,
        /// As a JSON array
        #[arg(long)]
        json: bool,
    },
    /// Reap containers that are dead or were attached half way only
    Gc {
        /// Only say which
        #[arg(long)]
        dry_run: bool,
    },
    /// Put back every rule that should be there, after a firewall was flushed
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
    /// Write manual pages to a directory: netns.1 and one for each command
    Man {
        /// The directory
        dir: PathBuf,
    },
    /// Print version and commit
    Version,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("NETNS_COMMIT"), ")");

fn main() -> ExitCode {
    let started = Instant::now();
    let Cli { command, told: Told { options, config } } = parse(std::env::args_os().collect());
    let settings = Settings::new(started, options, config);
    match run(command, &settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { error, forgiven }) => {
            settings.log.error(&error);
            if forgiven { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
    }
}

struct Failure {
    error: netns::error::Error,
    /// Whether the exit status is 0 all the same.
    forgiven: bool,
}

impl From<netns::error::Error> for Failure {
    fn from(error: netns::error::Error) -> Self {
        Self { error, forgiven: false }
    }
}

fn run(command: Option<Command>, settings: &Settings) -> std::result::Result<(), Failure> {
    match command {
        None => hook(settings, &read_state()?),
        Some(Command::Create) => Ok(commands::create::create(settings)?),
        Some(Command::Ls { json }) => Ok(commands::ls::ls(settings, json)?),
        Some(Command::Rm { force }) => Ok(commands::rm::rm(settings, force)?),
        Some(Command::Attach { pid, netns, id }) => Ok(attach(settings, pid, netns, id)?),
        Some(Command::Detach { id }) => Ok(commands::detach::detach_id(settings, &id)?),
        Some(Command::Exec { id, command }) => Ok(commands::exec::exec(settings, &id, &command)?),
        Some(Command::Inspect { id, json }) => Ok(commands::inspect::inspect(settings, &id, json)?),
        Some(Command::Graph { format, watch, ascii }) => {
            Ok(commands::graph::graph(settings, format, ascii, watch)?)
        }
        Some(Command::Doctor { id, probe, fix, json }) => {
            match commands::doctor::doctor(settings, id.as_deref(), Wishes { probe, fix, json })? {
                true => Ok(()),
                false => std::process::exit(1),
            }
        }
        Some(Command::Gc { dry_run }) => Ok(commands::gc::gc(settings, dry_run)?),
        Some(Command::Reload) => Ok(commands::reload::reload(settings)?),
        Some(Command::Inject { bundle, undo: true, .. }) => Ok(commands::inject::undo(&bundle)?),
        Some(Command::Inject { bundle, net_raw, from_env, .. }) => {
            Ok(commands::inject::inject(settings, &bundle, Extras { net_raw, from_env })?)
        }
        Some(Command::Install { engine, dry_run }) => {
            Ok(commands::install::install(settings, engine, dry_run)?)
        }
        Some(Command::Uninstall { engine }) => Ok(commands::install::uninstall(engine)?),
        Some(Command::Plan) => Ok(commands::plan::plan(settings, &read_state()?)?),
        Some(Command::Completions { shell }) => {
            Ok(commands::completions::completions(Cli::command(), shell)?)
        }
        Some(Command::Man { dir }) => Ok(commands::completions::man(Cli::command(), &dir)?),
        Some(Command::Version) => {
            let _ = writeln!(std::io::stdout(), "netns {VERSION}");
            Ok(())
        }
    }
}

fn hook(settings: &Settings, container: &Container) -> std::result::Result<(), Failure> {
    let done = match container.wants {
        Wants::Attach => commands::attach::attach(settings, container).map_err(Failure::from),
        // No runtime retries a failed poststop, and some cannot delete the container then.
        // What could not be undone stays recorded for the next run.
        Wants::Detach => {
            commands::detach::detach(settings, container).map_err(|error| Failure { error, forgiven: true })
        }
    };
    if let Err(Failure { error, .. }) = &done {
        failures::remember(&settings.state_dir, &container.id, error);
    }
    done
}

fn attach(settings: &Settings, pid: Option<i32>, netns: Option<PathBuf>, id: Option<String>) -> Result<()> {
    let container = match netns {
        Some(path) => Container::in_namespace(&path, id)?,
        None => {
            let pid = pid.unwrap_or_default();
            Container::running(pid, id.unwrap_or_else(|| pid.to_string()))?
        }
    };
    commands::attach::attach(settings, &container)
}

/// Parses the arguments, or prints help or what is wrong with them and exits with 2.
///
/// `-bridge br0` means `--bridge br0`, as the flags of the Go hook of this name may be written.
///
/// The hook starts often, mostly without a word, and never with a command: for its sake nothing
/// is made known to the parser that is not needed, since that takes longer than everything else
/// here.
fn parse(mut args: Vec<OsString>) -> Cli {
    let is_ours = |(name, _): (OsString, OsString)| name.as_encoded_bytes().starts_with(b"NETNS_");
    if args.len() <= 1 && !std::env::vars_os().any(is_ours) {
        return Cli { command: None, told: Told::default() };
    }
    let mut hook = Told::augment_args(clap::Command::new("netns").disable_help_flag(true));
    // What comes after `exec` is for another program.
    for arg in args.iter_mut().skip(1).take_while(|arg| *arg != "exec") {
        let Some(text) = arg.to_str() else { continue };
        let name = text.strip_prefix('-').and_then(|rest| rest.split('=').next());
        let is =
            |name: &str| name.len() > 1 && hook.get_arguments().any(|known| known.get_long() == Some(name));
        if name.is_some_and(is) {
            *arg = format!("-{text}").into();
        }
    }
    if let Ok(told) =
        hook.try_get_matches_from_mut(&args).and_then(|matches| Told::from_arg_matches(&matches))
    {
        return Cli { command: None, told };
    }
    let matches = Cli::command().get_matches_from(args);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}
