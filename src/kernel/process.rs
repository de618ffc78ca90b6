//! Which network namespace a container has: by its process, or by a path.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::libc::{ELOOP, ENOENT, ESRCH};

use super::named;
use crate::error::{Doing, Error, Result};
use crate::model::sandbox::{self, FoundBy, NetnsRef, Sandbox};

/// What is read at most of a file of `/proc`, in bytes: in one call, which is enough for what is
/// wanted of any of them.
const MAX_BYTES: usize = 1024;

/// The network namespace of the container `id`, open.
///
/// # Errors
/// There is no such process or path, or it may not be opened; or it is the caller's own
/// namespace: that is the host's, and would get the host an `eth0`.
pub fn open(reference: &NetnsRef, id: &str) -> Result<(File, Sandbox)> {
    match reference {
        NetnsRef::Pid(pid) => open_of(*pid, id),
        NetnsRef::Path(path) => named::open(path, id),
    }
}

/// The same without opening it, as far as the caller may know: without privilege the namespace
/// of another user's process reads as 0.
///
/// # Errors
/// Those of [`open`], but for those of opening.
pub fn observe(reference: &NetnsRef, id: &str) -> Result<Sandbox> {
    let pid = match reference {
        NetnsRef::Pid(pid) => *pid,
        NetnsRef::Path(path) => return named::observe(path, id),
    };
    check_stage(id)?;
    let operation = || find(pid, id);
    let start_time = start_time(pid).doing(operation)?;
    let netns = match fs::metadata(netns_path(pid)) {
        Ok(found) => found.ino(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => 0,
        Err(error) => return Err(error).doing(operation),
    };
    of(pid, start_time, netns, id)
}

/// The network namespace of one that was attached, open, if it is still the same.
///
/// # Errors
/// Those of [`open`]; or it is another one by now.
pub fn reopen(sandbox: &Sandbox, id: &str) -> Result<File> {
    let reference = match &sandbox.found_by {
        FoundBy::Process { pid, .. } => NetnsRef::Pid(*pid),
        FoundBy::Path(path) => NetnsRef::Path(path.clone()),
    };
    let (netns, found) = open(&reference, id)?;
    if found == *sandbox {
        return Ok(netns);
    }
    Err(Error::new(format!("find container {id} by its {sandbox}"), "another has taken its place"))
}

/// Opens first and asks then: the descriptor is of the process that had the pid before and
/// after, and of no other.
fn open_of(pid: i32, id: &str) -> Result<(File, Sandbox)> {
    check_stage(id)?;
    let operation = || find(pid, id);
    let started = start_time(pid).doing(operation)?;
    let netns = File::open(netns_path(pid))
        .doing(|| format!("open the network namespace of container {id}, process {pid}"))?;
    let inode = netns.metadata().doing(operation)?.ino();
    if start_time(pid).doing(operation)? != started {
        return Err(Error::new(operation(), "another process has its pid"));
    }
    Ok((netns, of(pid, started, inode, id)?))
}

/// # Errors
/// It is the host's.
fn of(pid: i32, start_time: u64, netns: u64, id: &str) -> Result<Sandbox> {
    let operation = || find(pid, id);
    if netns == own_netns().doing(operation)? {
        return Err(Error::new(
            format!("attach container {id}"),
            format!("process {pid} is in the host's own network namespace"),
        )
        .hint("give the container one of its own: \"namespaces\": [{\"type\": \"network\"}]"));
    }
    let boot_id = boot_id().doing(operation)?;
    Ok(Sandbox { netns, boot_id, found_by: FoundBy::Process { pid, start_time } })
}

/// A hook of the stage `createContainer` runs in the container, where the pid that it is told is
/// another's: 1 is the host's init.
fn check_stage(id: &str) -> Result<()> {
    if fs::read_link("/proc/self").is_ok_and(|own| own != Path::new(&std::process::id().to_string())) {
        return Err(Error::new(
            format!("attach container {id}"),
            "the hook runs in the container's own pid namespace, as createContainer hooks do",
        )
        .hint("name it in \"createRuntime\""));
    }
    Ok(())
}

fn find(pid: i32, id: &str) -> String {
    format!("find container {id} by its process {pid}")
}

/// The inode of the caller's network namespace.
pub(super) fn own_netns() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net")?.ino())
}

pub(super) fn netns_path(pid: i32) -> String {
    format!("/proc/{pid}/ns/net")
}

/// When a process started, in clock ticks since boot. A zombie is dead.
pub(super) fn start_time(pid: i32) -> io::Result<u64> {
    let stat = read(&format!("/proc/{pid}/stat")).map_err(|error| match error.raw_os_error() {
        Some(ENOENT | ESRCH) => io::Error::new(ErrorKind::NotFound, "there is no such process"),
        _ => error,
    })?;
    let dead = || io::Error::new(ErrorKind::NotFound, "the process is dead");
    let started = sandbox::start_time(&stat).ok_or_else(dead)?.parse();
    started.map_err(|_| io::Error::new(ErrorKind::InvalidData, "/proc/PID/stat is not as documented"))
}

/// Whether an error says that a process or path is gone, or none of ours to see. Any other says
/// nothing about it.
pub(super) fn is_hidden(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory)
        || matches!(error.raw_os_error(), Some(ESRCH | ELOOP))
}

pub(super) fn boot_id() -> io::Result<String> {
    static READ: OnceLock<String> = OnceLock::new();
    if let Some(known) = READ.get() {
        return Ok(known.clone());
    }
    let id = read("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
    Ok(READ.get_or_init(|| id).clone())
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = [0; MAX_BYTES];
    let length = File::open(path)?.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_process_of_the_hosts_network_is_refused_and_a_dead_one_is_not_found() {
        let own = NetnsRef::Pid(std::process::id() as i32);
        for refused in [open(&own, "a").map(|(_, sandbox)| sandbox), observe(&own, "a")] {
            assert!(refused.unwrap_err().to_string().contains("the host's own network namespace"));
        }
        let mut child = Command::new("true").spawn().unwrap();
        let pid = NetnsRef::Pid(child.id() as i32);
        while start_time(child.id() as i32).is_ok() {}
        assert!(open(&pid, "a").unwrap_err().to_string().ends_with("the process is dead"));
        child.wait().unwrap();
        assert!(open(&pid, "a").unwrap_err().to_string().ends_with("there is no such process"));
    }

    #[test]
    fn the_start_time_and_the_boot_are_read_whole() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let field = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
        assert_eq!(start_time(std::process::id() as i32).unwrap().to_string(), field);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
