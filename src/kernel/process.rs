//! Who a container is: its process, its network namespace, and whether they are still there.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::named;
use crate::error::{Doing, Error, Result};

/// Who a container is, so that its pid given to another process is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The container's first process; 0 where there is none, but a path.
    pub pid: i32,
    /// When it started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
    pub start_time: u64,
    /// The inode of its network namespace.
    pub netns: u64,
    /// The boot that all of this belongs to.
    pub boot_id: String,
    /// Where the network namespace was found, if it was not by a process.
    #[serde(default)]
    pub path: Option<PathBuf>,
}

impl Process {
    /// Its pid, if it is a process.
    pub fn pid(&self) -> Option<i32> {
        (self.pid > 0).then_some(self.pid)
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "network namespace {}", path.display()),
            None => write!(f, "process {}", self.pid),
        }
    }
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
    if process.netns == own_netns().doing(operation)? {
        return Err(Error::new(
            format!("attach container {id}"),
            format!("process {pid} is in the host's own network namespace"),
        )
        .hint("give the container one of its own: \"namespaces\": [{\"type\": \"network\"}]"));
    }
    Ok(process)
}

/// The inode of the caller's network namespace.
pub(super) fn own_netns() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/net")?.ino())
}

/// The network namespace of one who was attached, open, if it is still the same.
///
/// # Errors
/// Those of [`open`] and [`named::open`]; or it is another one by now.
pub fn reopen(process: &Process, id: &str) -> Result<File> {
    let (netns, found) = match &process.path {
        Some(path) => named::open(path, id)?,
        None => open(process.pid, id)?,
    };
    if found == *process {
        return Ok(netns);
    }
    Err(Error::new(format!("find container {id} by its {process}"), "another has taken its place"))
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
    Ok(Process { pid, start_time, netns, boot_id: boot_id()?, path: None })
}

/// Tells the living from the dead, as of the moment it is made.
#[derive(Debug)]
pub struct Census {
    boot_id: String,
    /// Takes a walk through `/proc`: asked only when a container's own process is dead.
    kept: OnceCell<Kept>,
    /// Names of namespaces that we have given.
    ours: HashSet<PathBuf>,
}

/// The network namespaces that something keeps alive.
#[derive(Debug, Default)]
struct Kept {
    /// A process, or somebody's mount.
    inhabited: HashSet<u64>,
    /// A name that we have given.
    named: HashSet<u64>,
}

impl Census {
    /// A census of this boot.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn new() -> Result<Self> {
        Ok(Self::of(boot_id().doing(|| "read the boot's id")?))
    }

    /// A census of this boot, whose id is known.
    pub fn of(boot_id: String) -> Self {
        Self { boot_id, kept: OnceCell::new(), ours: HashSet::new() }
    }

    /// The same, with names of namespaces that we have given: a name keeps a namespace, but
    /// whoever has nothing else is dead.
    #[must_use]
    pub fn despite(mut self, ours: impl Iterator<Item = PathBuf>) -> Self {
        self.ours.extend(ours);
        self
    }

    /// Whether the path that it was found by still leads to a namespace with its inode, as seen
    /// from here or, since an engine may have mounts of its own, by the host's first process.
    pub fn leads_to(&self, process: &Process) -> bool {
        let leads = |path: &Path| fs::metadata(path).is_ok_and(|found| found.ino() == process.netns);
        let from_init = |path: &Path| path.strip_prefix("/").map(|path| Path::new("/proc/1/root").join(path));
        self.boot_id == process.boot_id
            && process
                .path
                .as_deref()
                .is_some_and(|path| leads(path) || from_init(path).is_ok_and(|path| leads(&path)))
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

    /// Whether anything keeps a network namespace with this inode alive: any process or mount,
    /// but for a name that we have given. The number may have been given to another namespace
    /// since.
    pub fn is_inhabited(&self, process: &Process) -> bool {
        self.boot_id == process.boot_id && self.kept().inhabited.contains(&process.netns)
    }

    /// Whether a name that we have given keeps a network namespace with this inode.
    pub fn is_named(&self, process: &Process) -> bool {
        self.boot_id == process.boot_id && self.kept().named.contains(&process.netns)
    }

    fn kept(&self) -> &Kept {
        self.kept.get_or_init(|| Kept::look(&self.ours))
    }
}

impl Kept {
    fn look(ours: &HashSet<PathBuf>) -> Self {
        let mut kept = Self::default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for (netns, at) in named::mounted(&mounts) {
            if ours.contains(at) {
                kept.named.insert(netns)
            } else {
                kept.inhabited.insert(netns)
            };
        }
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let lived_in = processes
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| fs::metadata(netns_path(pid)).ok())
            .map(|found| found.ino());
        kept.inhabited.extend(lived_in);
        kept
    }
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

pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}
