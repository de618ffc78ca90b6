//! Our files as one container sees them: by an overlay of its own over the directory that they
//! are in (`overlayfs`), which is read-only from its birth.
//!
//! It reads what stands in our files now, but the inodes that it reaches are its own. On one
//! inode in all containers any of them could hold a lease or a lock, and keep us and all its
//! neighbours waiting; even where it can only read, and has no capability.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, move_mount, open_tree,
};

use super::mounts::ITSELF;
use super::patience::within;
use crate::model::mount::{BindMount, BindMounts};

/// The second layer, which has nothing in it. No network is called so.
pub(super) const EMPTY: &str = ".empty";
/// What the container must not be able to do with what others see too.
const HARDENED: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// A mount of each file of `step` alone, attached nowhere yet.
///
/// # Errors
/// There is no such file; or the kernel has no `overlayfs`.
pub(super) fn of(step: &BindMounts) -> io::Result<Vec<OwnedFd>> {
    let overlay = whole(step)?;
    match clones(step, &overlay) {
        // Linux before 6.15 clones nothing that is attached nowhere.
        Err(Errno::EINVAL) => clones_of_attached(step, overlay),
        trees => Ok(trees?),
    }
}

/// A mount of the directory that the files are in, attached nowhere.
fn whole(step: &BindMounts) -> io::Result<OwnedFd> {
    let dir = directory(step)?;
    // Without an upper layer, which makes it one that nobody can write to, there must be two.
    let empty = dir.with_file_name(EMPTY);
    match DirBuilder::new().mode(0o700).create(&empty) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let path = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let layers = [open(dir, path, Mode::empty())?, open(&empty, path, Mode::empty())?];
    // As numbers: a path may have a colon.
    let [upper, lower] = layers.each_ref().map(|layer| format!("/proc/self/fd/{}", layer.as_raw_fd()));
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(overlay.as_fd(), "source", step.label.as_str())?;
    fsconfig_set_string(overlay.as_fd(), "lowerdir", format!("{upper}:{lower}"))?;
    fsconfig_create(overlay.as_fd())?;
    Ok(fsmount(overlay.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, HARDENED)?)
}

/// The directory that all files of a step are in.
fn directory(step: &BindMounts) -> io::Result<&Path> {
    let first = step.files.first().and_then(|file| file.source.parent());
    first.ok_or_else(|| ErrorKind::InvalidInput.into())
}

/// A mount of each file alone.
fn clones(step: &BindMounts, overlay: &OwnedFd) -> nix::Result<Vec<OwnedFd>> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = |file: &BindMount| {
        let name = file.source.file_name().ok_or(Errno::EINVAL)?;
        open_tree(overlay, name, flags).map_err(|error| Errno::from_raw(error.raw_os_error()))
    };
    step.files.iter().map(clone).collect()
}

/// As [`clones`], from where it is attached meanwhile: in a namespace that nobody else is in.
fn clones_of_attached(step: &BindMounts, overlay: OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let step = step.clone();
    within(Duration::MAX, move |_| {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let at = open(directory(&step)?, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
        move_mount(&overlay, "", &at, "", ITSELF)?;
        Ok(clones(&step, &overlay)?)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    #[allow(clippy::print_stderr, reason = "it says why it is skipped")]
    fn older_kernels_clone_what_is_attached_meanwhile_where_nobody_sees_it() {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "skipped: mounting needs root");
            return eprintln!("skipped: mounting needs root");
        }
        let dir = std::env::temp_dir().join(format!("netns-overlay-{}", std::process::id()));
        fs::create_dir_all(dir.join("front")).unwrap();
        let source = dir.join("front/hosts");
        fs::write(&source, "127.0.0.1 localhost\n").unwrap();
        let step = BindMounts {
            pid: 1,
            mntns: 1,
            root: PathBuf::from("/"),
            runs: true,
            careful: true,
            label: "netns-test".to_owned(),
            files: vec![BindMount { source, name: "hosts".to_owned(), asked: true }],
        };
        let attached = clones_of_attached(&step, whole(&step).unwrap()).unwrap();
        let direct = of(&step).unwrap();
        for tree in attached.iter().chain(&direct) {
            let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
            assert_eq!(fs::read_to_string(&path).unwrap(), "127.0.0.1 localhost\n");
            assert!(fs::File::options().write(true).open(&path).is_err(), "read-only");
        }
        let seen = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!seen.contains("netns-test"), "{seen}");
        fs::remove_dir_all(dir).unwrap();
    }
}
