//! The one file that is written outside of the state directory, for other hooks to read; and
//! files of containers, which are only read.
//!
//! Bundles may belong to somebody else, and we are root: symbolic links are followed up to the
//! base directory and nowhere below it, and nothing but a plain file is ever opened.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{SYSFS_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{leased, process};
use crate::error::{Doing, Error, Result};
use crate::model::sandbox::Sandbox;

/// The most that is read of a container's resolv.conf, in bytes.
pub const MAX_RESOLV_CONF: u64 = 64 << 10;

/// How long the text of an address is at most, with a line's end; in bytes.
const LONGEST_ADDRESS: u64 = 46;

/// Writes `contents` to the file `path` below the directory `base`. Where that fails, what was
/// written is removed.
///
/// # Errors
/// A component of `path` is a symbolic link or leads out of `base`; what is there is not a
/// plain file of a single name, or says anything but an address, as the bundle's `config.json`
/// does; or it cannot be written.
pub fn write(base: &Path, path: &Path, contents: &str) -> io::Result<()> {
    let mut file = open(base, path, OFlag::O_RDWR | OFlag::O_CREAT)?;
    let mut found = Vec::new();
    let read = (&file).take(LONGEST_ADDRESS + 1).read_to_end(&mut found);
    // Still empty, if it was not there before.
    read.inspect_err(|_| drop(remove(base, path, "")))?;
    let of_an_address = |octet: &u8| octet.is_ascii_hexdigit() || b".:\n".contains(octet);
    if found.len() as u64 > LONGEST_ADDRESS || !found.iter().all(of_an_address) {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "it exists and is not an address"));
    }
    let mut write = || {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(contents.as_bytes())
    };
    write().inspect_err(|_| drop(remove(base, path, contents)))
}

/// Removes the file again, if it still says `contents`, or the beginning of it, as when its
/// writer was killed: otherwise it has become somebody else's.
///
/// # Errors
/// It cannot be removed; already gone is fine, and so is a link that was put in its place.
pub fn remove(base: &Path, path: &Path, contents: &str) -> io::Result<()> {
    let mut found = Vec::new();
    match open(base, path, OFlag::O_RDONLY) {
        Err(error) if is_not_ours(&error) => return Ok(()),
        file => file?.take(contents.len() as u64 + 1).read_to_end(&mut found)?,
    };
    if !contents.as_bytes().starts_with(&found) {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let directory = open_below(base, parent, OFlag::O_DIRECTORY | OFlag::O_PATH)?;
    match unlinkat(&directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The root directory that the process of the container `id` sees, open to start from only.
///
/// # Errors
/// The container was not found by a process; the process is gone, or its pid has been given to
/// another one.
pub fn root_of(sandbox: &Sandbox, id: &str) -> Result<File> {
    let operation = || format!("open the root directory of container {id}");
    let gone = || Error::new(operation(), format!("{sandbox} is gone"));
    let path = format!("/proc/{}/root", sandbox.pid().ok_or_else(gone)?);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = nix::fcntl::open(path.as_str(), flags, Mode::empty()).doing(operation)?;
    // Asked afterwards: then it had the pid before too.
    if process::is_running(sandbox).doing(operation)? { Ok(File::from(root)) } else { Err(gone()) }
}

/// The beginning of the resolv.conf, a plain file, of a process whose root is open as `root`.
/// Whoever lives there decides what the path leads to, but never out of the root.
///
/// # Errors
/// There is no such file, or it is no plain one, or an empty one.
pub fn resolv_conf_in(root: &File) -> io::Result<Vec<u8>> {
    // Opening anything but a plain file may wait for ever or set something off.
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let found = File::from(openat2(root, "etc/resolv.conf", how)?);
    // By their mode so are those in /proc and /sys, which may do something when they are read;
    // but they are empty, or of a file system of their own.
    let metadata = found.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 || fstatfs(&found)?.filesystem_type() == SYSFS_MAGIC {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a plain file"));
    }
    let mut contents = Vec::new();
    let same = format!("/proc/self/fd/{}", found.as_raw_fd());
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    leased::open(|| options.open(&same))?.take(MAX_RESOLV_CONF).read_to_end(&mut contents)?;
    Ok(contents)
}

/// The beginning of the file `path` below the directory `base`.
///
/// # Errors
/// Those of [`write`], or there is none.
pub(super) fn read(base: &Path, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    open(base, path, OFlag::O_RDONLY)?.take(most).read_to_end(&mut contents)?;
    Ok(contents)
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(nix::libc::ELOOP)
}

fn open(base: &Path, path: &Path, flags: OFlag) -> io::Result<File> {
    let file = File::from(leased::open(|| open_below(base, path, flags | OFlag::O_NONBLOCK))?);
    let found = file.metadata()?;
    if found.is_file() && found.nlink() == 1 {
        Ok(file)
    } else {
        Err(io::Error::new(ErrorKind::InvalidInput, "it exists and is not a plain file of one name"))
    }
}

fn open_below(base: &Path, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let directory = File::open(base)?;
    let mode = if flags.contains(OFlag::O_CREAT) { Mode::from_bits_truncate(0o644) } else { Mode::empty() };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(&directory, path, how)?)
}
