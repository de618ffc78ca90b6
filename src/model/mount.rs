//! Files of ours that are mounted over files in a container's `/etc`.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Files of ours over files in a container's `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMounts {
    /// A process in the container's mount namespace.
    pub pid: i32,
    /// The inode of that namespace.
    pub mntns: u64,
    /// The container's root directory, as it is to be found in that namespace.
    pub root: PathBuf,
    /// Whether the container runs already. If not, what is mounted goes with its namespace.
    pub runs: bool,
    /// Whether the files may be mounts already, and mounts may show on the host.
    pub careful: bool,
    /// What the mounts say that they are of, by which they are known again.
    pub label: String,
    /// The files, of one directory.
    pub files: Vec<BindMount>,
}

/// One file of ours over one in `/etc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// The file on the host.
    pub source: PathBuf,
    /// The name in `/etc`.
    pub name: String,
    /// Whether it was asked for: then failing is an error.
    pub asked: bool,
}

impl fmt::Display for BindMounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, BindMount { source, name, .. }) in self.files.iter().enumerate() {
            let and = if at == 0 { "" } else { " && " };
            let target = self.root.join("etc").join(name);
            let (pid, source, target) = (self.pid, source.display(), target.display());
            write!(f, "{and}nsenter -t {pid} -m mount -o bind,ro {source} {target}")?;
        }
        Ok(())
    }
}
