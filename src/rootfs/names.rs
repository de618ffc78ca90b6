//! The files that containers have mounted: written in place, so that those who run see it, and
//! never so that anybody sees a half of it. The form of a `hosts` file is in
//! [`crate::model::hosts`].
//!
//! Several processes write at once. Each has slots of its own, which it has claimed in the
//! store: filling and freeing one that is there needs no lock. Whoever makes, lengthens or
//! rewrites a file holds the directory's lock, but does not wait under it for a container.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc::O_NOFOLLOW;

use super::{joined, lock};
use crate::model::hosts::{SLOT, blank, header, slot as slot_of};

/// Makes the directory of a network's files; without a `gateway`, a `hosts` file that is there will do.
pub(super) fn make(dir: &Path, gateway: Option<IpAddr>) -> io::Result<()> {
    make_with(dir, &header(gateway), gateway.is_none())
}

/// As [`make`], with this first slot.
pub(super) fn make_with(dir: &Path, header: &[u8], any: bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let _held = lock::hold(dir)?;
    let file = open(&dir.join("hosts"))?;
    let found = read_slot(&file, 0)?;
    if found == header || any && !found.is_empty() { Ok(()) } else { file.write_all_at(header, 0) }
}

/// Removes the directory and what is in it. Whoever has a file of it mounted keeps that file.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    or_gone(fs::remove_dir_all(dir))?;
    // The last one; if it is not, they stay, or the next one makes them again.
    let _ = fs::remove_dir(dir.with_file_name(super::overlay::EMPTY));
    let _ = dir.parent().map(fs::remove_dir);
    Ok(())
}

/// Writes `line` into a slot of a network's `hosts` file at `path`, and then into those that it is
/// a part of.
pub(super) fn add_line(path: &Path, slot: u32, line: &str) -> io::Result<()> {
    let dir = directory_of(path)?;
    let file = match open_existing(path) {
        // Somebody has tidied up: those who are attached keep the old one.
        Err(error) if error.kind() == ErrorKind::NotFound => make(dir, None).and(open_existing(path))?,
        file => file?,
    };
    write_line(&file, dir, slot, line)?;
    drop(file);
    let with = joined::with(dir, slot);
    let put = with.and_then(|with| with.iter().try_for_each(|(path, slot)| put_line(path, *slot, line)));
    // What fails has done nothing.
    put.inspect_err(|_| drop(remove_line(path, slot, line)))
}

/// Writes `line` into a slot of the file at `path`, if that is there.
pub(super) fn put_line(path: &Path, slot: u32, line: &str) -> io::Result<()> {
    match open_existing(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        file => write_line(&file?, directory_of(path)?, slot, line),
    }
}

fn write_line(file: &File, dir: &Path, slot: u32, line: &str) -> io::Result<()> {
    let (line, at) = (slot_of(line), offset(slot));
    if is_there(file, at)? {
        return fill(file, at, &line);
    }
    let _held = lock::hold(dir)?;
    // By now another may have lengthened it.
    if is_there(file, at)? { fill(file, at, &line) } else { append(file, at, &line) }
}

fn is_there(file: &File, at: u64) -> io::Result<bool> {
    Ok(file.metadata()?.len() >= at + SLOT as u64)
}

/// Fills a slot. It is free unless the record of whoever had it was damaged. A line begins to
/// be one with its first byte.
fn fill(file: &File, at: u64, line: &[u8]) -> io::Result<()> {
    if read_slot(file, at)?.first() != Some(&b'#') {
        file.write_all_at(b"#", at)?;
    }
    file.write_all_at(&line[1..], at + 1)?;
    file.write_all_at(&line[..1], at)
}

/// Lengthens the file so that it ends with this slot. Those before it that are new are free.
fn append(file: &File, at: u64, line: &[u8]) -> io::Result<()> {
    let size = file.metadata()?.len();
    let mut bytes = if size < SLOT as u64 { header(None) } else { Vec::new() };
    let start = size - size % SLOT as u64;
    while start + (bytes.len() as u64) < at {
        bytes.extend(blank());
    }
    bytes.extend(line);
    file.write_all_at(&bytes, start)
}

/// Frees the slot of a network's `hosts` file, and then of those that it is a part of, if it says
/// `line` or a part of it: otherwise it is another's. Without a `line`, whatever it says.
pub(super) fn remove_line(path: &Path, slot: u32, line: &str) -> io::Result<()> {
    free_line(path, slot, line)?;
    let with = joined::with(directory_of(path)?, slot)?;
    with.iter().try_for_each(|(path, slot)| free_line(path, *slot, line))
}

/// Frees the slot of one file.
pub(super) fn free_line(path: &Path, slot: u32, line: &str) -> io::Result<()> {
    let file = match open_existing(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let anything = line.is_empty();
    let (line, at) = (slot_of(line), offset(slot));
    let found = read_slot(&file, at)?;
    if found.is_empty() || !(anything || found.get(1..) == line.get(1..)) {
        return Ok(());
    }
    // One byte, and the line is none. The file keeps its length: whoever reads while it becomes
    // shorter gets zeros for what is gone.
    file.write_all_at(b"#", at)?;
    file.write_all_at(&blank()[1..], at + 1)
}

/// Writes a `resolv.conf`: shorter than before, it ends in empty lines for a moment.
pub(super) fn write_resolver(path: &Path, contents: &str) -> io::Result<()> {
    let dir = directory_of(path)?;
    let existing = match open_existing(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        file => Some(file?),
    };
    if existing.is_none() {
        make(dir, None)?;
    }
    let _held = lock::hold(dir)?;
    let file = existing.map_or_else(|| open(path), Ok)?;
    let before = file.metadata()?.len();
    let mut bytes = contents.as_bytes().to_vec();
    bytes.resize(contents.len().max(usize::try_from(before).unwrap_or_default()), b'\n');
    file.write_all_at(&bytes, 0)?;
    if bytes.len() > contents.len() { file.set_len(contents.len() as u64) } else { Ok(()) }
}

/// Removes a `resolv.conf`.
pub(super) fn remove_resolver(path: &Path) -> io::Result<()> {
    or_gone(fs::remove_file(path))
}

fn directory_of(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| ErrorKind::InvalidInput.into())
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * SLOT as u64
}

/// The line in a slot; `None` if it is free or beyond the end.
pub(super) fn read_line(file: &File, slot: u32) -> io::Result<Option<String>> {
    let bytes = read_slot(file, offset(slot))?;
    let line = bytes.first().is_some_and(|first| *first != b'#');
    Ok(line.then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// What is in a slot; nothing, if it is beyond the end.
pub(super) fn read_slot(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SLOT];
    match file.read_exact_at(&mut bytes, at) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Vec::new()),
        read => read.map(|()| bytes),
    }
}

fn or_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn open_existing(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(O_NOFOLLOW).open(path)
}

/// Opens a file, or makes one that all in a container may read, whatever the umask.
fn open(path: &Path) -> io::Result<File> {
    match open_existing(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        file => return file,
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o644);
    let file = options.open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use proptest::prelude::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("netns-names-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        make(&path, None).unwrap();
        path
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.len() % SLOT, 0, "whole slots");
        let lines = text.lines().map(str::trim_end).filter(|line| !line.starts_with('#'));
        lines.skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn a_slot_that_another_has_got_is_not_freed() {
        let dir = directory("another");
        let hosts = dir.join("hosts");
        add_line(&hosts, 1, "172.19.0.2 web").unwrap();
        remove_line(&hosts, 1, "172.19.0.3 db").unwrap();
        remove_line(&hosts, 9, "172.19.0.3 db").unwrap();
        assert_eq!(lines(&hosts), ["172.19.0.2 web"]);
        remove(&dir).unwrap();
        remove(&dir).unwrap();
        remove_line(&hosts, 1, "172.19.0.2 web").unwrap();
    }

    #[test]
    fn a_run_that_was_killed_between_two_writes_is_undone() {
        let dir = directory("killed");
        let hosts = dir.join("hosts");
        add_line(&hosts, 1, "172.19.0.2 web").unwrap();
        File::options().write(true).open(&hosts).unwrap().write_all_at(b"#", SLOT as u64).unwrap();
        remove_line(&hosts, 1, "172.19.0.2 web").unwrap();
        assert_eq!(lines(&hosts), [""; 0]);
        assert_eq!(read_slot(&File::open(&hosts).unwrap(), SLOT as u64).unwrap(), blank());
        remove(&dir).unwrap();
    }

    #[test]
    fn a_resolv_conf_is_rewritten_in_place() {
        let dir = directory("resolver");
        let path = dir.join("resolv.conf");
        let opened = {
            write_resolver(&path, "nameserver 10.0.0.53\nsearch lan\n").unwrap();
            File::open(&path).unwrap()
        };
        write_resolver(&path, "nameserver 1.1.1.1\n").unwrap();
        let mut bytes = [0; 64];
        let n = opened.read_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes[..n], b"nameserver 1.1.1.1\n", "whoever had it open sees it");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        remove(&dir).unwrap();
    }

    #[test]
    fn a_reader_sees_each_line_whole_or_not_at_all() {
        let dir = directory("reader");
        let hosts = dir.join("hosts");
        let line = |slot: u32| format!("172.19.1.{} c{slot} {}", slot % 250, "x".repeat(slot as usize % 90));
        let (stop, path) = (std::sync::atomic::AtomicBool::new(false), &hosts);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    for read in lines(path) {
                        let slot = read.split(['c', ' ']).nth(2).and_then(|slot| slot.parse().ok());
                        assert_eq!(read, slot.map(line).unwrap_or_default().trim_end());
                        seen += 1;
                    }
                }
                seen
            });
            for n in 0..20_000 {
                // Three hundred, in an order that is none.
                let slot = 1 + n * 7919 % 300;
                if n / 300 % 2 == 0 {
                    add_line(path, slot, &line(slot))
                } else {
                    remove_line(path, slot, &line(slot))
                }
                .unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
        remove(&dir).unwrap();
    }

    #[test]
    fn many_who_lengthen_the_file_at_once_lose_no_line() {
        let dir = directory("many");
        let hosts = dir.join("hosts");
        for _ in 0..20 {
            fs::remove_file(&hosts).unwrap();
            std::thread::scope(|scope| {
                for first in 1..=8 {
                    let hosts = &hosts;
                    scope.spawn(move || {
                        for slot in (0..8u32).rev().map(|n| first + 8 * n) {
                            add_line(hosts, slot, &format!("172.19.0.{slot} c{slot}")).unwrap();
                        }
                    });
                }
            });
            let expected: Vec<String> = (1..=64).map(|slot| format!("172.19.0.{slot} c{slot}")).collect();
            assert_eq!(lines(&hosts), expected);
        }
        assert_eq!(fs::metadata(dir.join("lock")).unwrap().permissions().mode() & 0o777, 0o600);
        remove(&dir).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Against a model: each slot says what was written last, and the file never gets shorter.
        #[test]
        fn whoever_came_and_went_the_others_lines_stay(
            events in proptest::collection::vec((1u32..40, any::<bool>()), 0..80),
        ) {
            let dir = directory("model");
            let hosts = dir.join("hosts");
            let (mut model, mut last): (BTreeMap<u32, String>, u64) = (BTreeMap::new(), 0);
            for (n, (slot, comes)) in events.into_iter().enumerate() {
                let line = format!("172.19.1.{slot} n{n}");
                match model.remove(&slot) {
                    Some(there) => remove_line(&hosts, slot, &there).unwrap(),
                    None if comes => {
                        add_line(&hosts, slot, &line).unwrap();
                        model.insert(slot, line);
                    }
                    None => remove_line(&hosts, slot, &line).unwrap(),
                }
                prop_assert_eq!(lines(&hosts), model.values().cloned().collect::<Vec<_>>());
                last = last.max(model.keys().next_back().map_or(0, |slot| u64::from(*slot)));
                prop_assert_eq!(fs::metadata(&hosts).unwrap().len(), (last + 1) * SLOT as u64);
            }
            remove(&dir).unwrap();
        }
    }
}
