//! Whether a container, or anything else in its network namespace, is still there.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::{named, process};
use crate::error::{Doing, Result};
use crate::model::sandbox::{FoundBy, Sandbox};

/// The id of this boot.
///
/// # Errors
/// `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    process::boot_id()
}

/// Tells who is alive.
#[derive(Debug)]
pub struct Liveness {
    boot_id: String,
    /// Takes a walk through `/proc`: read only when a container's own process is dead.
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

impl Liveness {
    /// In this boot.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn new() -> Result<Self> {
        Ok(Self::of(boot_id().doing(|| "read the boot's id")?))
    }

    /// In this boot, whose id is known.
    pub fn of(boot_id: String) -> Self {
        Self { boot_id, kept: OnceCell::new(), ours: HashSet::new() }
    }

    /// The same, with names of namespaces that we have given: a name keeps a namespace, but
    /// a container that has nothing else is dead.
    #[must_use]
    pub fn ignoring(mut self, names: impl Iterator<Item = PathBuf>) -> Self {
        self.ours.extend(names);
        self
    }

    /// Whether what it was found by is still the same: the process, with its start time; or the
    /// path still leads to a namespace with its inode, as seen from here or, since an engine may
    /// have mounts of its own, by the host's first process.
    ///
    /// # Errors
    /// It cannot be looked at, which does not say that it is dead.
    pub fn is_running(&self, sandbox: &Sandbox) -> Result<bool> {
        if self.boot_id != sandbox.boot_id {
            return Ok(false);
        }
        let running = match &sandbox.found_by {
            FoundBy::Process { pid, start_time } => {
                if_any(process::start_time(*pid)).map(|started| started == Some(*start_time))
            }
            FoundBy::Path(path) => leads_to(path, sandbox.netns),
        };
        running.doing(|| format!("look at {sandbox}"))
    }

    /// Whether a process has this pid: [`Self::is_running`] at a lower price, one system call.
    /// Another process that was given the pid, and a zombie, pass for it.
    pub fn may_run(&self, pid: i32) -> bool {
        kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
    }

    /// Whether anything keeps a network namespace with this inode alive: any process or mount,
    /// but for a name that we have given. The number may have been given to another namespace
    /// since.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn is_inhabited(&self, sandbox: &Sandbox) -> Result<bool> {
        Ok(self.boot_id == sandbox.boot_id && self.kept()?.inhabited.contains(&sandbox.netns))
    }

    /// Whether a name that we have given keeps a network namespace with this inode.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn is_named(&self, sandbox: &Sandbox) -> Result<bool> {
        Ok(self.boot_id == sandbox.boot_id && self.kept()?.named.contains(&sandbox.netns))
    }

    fn kept(&self) -> Result<&Kept> {
        if let Some(kept) = self.kept.get() {
            return Ok(kept);
        }
        let kept = Kept::read(&self.ours).doing(|| "look for processes in network namespaces")?;
        Ok(self.kept.get_or_init(|| kept))
    }
}

/// What is not there, or not to be seen, is `None`.
pub(super) fn if_any<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if process::is_hidden(&error) => Ok(None),
        found => found.map(Some),
    }
}

fn leads_to(path: &Path, netns: u64) -> io::Result<bool> {
    let leads = |path: &Path| -> io::Result<bool> {
        Ok(if_any(fs::metadata(path))?.is_some_and(|found| found.ino() == netns))
    };
    let from_init = path.strip_prefix("/").map(|path| Path::new("/proc/1/root").join(path));
    Ok(leads(path)? || from_init.map_or(Ok(false), |path| leads(&path))?)
}

impl Kept {
    fn read(ours: &HashSet<PathBuf>) -> io::Result<Self> {
        let mut kept = Self::default();
        let mounts = named::mountinfo("self")?;
        for (netns, at) in named::mounted(&mounts) {
            let keeping = if ours.contains(at) { &mut kept.named } else { &mut kept.inhabited };
            keeping.insert(netns);
        }
        for entry in fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = pid else { continue };
            kept.inhabited.extend(if_any(fs::metadata(process::netns_path(pid)))?.map(|found| found.ino()));
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(netns: u64, found_by: FoundBy) -> Sandbox {
        Sandbox { netns, boot_id: boot_id().unwrap(), found_by }
    }

    #[test]
    fn only_the_same_process_of_the_same_boot_is_running() {
        let pid = std::process::id() as i32;
        let (own, start_time) = (process::own_netns().unwrap(), process::start_time(pid).unwrap());
        let same = sandbox(own, FoundBy::Process { pid, start_time });
        let liveness = Liveness::new().unwrap();
        assert!(liveness.is_running(&same).unwrap() && liveness.may_run(pid));
        assert!(liveness.is_inhabited(&same).unwrap());
        let another = sandbox(own, FoundBy::Process { pid, start_time: start_time + 1 });
        assert!(!liveness.is_running(&another).unwrap() && !liveness.is_named(&same).unwrap());
        let earlier = Liveness::of("another boot".to_owned());
        assert!(!earlier.is_running(&same).unwrap() && !earlier.is_inhabited(&same).unwrap());
    }

    #[test]
    fn a_path_is_running_while_it_leads_to_the_same_namespace() {
        let own = process::own_netns().unwrap();
        let path = |path: &str, netns| sandbox(netns, FoundBy::Path(path.into()));
        let liveness = Liveness::new().unwrap();
        assert!(liveness.is_running(&path("/proc/self/ns/net", own)).unwrap());
        assert!(!liveness.is_running(&path("/proc/self/ns/net", own + 1)).unwrap());
        assert!(!liveness.is_running(&path("/nonexistent", own)).unwrap());
    }
}
