//! What a user can ask for: one file a command, each a story read from top to bottom.

pub mod attach;
pub mod completions;
pub mod create;
pub mod detach;
pub mod doctor;
pub mod exec;
pub mod gc;
pub mod graph;
pub mod inject;
pub mod inspect;
pub mod install;
pub mod ls;
pub mod plan;
mod reap;
pub mod reload;
pub mod rm;
mod session;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use crate::config::file::File;
use crate::config::value::Iface;
use crate::config::{self, Config, Options};
use crate::error::{Doing, Error, Result};
use crate::kernel::netlink::{Links, Netlink};
use crate::kernel::process::Census;
use crate::log::Log;
use crate::plan::Step;
use crate::store::Records;
use crate::store::record::Record;

/// What every command starts from: where its files are, and what the administrator has said.
#[derive(Debug)]
pub struct Settings {
    /// Where records and leases live.
    pub state_dir: PathBuf,
    /// Standard error, and the file that was asked for.
    pub log: Log,
    flags: Options,
    config: Option<PathBuf>,
    /// The configuration file, unless it or the log file cannot be used.
    file: Result<File>,
}

impl Settings {
    /// Puts flags (with the environment below them) and the configuration file together.
    ///
    /// A configuration or log file that cannot be used is an error only for those commands that
    /// need a configuration: a container must be able to leave although it was broken meanwhile.
    pub fn new(started: Instant, flags: Options, config: Option<PathBuf>) -> Self {
        let required = config.is_some();
        let path = config.clone().unwrap_or_else(|| config::DEFAULT_CONFIG.into());
        let file = config::file::read(&path, required);
        let below = file.as_ref().ok().map(|file| &file.options);
        let or_file = |flag: &Option<PathBuf>, pick: fn(&Options) -> &Option<PathBuf>| {
            flag.clone().or_else(|| below.and_then(|file| pick(file).clone()))
        };
        let state_dir = or_file(&flags.state_dir, |file| &file.state_dir);
        let log_file = or_file(&flags.log, |file| &file.log);
        let verbose = flags.debug || below.is_some_and(|file| file.debug);
        let state_dir = state_dir.unwrap_or_else(|| config::DEFAULT_STATE_DIR.into());
        match Log::open(started, verbose, log_file.as_deref()) {
            Ok(log) => Self { state_dir, log, flags, config, file },
            Err(error) => {
                let log = Log::stderr(started, verbose);
                Self { state_dir, log, flags, config, file: file.and(Err(error)) }
            }
        }
    }

    /// Tells what is wrong with the files, for commands that go on without them.
    fn warn_of_files(&self) {
        if let Err(error) = &self.file {
            self.log.warn(error);
        }
    }

    /// The configuration for a container with these annotations, or with none for a network.
    ///
    /// # Errors
    /// The configuration file, the log file or an annotation of ours cannot be used, or
    /// the policy denies it.
    pub fn config(&self, annotations: &BTreeMap<String, String>) -> Result<Config> {
        let file = self.file.clone()?;
        let annotated = config::annotations(annotations, &file.policy)?;
        let layers = [annotated, self.flags.clone(), file.options];
        let mut config = Config::resolve(&layers)?;
        config.names.allowed = file.policy.aliases().cloned();
        Ok(config)
    }

    /// The hook as a `config.json` and a hook directory name it: this program, and the options
    /// that are set now.
    ///
    /// # Errors
    /// The program does not know where it is.
    fn hook(&self) -> Result<Value> {
        let path = std::env::current_exe().doing(|| "find this program")?;
        let config = self.config.iter().map(|file| format!("--config={}", file.display()));
        let name = std::iter::once("netns".to_owned());
        let args: Vec<String> = name.chain(config).chain(self.flags.arguments()).collect();
        Ok(json!({ "path": path, "args": args }))
    }
}

/// A census for which the names that we have given keep nobody alive.
fn census_of(records: &Records) -> Result<Census> {
    let steps = records.containers.iter().flat_map(|record| &record.steps);
    Ok(Census::new()?.despite(steps.filter_map(Step::name_file)))
}

/// Every link of a namespace in full.
fn links_of(netlink: &Netlink) -> Result<Links> {
    netlink.links_in_full().doing(|| "look at links and addresses")
}

/// Tells of every record that could not be read.
fn warn_of_damage(log: &Log, damaged: &[(PathBuf, Error)]) {
    for (_, error) in damaged {
        log.warn(error);
    }
}

/// What those have in common who share a network namespace. Its number alone may be another
/// namespace's by now; the cable's name tells.
fn room(record: &Record) -> (&str, u64, Option<&Iface>) {
    (&record.process.boot_id, record.process.netns, record.host_interface.as_ref())
}

/// Writes to standard output, which may be closed.
fn print(text: &str) -> Result<()> {
    std::io::stdout().lock().write_all(text.as_bytes()).doing(|| "write to standard output")
}
