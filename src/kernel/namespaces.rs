//! The way into a network namespace whose container may be dead.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The network namespace with this inode, by whatever still holds it: its process, another
/// process in it, a mount, or an open file. Asks in this order, since each question costs more
/// than the one before. The number may have been given to another namespace since.
pub(super) fn find(pid: i32, netns: u64) -> Option<File> {
    let own = fs::metadata("/proc/thread-self/ns/net").ok()?.ino();
    if netns == own {
        return None;
    }
    let open = |path: PathBuf| {
        let it_is = fs::metadata(&path).is_ok_and(|found| found.ino() == netns);
        // Between the two another may have got the path: only the open file is sure.
        let file = it_is.then(|| File::open(path).ok()).flatten()?;
        file.metadata().is_ok_and(|found| found.ino() == netns).then_some(file)
    };
    open(format!("/proc/{pid}/ns/net").into())
        .or_else(|| processes().find_map(|process| open(process.join("ns/net"))))
        .or_else(|| mounted(netns).and_then(open))
        .or_else(|| processes().flat_map(|process| held_by(process, netns)).find_map(open))
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
    entries.filter(is_process).map(|entry| entry.path())
}

/// Where it is mounted, as below `/run/netns`.
fn mounted(netns: u64) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let root = format!("net:[{netns}]");
    let mount = mounts.lines().find(|line| line.split(' ').nth(3) == Some(&root))?;
    mount.split(' ').nth(4).map(PathBuf::from)
}

/// The files of a process that are open on it.
fn held_by(process: PathBuf, netns: u64) -> Vec<PathBuf> {
    let link = PathBuf::from(format!("net:[{netns}]"));
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.map(|file| file.path()).filter(|path| fs::read_link(path).is_ok_and(|to| to == link)).collect()
}
