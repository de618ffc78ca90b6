//! A program of the host in a container's network: tcpdump, ss or curl need not be in the image.
//!
//! As `ip netns exec` does it, with the container's resolv.conf and its links in /sys; but what
//! is mounted below /sys, as cgroups, stays there. The program takes our place: its terminal,
//! its signals and its exit status are its own.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::config::Settings;
use crate::error::{Doing, Error, Result};
use crate::kernel::process;
use crate::model::record::Record;
use crate::operations::find;
use crate::plan;
use crate::rootfs::view;
use crate::store::Records;

/// Runs `command` in the place of this program, in the network of the container `id`. Where it
/// cannot be run that is told, and the exit status is a shell's: 127 if there is none, else 126.
///
/// # Errors
/// There is no container called `id`, or several; its namespace is gone.
pub fn exec(settings: &Settings, id: &str, command: &[OsString]) -> Result<ExitCode> {
    let [program, arguments @ ..] = command else {
        return Ok(ExitCode::SUCCESS);
    };
    let records = Records::read(&settings.state_dir)?;
    let record = find(&records, "find", id)?;
    let netns = namespace(&records, record)?;
    let resolv_conf = resolv_conf(settings, record);
    view::enter(netns).doing(|| format!("enter the network of container {id}"))?;
    // Many programs do without either.
    let links = view::show_links().doing(|| "mount /sys");
    let names = resolv_conf.map_or(Ok(()), |text| view::show_resolv_conf(&text, &settings.state_dir));
    for failure in [links.err(), names.doing(|| "mount /etc/resolv.conf").err()] {
        failure.iter().for_each(|error| settings.log.warn(error));
    }
    let failure = Command::new(program).args(arguments).exec();
    let status = if failure.kind() == ErrorKind::NotFound { 127 } else { 126 };
    let operation = format!("run {} in the network of container {id}", program.display());
    settings.log.error(&Error::new(operation, failure));
    Ok(ExitCode::from(status))
}

/// The container's namespace: by its own process or path, or by that of another in the same.
fn namespace(records: &Records, record: &Record) -> Result<File> {
    let shares = |other: &&Record| other.sandbox.netns == record.sandbox.netns;
    let mut others = records.containers.iter().filter(shares);
    process::reopen(&record.sandbox, record.id()).or_else(|error| {
        others.find_map(|other| process::reopen(&other.sandbox, other.id()).ok()).ok_or(error)
    })
}

/// What the container's resolv.conf says, or where it has none the one that is kept for it.
fn resolv_conf(settings: &Settings, record: &Record) -> Option<Vec<u8>> {
    let kept = || std::fs::read(plan::resolv_conf(&settings.state_dir, record)?).ok();
    view::resolv_conf(&record.sandbox, record.id()).or_else(kept)
}
