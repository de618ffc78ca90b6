//! The state directory itself, and how files in it are opened.

use std::fs::{self, DirBuilder, Metadata, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use crate::error::{Doing, Error, Result};

/// Makes a directory if it is not there. What is in it decides what root does next: nobody
/// else may write there.
pub(super) fn use_directory(dir: &Path) -> Result<()> {
    if let Ok(found) = fs::symlink_metadata(dir) {
        return check_directory(dir, &found);
    }
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.doing(|| format!("create state directory {}", dir.display()))
}

/// For reading and writing, by nobody but us, and never through a symbolic link.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    options
}

pub(super) fn check_directory(dir: &Path, found: &Metadata) -> Result<()> {
    let operation = || format!("use state directory {}", dir.display());
    let cause = if !found.is_dir() {
        "it is not a directory"
    } else if found.uid() != nix::unistd::geteuid().as_raw() {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others may write to it"
    } else {
        return Ok(());
    };
    Err(Error::new(operation(), cause).hint("remove it, or pass --state-dir with another one"))
}
