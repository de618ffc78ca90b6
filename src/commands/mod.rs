//! The command line's door: each command's arguments to an operation, and what that returns to
//! text or JSON.

pub mod completions;
pub mod exec;
pub mod inspect;
pub mod ls;
pub mod networks;

use std::path::Path;

use crate::config::Settings;
use crate::error::{Doing, Error, Kind, Result, is_obeyed};
use crate::failures;
use crate::hook::{Wants, read_state};
use crate::log::print;
use crate::model::container::{ContainerId, check_id};
use crate::model::sandbox::NetnsRef;
use crate::operations;
use crate::store::Records;

/// Attaches a running container, by one of its processes or its network namespace; without an id
/// it is called by the pid, or by the last part of the path.
///
/// # Errors
/// The id or the path cannot be one; or those of [`operations::attach()`].
pub fn attach(settings: &Settings, netns: &NetnsRef, id: Option<String>) -> Result<()> {
    let (netns, usual) = match netns {
        NetnsRef::Pid(pid) => (NetnsRef::Pid(*pid), pid.to_string()),
        NetnsRef::Path(path) => by_path(path)?,
    };
    let id = id.unwrap_or(usual);
    check_id(&id)?;
    let container = ContainerId { id, bundle: Path::new("").into() };
    let request = settings.request(container, netns, &Default::default())?;
    operations::attach(settings, request).map(drop)
}

/// `/proc/PID/ns/net` is that of a process.
fn by_path(path: &Path) -> Result<(NetnsRef, String)> {
    let operation = || format!("use network namespace {}", path.display());
    let path = std::path::absolute(path).doing(operation)?;
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    if let ["/", "proc", pid, "ns", "net"] = parts[..]
        && let Ok(pid) = pid.parse()
    {
        return Ok((NetnsRef::Pid(pid), pid.to_string()));
    }
    if path.to_str().is_none_or(|text| text.contains(is_obeyed)) {
        let cause = "there are control characters in it, or it is no UTF-8";
        return Err(Error::new(operation(), cause).of(Kind::Input));
    }
    let name = parts.last().copied().unwrap_or_default().to_owned();
    Ok((NetnsRef::Path(path), name))
}

/// Creates the network of this name, or that which the options describe.
///
/// # Errors
/// Those of [`operations::create`].
pub fn create(settings: &Settings, name: Option<&str>) -> Result<()> {
    operations::create(settings, settings.network(name)?)
}

/// Removes the network of this name, be it defined still or not, or that which the options describe.
///
/// # Errors
/// Those of [`operations::rm`].
pub fn rm(settings: &Settings, name: Option<&str>, force: bool) -> Result<()> {
    let recorded = name.map_or(Ok(None), |name| {
        let networks = Records::read(&settings.state_dir)?.networks;
        Ok(networks.into_iter().find(|network| network.name.as_str() == name))
    })?;
    let spec = recorded.map_or_else(|| settings.network(name), |network| Ok(network.spec()))?;
    operations::rm(settings, &spec, force)
}

/// Collects garbage, and says what it was.
///
/// # Errors
/// Those of [`operations::gc()`].
pub fn gc(settings: &Settings, dry_run: bool) -> Result<()> {
    list(&operations::gc(settings, dry_run)?)
}

/// Makes records of what has none, and says of what.
///
/// # Errors
/// Those of [`operations::adopt`].
pub fn adopt(settings: &Settings) -> Result<()> {
    list(&operations::adopt(settings)?)
}

fn list(found: &[String]) -> Result<()> {
    print(&found.iter().map(|what| format!("{what}\n")).collect::<String>())
}

/// Shows why hooks failed, or forgets it.
///
/// # Errors
/// The files cannot be removed.
pub fn failures(settings: &Settings, forget: bool) -> Result<()> {
    if forget {
        return failures::forget(&settings.state_dir);
    }
    list(&failures::recall(&settings.state_dir, None))
}

/// Tells that containers are attached still, to who takes the hook from their engine.
pub fn tell_attached(settings: &Settings) {
    let containers = Records::read(&settings.state_dir).map(|records| records.containers).unwrap_or_default();
    if let Some(first) = containers.first() {
        settings.log.note(&format!(
            "{} containers are attached, {} among them: until they are gone they need this program, \
             and docker's the wrapper",
            containers.len(),
            first.id()
        ));
    }
}

/// Restores missing rules, and says how many; and before that, what has another firewall now.
///
/// # Errors
/// Those of [`operations::reload()`].
pub fn reload(settings: &Settings) -> Result<()> {
    let operations::Reloaded { moved, restored } = operations::reload(settings)?;
    if let Some((moved, to)) = moved {
        print(&format!("moved {moved} networks and containers to {to}\n"))?;
    }
    print(&match restored {
        0 => "every rule is there\n".to_owned(),
        1 => "restored 1 rule\n".to_owned(),
        n => format!("restored {n} rules\n"),
    })
}

/// Prints what the hook would do for the state on standard input, one command a line.
///
/// # Errors
/// What would keep the hook from beginning.
pub fn plan(settings: &Settings) -> Result<()> {
    let state = read_state()?;
    let lines = match state.wants {
        Wants::Attach => operations::plan_attach(settings, state.request(settings)?)?,
        Wants::Detach => operations::plan_detach(settings, &state.container)?,
    };
    print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}
