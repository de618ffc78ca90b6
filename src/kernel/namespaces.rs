//! A network namespace whose container may be dead, found by its number.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::alive::if_any;
use super::named;
use super::netlink::Netlink;
use super::process::{netns_path, start_time};
use crate::model::sandbox::NetnsRef;

/// The network namespace with this inode, by whatever still keeps it: its process, another
/// process in it, a mount, or an open file. Asks in this order, since each question costs more
/// than the one before. The number may have been given to another namespace since.
pub(super) fn find(pid: Option<i32>, netns: u64) -> Option<File> {
    let own = fs::metadata("/proc/thread-self/ns/net").ok()?;
    if netns == own.ino() {
        return None;
    }
    let is = |found: &Metadata| (found.dev(), found.ino()) == (own.dev(), netns);
    let open = |path: PathBuf| {
        // Opening what is no namespace may do something. Between the two another may have got
        // the path: only the open file is sure.
        let file =
            fs::metadata(&path).is_ok_and(|found| is(&found)).then(|| File::open(path).ok()).flatten()?;
        file.metadata().is_ok_and(|found| is(&found)).then_some(file)
    };
    pid.and_then(|pid| open(netns_path(pid).into()))
        .or_else(|| processes().find_map(|process| open(process.join("ns/net"))))
        .or_else(|| mounted(netns).and_then(open))
        .or_else(|| processes().flat_map(|process| opened_by(process, netns)).find_map(open))
}

/// By what the network namespaces can be found that this one knows by `numbers`: of each the
/// process in it that started first or, without any, a mount that is none of `ours`.
///
/// # Errors
/// Something cannot be read that is there: who is not found then may live.
pub fn keepers(netlink: &Netlink, numbers: &[i32], ours: &[PathBuf]) -> io::Result<HashMap<i32, NetnsRef>> {
    let mut known: HashMap<u64, Option<i32>> = HashMap::new();
    let mut number = |path: &Path| {
        let Some(netns) = if_any(File::open(path))? else { return Ok(None) };
        let inode = netns.metadata()?.ino();
        if let Entry::Vacant(unknown) = known.entry(inode) {
            unknown.insert(netlink.number_of(netns.as_fd())?.filter(|number| numbers.contains(number)));
        }
        io::Result::Ok(known.get(&inode).copied().flatten())
    };
    let (mut first, mut found) = (HashMap::new(), HashMap::new());
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(number) = number(&entry.path().join("ns/net"))? else { continue };
        let Some(started) = if_any(start_time(pid))? else { continue };
        if first.get(&number).is_none_or(|earliest| started < *earliest) {
            first.insert(number, started);
            found.insert(number, NetnsRef::Pid(pid));
        }
    }
    let mounts = named::mountinfo("self")?;
    for (_, at) in named::mounted(&mounts).filter(|(_, at)| !ours.iter().any(|our| our == at)) {
        if let Some(number) = number(at)? {
            found.entry(number).or_insert_with(|| NetnsRef::Path(at.to_path_buf()));
        }
    }
    Ok(found)
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit();
    entries.filter(is_process).map(|entry| entry.path())
}

/// Where it is mounted, as below `/run/netns`.
fn mounted(netns: u64) -> Option<PathBuf> {
    let mounts = named::mountinfo("self").ok()?;
    named::mounted(&mounts).find(|(inode, _)| *inode == netns).map(|(_, at)| at.to_path_buf())
}

/// The files of a process that are open on it.
fn opened_by(process: PathBuf, netns: u64) -> Vec<PathBuf> {
    let link = PathBuf::from(format!("net:[{netns}]"));
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files.map(|file| file.path()).filter(|path| fs::read_link(path).is_ok_and(|to| to == link)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_and_one_that_nobody_has_are_not_found() {
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert!(find(Some(std::process::id() as i32), own).is_none());
        assert!(find(Some(std::process::id() as i32), 1).is_none() && find(None, 1).is_none());
    }
}
