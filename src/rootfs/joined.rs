//! The `hosts` files of those who are on several networks at once, or who call others besides: one for
//! each combination, with the lines of all its networks and those besides.
//!
//! A line of a network has its slot there by its own slot, and so nothing has to be claimed.
//! Whoever writes a line of a network finds in `with/`, beside its `hosts`, what that is a part
//! of: a link `PLACE-COUNT-NAME` to each such directory. A network that is in no combination has no
//! `with/`, and costs one question.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::names::{self, free_line, put_line, read_line, read_slot};
use crate::model::hosts::{SLOT, header, names_the_host};
use crate::model::network::NetworkName;

const WITH: &str = "with";

/// Makes the directory `dir` with the lines of these networks, whose directories are beside it, and
/// with `lines` of its own, as those of one network more.
pub(super) fn make(dir: &Path, networks: &[NetworkName], lines: &[String]) -> io::Result<()> {
    let first =
        networks.first().map(|network| File::open(dir.with_file_name(network.as_str()).join("hosts")));
    let first = first.and_then(io::Result::ok).filter(|_| !names_the_host(lines));
    let header = first.map_or_else(|| Ok(header(None)), |first| read_slot(&first, 0))?;
    names::make_with(dir, &header, false)?;
    let count = networks.len() + usize::from(!lines.is_empty());
    for (slot, line) in (1..).zip(lines) {
        let there = slot_in(slot, networks.len(), count).ok_or(ErrorKind::InvalidInput)?;
        put_line(&dir.join("hosts"), there, line)?;
    }
    let name = dir.file_name().and_then(|name| name.to_str()).ok_or(ErrorKind::InvalidInput)?;
    for (at, network) in networks.iter().enumerate() {
        let from = dir.with_file_name(network.as_str());
        DirBuilder::new().recursive(true).mode(0o700).create(from.join(WITH))?;
        let link = from.join(WITH).join(format!("{at}-{count}-{name}"));
        match symlink(Path::new("../..").join(name), link) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            linked => linked?,
        }
        copy(&from.join("hosts"), &dir.join("hosts"), at, count)?;
    }
    Ok(())
}

/// Copies the lines that are there. Whoever writes one from now on finds the link, so a line that
/// is the same after it was copied as before stays right.
fn copy(from: &Path, to: &Path, at: usize, count: usize) -> io::Result<()> {
    let file = match File::open(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let slots = u32::try_from(file.metadata()?.len() / SLOT as u64).unwrap_or(u32::MAX);
    for slot in 1..slots {
        let Some(there) = slot_in(slot, at, count) else { continue };
        let mut line = read_line(&file, slot)?;
        loop {
            line.iter().try_for_each(|line| put_line(to, there, line))?;
            let now = read_line(&file, slot)?;
            if now == line {
                break;
            }
            line.iter().try_for_each(|line| free_line(to, there, line))?;
            line = now;
        }
    }
    Ok(())
}

/// Removes the directory, and every link to it.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    let entries = |dir: &Path| match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect::<io::Result<Vec<_>>>(),
    };
    for network in dir.parent().map_or(Ok(Vec::new()), entries)? {
        let with = network.path().join(WITH);
        for link in entries(&with)? {
            if fs::read_link(link.path()).is_ok_and(|target| target.file_name() == dir.file_name()) {
                fs::remove_file(link.path())?;
            }
        }
        let _ = fs::remove_dir(with);
    }
    names::remove(dir)
}

/// The files that a slot of a network's file stands in too, and where.
pub(super) fn with(network: &Path, slot: u32) -> io::Result<Vec<(PathBuf, u32)>> {
    let links = match fs::read_dir(network.join(WITH)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        links => links?,
    };
    let mut found = Vec::new();
    for link in links {
        let link = link?.file_name();
        let place = link.to_str().and_then(|link| {
            let (at, rest) = link.split_once('-')?;
            let (count, name) = rest.split_once('-')?;
            let slot = slot_in(slot, at.parse().ok()?, count.parse().ok()?)?;
            Some((network.with_file_name(name).join("hosts"), slot))
        });
        found.extend(place);
    }
    Ok(found)
}

/// Where a network's slot is in the file of `count` networks of which it is the one `at`.
fn slot_in(slot: u32, at: usize, count: usize) -> Option<u32> {
    let before = slot.checked_sub(1)?.checked_mul(u32::try_from(count).ok()?)?;
    before.checked_add(u32::try_from(at).ok()?)?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rootfs::names::{add_line, remove_line};

    fn lines(dir: &Path) -> Vec<String> {
        let text = fs::read_to_string(dir.join("hosts")).unwrap();
        let lines = text.lines().map(str::trim_end).filter(|line| !line.starts_with('#'));
        lines.skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn a_combination_has_the_lines_of_its_networks_whoever_comes_and_goes() {
        let names = std::env::temp_dir().join(format!("netns-joined-{}", std::process::id()));
        let _ = fs::remove_dir_all(&names);
        let [a, b, both] = ["a", "b", "a+b"].map(|name| names.join(name));
        let networks: Vec<NetworkName> = ["a", "b"].map(|name| name.parse().unwrap()).into();
        for dir in [&a, &b] {
            names::make(dir, None).unwrap();
            add_line(
                &dir.join("hosts"),
                3,
                &format!("10.0.0.3 early-{}", dir.file_name().unwrap().display()),
            )
            .unwrap();
        }
        make(&both, &networks, &[]).unwrap();
        make(&both, &networks, &[]).unwrap();
        add_line(&a.join("hosts"), 1, "10.0.0.1 late").unwrap();
        assert_eq!(lines(&both), ["10.0.0.1 late", "10.0.0.3 early-a", "10.0.0.3 early-b"]);
        assert_eq!(lines(&a), ["10.0.0.1 late", "10.0.0.3 early-a"]);
        remove_line(&b.join("hosts"), 3, "10.0.0.3 early-b").unwrap();
        remove_line(&a.join("hosts"), 1, "").unwrap();
        assert_eq!(lines(&both), ["10.0.0.3 early-a"]);
        remove(&both).unwrap();
        remove(&both).unwrap();
        assert!(!a.join(WITH).exists() && !both.exists());
        add_line(&a.join("hosts"), 1, "10.0.0.1 alone").unwrap();
        fs::remove_dir_all(&names).unwrap();
    }

    #[test]
    fn a_combination_that_is_made_while_others_come_and_go_ends_up_right() {
        let names = std::env::temp_dir().join(format!("netns-joining-{}", std::process::id()));
        let _ = fs::remove_dir_all(&names);
        let [a, both] = ["a", "a+b"].map(|name| names.join(name));
        let networks: Vec<NetworkName> = ["a", "b"].map(|name| name.parse().unwrap()).into();
        names::make(&a, None).unwrap();
        std::thread::scope(|scope| {
            for first in 1..=4u32 {
                let hosts = a.join("hosts");
                scope.spawn(move || {
                    for round in 0..200 {
                        for slot in (0..8).map(|n| first + 4 * n) {
                            let line = |round| format!("10.0.{first}.{slot} n{round}");
                            if round > 0 {
                                remove_line(&hosts, slot, &line(round - 1)).unwrap();
                            }
                            add_line(&hosts, slot, &line(round)).unwrap();
                        }
                    }
                });
            }
            for _ in 0..50 {
                make(&both, &networks, &[]).unwrap();
            }
        });
        assert_eq!(lines(&both), lines(&a));
        assert_eq!(lines(&both).len(), 32);
        fs::remove_dir_all(&names).unwrap();
    }
}
