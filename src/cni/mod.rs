//! The door that Kubernetes' runtimes, podman and Nomad knock at: a plugin of the
//! [Container Network Interface](https://github.com/containernetworking/cni/blob/main/SPEC.md),
//! versions 0.3.0 to 1.1.0. What is asked for stands in the environment (`CNI_COMMAND`) and on
//! standard input, and the answer is one JSON document on standard output.
//!
//! An attachment of CNI is one interface of one container on one network: each has its own record,
//! whose bundle is called `cni:NETWORK/INTERFACE`. The container's id is the sandbox's.
//!
//! | file | what is in it |
//! |---|---|
//! | `call` | what is asked for, by the environment |
//! | `config` | the network configuration |
//! | `request` | what it asks for, as a [`Request`](crate::model::request::Request) |
//! | `answer` | results and error objects, in the words of each version |

mod answer;
mod call;
mod config;
mod request;

use std::process::ExitCode;

use answer::Fault;
use call::Call;
use config::Config;
use serde_json::{Value, json};

use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::log::{self, print};
use crate::model::container::ContainerId;
use crate::operations;

/// The versions of the specification that are spoken.
pub(crate) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

type Answer = std::result::Result<Option<Value>, Fault>;

/// Whether a CNI client has started this program.
pub fn is_called() -> bool {
    std::env::var_os("CNI_COMMAND").is_some()
}

/// Does what the client asks for, and prints the answer; the exit status is 1 with an error object.
/// `ready` is what became of getting ready for it.
pub fn cni(settings: &Settings, ready: Result<()>) -> ExitCode {
    let (version, answer) = match ready.map_err(Fault::from).and_then(|()| read()) {
        Ok(text) => {
            let config = Config::parse(&text);
            let version =
                config.as_ref().map_or_else(|_| Config::version_of(&text), |config| config.version.clone());
            (version, run(settings, config))
        }
        Err(fault) => (String::new(), Err(fault)),
    };
    let (text, status) = match answer {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(value)) => (value.to_string(), ExitCode::SUCCESS),
        Err(fault) => (fault.object(&version).to_string(), ExitCode::FAILURE),
    };
    match print(&format!("{text}\n")) {
        Ok(()) => status,
        Err(_) => ExitCode::FAILURE,
    }
}

fn read() -> std::result::Result<Vec<u8>, Fault> {
    log::read(std::io::stdin(), config::READ).map_err(|error| Fault::new(answer::IO, error))
}

/// One command, by what the environment and the network configuration say.
fn run(settings: &Settings, config: std::result::Result<Config, Fault>) -> Answer {
    let command = call::command()?;
    if command == "VERSION" {
        let version =
            config.map_or_else(|_| VERSIONS[VERSIONS.len() - 1].to_owned(), |config| config.version);
        return Ok(Some(json!({ "cniVersion": version, "supportedVersions": VERSIONS })));
    }
    let config = config?;
    config.check_version()?;
    match command.as_str() {
        "ADD" if config.is_loopback() => loopback(settings, &config, &Call::of_environment(true)?),
        "DEL" | "CHECK" | "STATUS" if config.is_loopback() => Ok(None),
        "ADD" => add(settings, &config, &Call::of_environment(true)?),
        "DEL" => {
            let call = Call::of_environment(false)?;
            Ok(operations::detach(settings, &call.attachment(&config.name)).map(|()| None)?)
        }
        "CHECK" => check(settings, &config, &Call::of_environment(true)?),
        "GC" => collect_garbage(settings, &config),
        "STATUS" => status(settings, &config),
        other => {
            let error = Error::new(format!("use CNI_COMMAND={other}"), "there is no such command");
            Err(Fault::new(answer::ENVIRONMENT, error))
        }
    }
}

fn add(settings: &Settings, config: &Config, call: &Call) -> Answer {
    call.check_netns()?;
    let request = config.request(settings, call)?;
    let attachments = operations::attach(settings, request)?;
    Ok(Some(config.result(call, &attachments)))
}

/// What the plugin `loopback` does, which container runtimes ask for besides the network.
fn loopback(settings: &Settings, config: &Config, call: &Call) -> Answer {
    call.check_netns()?;
    operations::set_up_loopback(settings, &call.netns())?;
    Ok(Some(config.loopback(call)))
}

fn check(settings: &Settings, config: &Config, call: &Call) -> Answer {
    let container = call.attachment(&config.name);
    let differs = operations::check(settings, &container)?;
    let Some(first) = differs.first() else { return Ok(None) };
    let error = Error::new(format!("check interface {} of {container}", call.interface), first);
    let others = differs.iter().skip(1).map(|other| Error::new("check", other));
    Err(error.also(others).of(Kind::Conflict).into())
}

/// Detaches what came by this network and is not in the client's list; what it does not list of
/// other networks, and what hooks have attached, is not the client's to forget.
fn collect_garbage(settings: &Settings, config: &Config) -> Answer {
    let valid = config.valid_attachments()?;
    let valid: Vec<ContainerId> =
        valid.iter().map(|(id, interface)| ContainerId::of_cni(id, &config.name, interface)).collect();
    let ours = |container: &ContainerId| container.cni().is_some_and(|(network, _)| network == config.name);
    operations::detach_all(settings, |container| ours(container) && !valid.contains(container))?;
    // And what an interrupted run has left of anybody.
    operations::gc(settings, false)?;
    Ok(None)
}

/// Whether the next `ADD` could succeed.
fn status(settings: &Settings, config: &Config) -> Answer {
    let wanted = config.network(settings)?;
    match operations::ready(settings, &wanted, &config.lease_ranges(&wanted)?) {
        Ok(None) => Ok(None),
        Ok(Some(limit)) => Err(Fault::new(answer::LIMITED, limit)),
        Err(error) => Err(Fault::new(answer::NOT_AVAILABLE, error)),
    }
}
