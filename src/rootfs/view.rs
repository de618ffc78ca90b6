//! What a program of the host is to see in a container's network: its links in `/sys`, and its
//! resolv.conf, in a mount namespace that nobody else sees.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{SYSFS_MAGIC, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::files;
use super::patience::{Awaited, PATIENCE, within};
use crate::model::sandbox::Sandbox;

/// How every file system here is mounted.
const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

const RESOLV_CONF: &str = "/etc/resolv.conf";

const NONE: Option<&str> = None;

/// Moves this thread, which must be the only one, into the network namespace that is open and
/// a new mount namespace. What the host mounts later still appears there.
///
/// # Errors
/// The kernel refuses.
pub fn enter(netns: File) -> io::Result<()> {
    setns(netns, CloneFlags::CLONE_NEWNET)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount(NONE, "/", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)?)
}

/// Shows the links of this network namespace in `/sys`, which shows those of the one that it
/// was mounted in: another goes over it, and what is mounted below it, as cgroups, again on top.
///
/// # Errors
/// The kernel refuses.
pub fn show_links() -> io::Result<()> {
    if !statfs("/sys").is_ok_and(|found| found.filesystem_type() == SYSFS_MAGIC) {
        return Ok(());
    }
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let below = tops_below_sys(&mountinfo).into_iter();
    let below: Vec<(&Path, File)> = below.filter_map(|top| Some((top, open_path(top).ok()?))).collect();
    let read_only = statvfs("/sys").is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY));
    let flags = if read_only { HARMLESS | MsFlags::MS_RDONLY } else { HARMLESS };
    mount(Some("sysfs"), "/sys", Some("sysfs"), flags, NONE)?;
    for (top, file) in below {
        // A directory that belongs to another network namespace is not there to mount on.
        let _ = mount(Some(by_number(&file).as_str()), top, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE);
    }
    Ok(())
}

/// Where something is mounted below `/sys`, but not below another of these.
fn tops_below_sys(mountinfo: &str) -> Vec<&Path> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut tops: Vec<&Path> = points.filter(|point| point.parent().is_some_and(is_in_sys)).collect();
    tops.sort_unstable();
    tops.dedup_by(|point, top| point.starts_with(top));
    tops
}

fn is_in_sys(path: &Path) -> bool {
    path.starts_with("/sys")
}

/// Puts `text` over the resolv.conf of the host; one that is not there stays so.
///
/// `over` is a directory that exists: a file system of ours covers it for a moment.
///
/// # Errors
/// The kernel refuses.
pub fn show_resolv_conf(text: &[u8], over: &Path) -> io::Result<()> {
    if !Path::new(RESOLV_CONF).exists() {
        return Ok(());
    }
    mount(Some("tmpfs"), over, Some("tmpfs"), HARMLESS, Some("mode=0755,size=256k"))?;
    let copy = over.join("resolv.conf");
    fs::write(&copy, text)?;
    mount(Some(&copy), RESOLV_CONF, NONE, MsFlags::MS_BIND, NONE)?;
    Ok(umount2(over, MntFlags::MNT_DETACH)?)
}

/// What the resolv.conf of a container says; `None` where it has none of its own.
///
/// A container's files are its own: nothing of the host can be reached by them, nothing but a
/// plain file is opened, and only the beginning of it is read. For a namespace with a path it is
/// what `ip netns exec` takes, `/etc/netns/NAME/resolv.conf`.
pub fn resolv_conf(sandbox: &Sandbox, id: &str) -> Option<Vec<u8>> {
    let Some(path) = sandbox.path() else { return resolv_conf_inside(sandbox, id) };
    let its = Path::new("/etc/netns").join(path.file_name()?).join("resolv.conf");
    let mut text = Vec::new();
    File::open(its).ok()?.take(files::MAX_RESOLV_CONF).read_to_end(&mut text).ok()?;
    Some(text)
}

fn resolv_conf_inside(sandbox: &Sandbox, id: &str) -> Option<Vec<u8>> {
    let root = files::root_of(sandbox, id).ok()?;
    let read = move |_: &Awaited| {
        let (its, ours) = (root.metadata()?, fs::metadata("/")?);
        let own = (its.dev(), its.ino()) != (ours.dev(), ours.ino());
        own.then(|| files::resolv_conf_in(&root)).transpose()
    };
    within(PATIENCE, read).ok()?
}

fn open_path(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)
}

/// The path of an open file, whatever has become of its name.
fn by_number(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
