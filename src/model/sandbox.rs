//! The network namespace that a container lives in, and how it was found.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a container's network namespace is to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetnsRef {
    /// That of this process, a pid in our pid namespace.
    Pid(i32),
    /// What this path leads to, as `/run/netns/NAME`.
    Path(PathBuf),
}

/// A network namespace, so that another that was given its number, or a process that was given
/// its process's pid, is not mistaken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The inode of the network namespace.
    pub netns: u64,
    /// The boot that all of this belongs to.
    pub boot_id: String,
    /// By what it was found.
    pub found_by: FoundBy,
}

/// By what a network namespace was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundBy {
    /// The container's first process.
    Process {
        /// Its pid in our pid namespace.
        pid: i32,
        /// When it started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
        start_time: u64,
    },
    /// A path.
    Path(PathBuf),
}

impl Sandbox {
    /// The container's first process, if that is what it was found by.
    pub fn pid(&self) -> Option<i32> {
        if let FoundBy::Process { pid, .. } = self.found_by { Some(pid) } else { None }
    }

    /// Its path, if that is what it was found by.
    pub fn path(&self) -> Option<&Path> {
        match &self.found_by {
            FoundBy::Process { .. } => None,
            FoundBy::Path(path) => Some(path),
        }
    }

    /// What steps call it that are taken there.
    pub fn netns(&self) -> Netns {
        self.pid().map_or(Netns::Path, Netns::Pid)
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.found_by {
            FoundBy::Process { pid, .. } => write!(f, "process {pid}"),
            FoundBy::Path(path) => write!(f, "network namespace {}", path.display()),
        }
    }
}

/// In which network namespace a step is taken. As text it is what stands before the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Netns {
    /// The host's.
    Host,
    /// The container's, which is that of this process.
    Pid(i32),
    /// The container's, which was found by a path; commands call it `$NETNS`.
    Path,
}

impl Netns {
    /// The process whose it is.
    pub fn pid(self) -> Option<i32> {
        if let Self::Pid(pid) = self { Some(pid) } else { None }
    }

    /// What `ip link` calls it after `netns`.
    pub fn name(self) -> String {
        match self {
            Self::Host => "1".to_owned(),
            Self::Pid(pid) => pid.to_string(),
            Self::Path => "$NETNS".to_owned(),
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => Ok(()),
            Self::Pid(pid) => write!(f, "nsenter -t {pid} -n "),
            Self::Path => f.write_str("nsenter --net=$NETNS "),
        }
    }
}

/// When a process started, in clock ticks since boot, as its `/proc/PID/stat` has it
/// (`proc_pid_stat(5)`, field 22); `None` if it is dead, as a zombie is.
pub fn start_time(stat: &str) -> Option<&str> {
    // The name before the last parenthesis may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    match fields.next() {
        None | Some("Z" | "X") => None,
        Some(_) => Some(fields.nth(18).unwrap_or_default()),
    }
}
