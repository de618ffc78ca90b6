//! Who a container is: its process, its network namespace, and whether they are still there.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};

/// Who a container is, so that its pid given to another process is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The container's first process.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
    pub start_time: u64,
    /// The inode of its network namespace.
    pub netns: u64,
    /// The boot that all of this belongs to.
    pub boot_id: String,
}

/// The network namespace of the container `id`, open, and who its process `pid` is.
///
/// # Errors
/// Those of [`look`], or the namespace may not be opened.
pub fn open(pid: i32, id: &str) -> Result<(File, Process)> {
    let process = look(pid, id)?;
    let netns = File::open(netns_path(pid))
        .doing(|| format!("open the network namespace of container {id}, process {pid}"))?;
    Ok((netns, process))
}

/// Who the process `pid` of the container `id` is.
///
/// # Errors
/// There is no such process, or it is in the caller's own network namespace: that is the
/// host's, and would get the host an `eth0`.
pub fn look(pid: i32, id: &str) -> Result<Process> {
    let operation = || format!("find container {id} by its process {pid}");
    // A hook of this stage runs in the container, where the pid that it is told is another's:
    // 1 is the host's init.
    if fs::read_link("/proc/self").is_ok_and(|own| own != Path::new(&std::process::id().to_string())) {
        return Err(Error::new(
            format!("attach container {id}"),
            "the hook runs in the container's own pid namespace, as createContainer hooks do",
        )
        .hint("name it in \"createRuntime\""));
    }
    let process = identify(pid).doing(operation)?;
    let host = fs::metadata("/proc/self/ns/net").doing(operation)?;
    if process.netns == host.ino() {
        return Err(Error::new(
            format!("attach container {id}"),
            format!("process {pid} is in the host's own network namespace"),
        )
        .hint("give the container one of its own: \"namespaces\": [{\"type\": \"network\"}]"));
    }
    Ok(process)
}

/// As far as the caller may know: without privilege the namespace of another user's process
/// reads as 0.
fn identify(pid: i32) -> io::Result<Process> {
    let start_time = start_time(pid)?;
    let netns = match fs::metadata(netns_path(pid)) {
        Ok(found) => found.ino(),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => 0,
        Err(error) => return Err(error),
    };
    Ok(Process { pid, start_time, netns, boot_id: boot_id()? })
}

/// Tells the living from the dead, as of the moment it is made.
#[derive(Debug)]
pub struct Census {
    boot_id: String,
    /// Network namespaces that a process or a mount keeps alive. Takes a walk through `/proc`:
    /// asked only when a container's own process is dead.
    inhabited: OnceCell<HashSet<u64>>,
}

impl Census {
    /// A census of this boot.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn new() -> Result<Self> {
        let boot_id = boot_id().doing(|| "read the boot's id")?;
        Ok(Self { boot_id, inhabited: OnceCell::new() })
    }

    /// The boot that it is about.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Whether it is the process that it was.
    pub fn is(&self, process: &Process) -> bool {
        self.boot_id == process.boot_id && self.runs(process.pid, process.start_time)
    }

    /// As [`Self::is`], of a process of this boot.
    pub fn runs(&self, pid: i32, start: u64) -> bool {
        start_time(pid).is_ok_and(|started| started == start)
    }

    /// As [`Self::runs`], but another process that was given the same pid, and a zombie, pass
    /// for it: one system call instead of eight.
    pub fn may_run(&self, pid: i32) -> bool {
        kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
    }

    /// Whether anything keeps a network namespace with this inode alive: any process or mount.
    /// The number may have been given to another namespace since.
    pub fn is_inhabited(&self, process: &Process) -> bool {
        self.boot_id == process.boot_id && self.inhabited.get_or_init(inhabited).contains(&process.netns)
    }
}

fn inhabited() -> HashSet<u64> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| {
        let root = line.split(' ').nth(3)?.strip_prefix("net:[")?;
        root.strip_suffix(']')?.parse().ok()
    });
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lived_in = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| fs::metadata(netns_path(pid)).ok())
        .map(|found| found.ino());
    mounted.chain(lived_in).collect()
}

fn netns_path(pid: i32) -> String {
    format!("/proc/{pid}/ns/net")
}

/// In clock ticks since boot. A zombie is dead.
fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::new(ErrorKind::NotFound, "there is no such process"),
        _ => error,
    })?;
    // The name before the last parenthesis may contain anything.
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let mut fields = fields.split_whitespace();
    if matches!(fields.next(), None | Some("Z" | "X")) {
        return Err(io::Error::new(ErrorKind::NotFound, "the process is dead"));
    }
    let started = fields.nth(18).and_then(|field| field.parse().ok());
    started.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "/proc/PID/stat is not as documented"))
}

fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
