//! The state directory itself.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use crate::error::{Doing, Error, Kind, Result};

/// Files of a layout that no released version has had.
const OLD: [&str; 2] = ["index", "catalogue"];

/// Makes the directory if it is not there.
pub(super) fn make(dir: &Path) -> Result<()> {
    if check(dir)? { Ok(()) } else { make_below(dir) }
}

/// Makes a directory of the state directory, or the state directory.
pub(super) fn make_below(dir: &Path) -> Result<()> {
    make_all(dir).doing(|| format!("create state directory {}", dir.display()))
}

/// Makes directories that nobody but us may look into.
pub(super) fn make_all(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Whether the directory is there. What is in it decides what root does next: nobody else may
/// write there.
pub(super) fn check(dir: &Path) -> Result<bool> {
    let operation = || format!("use state directory {}", dir.display());
    let found = match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        found => found.doing(operation)?,
    };
    let hint = if nix::unistd::geteuid().is_root() {
        "pass --state-dir with another one; what is in this one may be the state of containers that run"
    } else {
        "run this as root"
    };
    let cause = if !found.is_dir() {
        "it is not a directory"
    } else if found.uid() != nix::unistd::geteuid().as_raw() {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others may write to it"
    } else if let Ok(link) = fs::symlink_metadata(dir.join("containers"))
        && !link.is_dir()
    {
        "containers in it is not a directory"
    } else if OLD.iter().any(|name| fs::symlink_metadata(dir.join(name)).is_ok()) {
        let hint =
            "detach its containers with the program that made it, or restart the machine; then remove it";
        let cause =
            "it has the layout of an unreleased version (index, catalogue), which this one cannot read";
        return Err(Error::new(operation(), cause).of(Kind::Conflict).hint(hint));
    } else {
        return Ok(true);
    };
    Err(Error::new(operation(), cause).of(Kind::Denied).hint(hint))
}
