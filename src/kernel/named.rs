//! Network namespaces by a path instead of a process, and the names that `ip-netns(8)` knows.
//!
//! A name is a bind mount of the namespace on a file in `/run/netns`, made exactly as iproute2
//! makes it, so that either can use and remove what the other has made.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fs2::FileExt;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::process::{self, Process};
use crate::error::{Doing, Error, Result};
use crate::plan::Name;

/// Where `ip-netns(8)` keeps names.
const DIRECTORY: &str = "/run/netns";

/// The file of a name.
pub fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// The network namespace that `path` leads to, open, for the container `id`. Symbolic links are
/// followed: a link to `/proc/PID/ns/net` is how many name a namespace by hand.
///
/// # Errors
/// There is nothing, or something else, or it is the caller's own: that is the host's.
pub fn open(path: &Path, id: &str) -> Result<(File, Process)> {
    let operation = || format!("attach container {id} by network namespace {}", path.display());
    let refuse = |cause: &str| Err(Error::new(operation(), cause));
    // Looked at before it is opened: to open a device may do something.
    if statfs(path).map_err(io::Error::from).doing(operation)?.filesystem_type() != NSFS_MAGIC {
        return refuse("it is not a namespace");
    }
    let netns = File::open(path).doing(operation)?;
    if !is_of_network(&netns).doing(operation)? {
        return refuse("it is a namespace of another kind");
    }
    let inode = netns.metadata().doing(operation)?.ino();
    if inode == process::own_netns().doing(operation)? {
        return refuse("it is the host's own");
    }
    let process = Process {
        pid: 0,
        start_time: 0,
        netns: inode,
        boot_id: process::boot_id().doing(operation)?,
        path: Some(path.to_path_buf()),
    };
    Ok((netns, process))
}

/// Only the kernel knows, and says so to a thread that enters.
fn is_of_network(netns: &File) -> io::Result<bool> {
    let enter = || setns(netns, CloneFlags::CLONE_NEWNET);
    match std::thread::scope(|scope| scope.spawn(enter).join()) {
        Ok(Err(Errno::EINVAL)) => Ok(false),
        Ok(entered) => Ok(entered.map(|()| true)?),
        Err(_) => Err(io::Error::other("the thread that entered it has died")),
    }
}

/// The network namespaces that the mounts in a text of `proc_pid_mountinfo(5)` keep, and where.
pub(super) fn mounted(mountinfo: &str) -> impl Iterator<Item = (u64, &Path)> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let inode = fields.next()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
        Some((inode, Path::new(fields.next()?)))
    })
}

/// Who has `name`, seen by one who wants it for the namespace with the inode `netns`.
///
/// # Errors
/// The directory cannot be read.
pub fn look(name: &str, netns: u64) -> io::Result<Name> {
    let path = path(name);
    let found = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Name::Free),
        found => found?,
    };
    let behind = match fs::metadata(&path) {
        // A link to the namespace of a process that is dead.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Name::Stale),
        behind => behind?,
    };
    let other = |who: &str| Ok(Name::Others(who.to_owned()));
    if is_namespace(&behind)? {
        return if behind.ino() == netns { Ok(Name::Same) } else { other("another namespace has this name") };
    }
    if !found.is_file() || found.len() > 0 {
        return other("what is there is not the name of a namespace");
    }
    match mounted_for_init(&path) {
        None => Ok(Name::Stale),
        Some(inode) if inode == netns => Ok(Name::Same),
        Some(_) => other("another namespace has this name, on the host"),
    }
}

/// The namespace that is mounted there for the host's first process, whose mounts an engine may
/// not share: to remove the file would remove the name.
fn mounted_for_init(path: &Path) -> Option<u64> {
    let mountinfo = fs::read_to_string("/proc/1/mountinfo").ok()?;
    mounted(&mountinfo).find(|(_, at)| *at == path).map(|(inode, _)| inode)
}

/// Gives the namespace that is open a name; one that it has already is fine, and one that leads
/// nowhere is replaced.
///
/// # Errors
/// The name is somebody else's, or it cannot be given; then nothing was done.
pub(super) fn give(name: &str, netns: BorrowedFd<'_>) -> io::Result<()> {
    let path = path(name);
    let source = format!("/proc/self/fd/{}", netns.as_raw_fd());
    match look(name, fs::metadata(&source)?.ino())? {
        Name::Same => return Ok(()),
        Name::Others(who) => return Err(io::Error::new(ErrorKind::AlreadyExists, who)),
        Name::Stale => fs::remove_file(&path)?,
        Name::Free => {}
    }
    make_directory()?;
    OpenOptions::new().write(true).create_new(true).mode(0o000).open(&path)?;
    let none: Option<&str> = None;
    mount(Some(source.as_str()), &path, none, MsFlags::MS_BIND, none).or_else(|error| {
        fs::remove_file(&path)?;
        Err(error.into())
    })
}

/// The directory, as a mount that passes on what is mounted in it: a name that one mount
/// namespace removes is then gone from all.
fn make_directory() -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        // Whatever the umask.
        created => created.and_then(|()| fs::set_permissions(DIRECTORY, Permissions::from_mode(0o755)))?,
    }
    let none: Option<&str> = None;
    let share = || mount(none, DIRECTORY, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        Err(Errno::EINVAL) => {
            // iproute2 holds this lock while it does the same; anybody might, and for ever.
            let directory = File::open(DIRECTORY)?;
            let _ = directory.try_lock_exclusive();
            let on_itself = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(DIRECTORY), DIRECTORY, none, on_itself, none)?;
            Ok(share()?)
        }
        shared => Ok(shared?),
    }
}

/// Takes a name from the namespace with the inode `netns`.
///
/// # Errors
/// It cannot be taken; already gone is fine, and so is one that became somebody else's.
pub(super) fn take(name: &str, netns: u64) -> io::Result<()> {
    let path = path(name);
    let found = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    // We make no links.
    if found.is_symlink() || matches!(look(name, netns)?, Name::Others(_)) {
        return Ok(());
    }
    match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // Not mounted yet, or in other mount namespaces only: removing the file unmounts it there.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // Somebody else's may have been beneath it.
    if is_namespace(&fs::symlink_metadata(&path)?)? || matches!(look(name, netns)?, Name::Others(_)) {
        return Ok(());
    }
    fs::remove_file(&path)
}

/// Whether a file stands for a namespace, of whatever kind.
fn is_namespace(file: &fs::Metadata) -> io::Result<bool> {
    Ok(file.dev() == fs::metadata("/proc/self/ns/net")?.dev())
}
