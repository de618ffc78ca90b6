//! By what a link is known that could be a container's forgery: the inode of its directory in
//! sysfs. It is given once and to no other, and a link keeps it under every name and in every
//! network namespace, while all that rtnetlink tells of a virtual link can be made again.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The links of one network namespace.
#[derive(Debug)]
pub(super) struct Sysfs(OwnedFd);

impl Sysfs {
    /// The links of the network namespace that this thread is in. What is mounted on `/sys` may
    /// show those of another.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn here() -> io::Result<Self> {
        let sysfs = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(sysfs.as_fd())?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        Ok(Self(fsmount(sysfs.as_fd(), flags, MountAttrFlags::MOUNT_ATTR_RDONLY)?))
    }

    /// The inode of the link called `name`.
    ///
    /// # Errors
    /// There is no such link.
    pub(super) fn inode_of(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(format!("{}/{name}", self.directory()))?.ino())
    }

    /// The number here of the link with this inode, if it is here.
    ///
    /// # Errors
    /// The links cannot be listed.
    pub(super) fn index_of(&self, inode: u64) -> io::Result<Option<u32>> {
        for entry in fs::read_dir(self.directory())? {
            // Another may have got the name by the time that it is asked for its number.
            let Ok(link) = File::open(entry?.path()) else { continue };
            if link.metadata()?.ino() == inode {
                let index = fs::read_to_string(format!("/proc/self/fd/{}/ifindex", link.as_raw_fd()));
                return Ok(index.ok().and_then(|index| index.trim().parse().ok()));
            }
        }
        Ok(None)
    }

    fn directory(&self) -> String {
        format!("/proc/self/fd/{}/class/net", self.0.as_raw_fd())
    }
}
