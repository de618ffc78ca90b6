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
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use super::process;
use crate::error::{Doing, Error, Result};
use crate::model::observed::NameHolder;
use crate::model::sandbox::{FoundBy, Sandbox};
use crate::model::step::NETNS_DIRECTORY;

/// The file of a name.
pub fn path(name: &str) -> PathBuf {
    Path::new(NETNS_DIRECTORY).join(name)
}

/// The network namespace that `path` leads to, open, for the container `id`. Symbolic links are
/// followed: a link to `/proc/PID/ns/net` is how many name a namespace by hand.
///
/// # Errors
/// There is nothing, or something else, or it is the caller's own: that is the host's.
pub(super) fn open(path: &Path, id: &str) -> Result<(File, Sandbox)> {
    let (found, sandbox) = find(path, id)?;
    let operation = || operation(path, id);
    // The very file that was found: the path may lead elsewhere by now.
    let netns = File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).doing(operation)?;
    match is_of_network(&netns).doing(operation)? {
        true => Ok((netns, sandbox)),
        false => Err(Error::new(operation(), "it is a namespace of another kind")),
    }
}

/// As [`open`], but not whether it is a network namespace: that takes privilege.
pub(super) fn observe(path: &Path, id: &str) -> Result<Sandbox> {
    find(path, id).map(|(_, sandbox)| sandbox)
}

/// Opened as a place only: to open a device may do something.
fn find(path: &Path, id: &str) -> Result<(File, Sandbox)> {
    let operation = || operation(path, id);
    let mut options = OpenOptions::new();
    let found = options.read(true).custom_flags(nix::libc::O_PATH).open(path).doing(operation)?;
    if fstatfs(&found).map_err(io::Error::from).doing(operation)?.filesystem_type() != NSFS_MAGIC {
        return Err(Error::new(operation(), "it is not a namespace"));
    }
    let netns = found.metadata().doing(operation)?.ino();
    if netns == process::own_netns().doing(operation)? {
        return Err(Error::new(operation(), "it is the host's own"));
    }
    let boot_id = process::boot_id().doing(operation)?;
    Ok((found, Sandbox { netns, boot_id, found_by: FoundBy::Path(path.to_path_buf()) }))
}

fn operation(path: &Path, id: &str) -> String {
    format!("attach container {id} by network namespace {}", path.display())
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

/// The mounts that a process sees, in the form of `proc_pid_mountinfo(5)`.
/// None, if the process is not to be seen.
pub(super) fn mountinfo(process: &str) -> io::Result<String> {
    match fs::read(format!("/proc/{process}/mountinfo")) {
        Err(error) if process::is_hidden(&error) => Ok(String::new()),
        bytes => Ok(String::from_utf8_lossy(&bytes?).into_owned()),
    }
}

/// The network namespaces that the mounts in such a text keep, and where.
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
pub fn holder(name: &str, netns: u64) -> io::Result<NameHolder> {
    let path = path(name);
    let found = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(NameHolder::Free),
        found => found?,
    };
    let behind = match fs::metadata(&path) {
        // A link to the namespace of a process that is dead.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(NameHolder::Stale),
        behind => behind?,
    };
    let other = |who: &str| Ok(NameHolder::Others(who.to_owned()));
    if is_namespace(&behind)? {
        let same = behind.ino() == netns;
        return if same { Ok(NameHolder::Same) } else { other("another namespace has this name") };
    }
    if !found.is_file() || found.len() > 0 {
        return other("what is there is not the name of a namespace");
    }
    match mounted_for_init(&path)? {
        None => Ok(NameHolder::Stale),
        Some(inode) if inode == netns => Ok(NameHolder::Same),
        Some(_) => other("another namespace has this name, on the host"),
    }
}

/// The namespace that is mounted there for the host's first process, whose mounts an engine may
/// not share: to remove the file would remove the name.
fn mounted_for_init(path: &Path) -> io::Result<Option<u64>> {
    Ok(mounted(&mountinfo("1")?).find(|(_, at)| *at == path).map(|(inode, _)| inode))
}

/// Gives the namespace that is open a name; one that it has already is fine, and one that leads
/// nowhere is replaced.
///
/// # Errors
/// The name is somebody else's, or it cannot be given; then nothing was done.
pub(super) fn add(name: &str, netns: BorrowedFd<'_>) -> io::Result<()> {
    let path = path(name);
    let source = format!("/proc/self/fd/{}", netns.as_raw_fd());
    match holder(name, fs::metadata(&source)?.ino())? {
        NameHolder::Same => return Ok(()),
        NameHolder::Others(who) => return Err(io::Error::new(ErrorKind::AlreadyExists, who)),
        NameHolder::Stale => fs::remove_file(&path)?,
        NameHolder::Free => {}
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
    match DirBuilder::new().mode(0o755).create(NETNS_DIRECTORY) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        // Whatever the umask.
        created => {
            created.and_then(|()| fs::set_permissions(NETNS_DIRECTORY, Permissions::from_mode(0o755)))?
        }
    }
    let none: Option<&str> = None;
    let share = || mount(none, NETNS_DIRECTORY, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none);
    match share() {
        Err(Errno::EINVAL) => {
            // iproute2 holds this lock while it does the same; anybody might, and for ever.
            let directory = File::open(NETNS_DIRECTORY)?;
            let _ = directory.try_lock_exclusive();
            let on_itself = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(NETNS_DIRECTORY), NETNS_DIRECTORY, none, on_itself, none)?;
            Ok(share()?)
        }
        shared => Ok(shared?),
    }
}

/// Removes a name of the namespace with the inode `netns`.
///
/// # Errors
/// It cannot be removed; already gone is fine, and so is one that became somebody else's.
pub(super) fn remove(name: &str, netns: u64) -> io::Result<()> {
    let path = path(name);
    let found = match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    // We make no links.
    if found.is_symlink() || matches!(holder(name, netns)?, NameHolder::Others(_)) {
        return Ok(());
    }
    match umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // Not mounted yet, or in other mount namespaces only: removing the file unmounts it there.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // Somebody else's may have been beneath it.
    if is_namespace(&fs::symlink_metadata(&path)?)? || matches!(holder(name, netns)?, NameHolder::Others(_)) {
        return Ok(());
    }
    fs::remove_file(&path)
}

/// Whether a file stands for a namespace, of whatever kind.
fn is_namespace(file: &fs::Metadata) -> io::Result<bool> {
    Ok(file.dev() == fs::metadata("/proc/self/ns/net")?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mounts_of_network_namespaces_are_told_from_all_others() {
        let text = "36 35 98:0 / /mnt rw - ext3 /dev/root rw\n\
                    97 21 0:4 net:[4026532281] /run/netns/web rw shared:9 - nsfs nsfs rw\n\
                    98 21 0:4 mnt:[4026532282] /run/mnt rw - nsfs nsfs rw\n99\n";
        let found: Vec<_> = mounted(text).collect();
        assert_eq!(found, [(4026532281, Path::new("/run/netns/web"))]);
    }

    #[test]
    fn what_is_no_network_namespace_of_a_container_is_refused() {
        for (path, reason) in [
            ("/dev/null", "it is not a namespace"),
            ("/nonexistent", "No such file"),
            ("/proc/self/ns/net", "it is the host's own"),
        ] {
            let error = open(Path::new(path), "a").unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
