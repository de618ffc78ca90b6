//! Kernel parameters below `/proc/sys`, which for `net/` are those of one network namespace.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// Where most of what we read and write is.
const FAMILIES: [&str; 2] = ["net/ipv4/", "net/ipv6/"];

/// How many network namespaces have to be known before a `/proc` of our own is faster.
const CROWD: u64 = 150;

/// The parameters of the network namespace of the thread that asks first; each family's directory
/// is opened once.
#[derive(Debug, Default)]
pub struct Sysctl {
    is_crowded: bool,
    proc: OnceCell<File>,
    families: [OnceCell<File>; 2],
}

impl Sysctl {
    /// Those of a network namespace that has not been looked at before, one of so many.
    ///
    /// In the common `/proc` the kernel keeps the directories of all namespaces under one name, and
    /// goes through them for one that it does not know: 40 µs for what a container gets if it is
    /// alone, and 1 ms with 1,000. In one of our own it takes 170 µs, half of which is unmounting.
    pub(super) fn among(namespaces: u64) -> Self {
        Self { is_crowded: namespaces > CROWD, ..Self::default() }
    }

    /// The value of `key`, without its newline; `None` if this kernel or namespace has no such
    /// key.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, key: &str) -> io::Result<Option<String>> {
        let mut value = String::new();
        match self.open(key, OFlag::O_RDONLY).and_then(|mut file| file.read_to_string(&mut value)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(|_| Some(value.trim().to_owned())),
        }
    }

    /// Sets `key`.
    ///
    /// # Errors
    /// It does not exist or cannot be written, as on a read-only `/proc/sys`.
    pub fn write(&self, key: &str, value: &str) -> io::Result<()> {
        self.open(key, OFlag::O_WRONLY)?.write_all(value.as_bytes())
    }

    /// Sets `key` back; gone with its device is fine.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn restore(&self, key: &str, value: &str) -> io::Result<()> {
        match self.write(key, value) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Whether this kernel has IPv6 at all.
    ///
    /// # Errors
    /// Nobody knows.
    pub fn has_ipv6(&self) -> io::Result<bool> {
        match self.family(1) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            found => found.map(|_| true),
        }
    }

    fn open(&self, key: &str, how: OFlag) -> io::Result<File> {
        let known = FAMILIES.iter().enumerate();
        let below = known.filter_map(|(at, family)| Some((at, key.strip_prefix(family)?))).next();
        match below {
            Some((at, name)) => open_in(self.family(at)?, name, how),
            None => open_in(self.proc()?, &format!("sys/{key}"), how),
        }
    }

    fn family(&self, at: usize) -> io::Result<&File> {
        let open = || open_in(self.proc()?, &format!("sys/{}", FAMILIES[at]), OFlag::O_DIRECTORY);
        once(&self.families[at], open)
    }

    fn proc(&self) -> io::Result<&File> {
        let common = || File::open("/proc");
        once(&self.proc, || if self.is_crowded { own_proc().or_else(|_| common()) } else { common() })
    }
}

/// What is in the cell, or what `open` opens.
fn once<T>(cell: &OnceCell<T>, open: impl FnOnce() -> io::Result<T>) -> io::Result<&T> {
    if let Some(opened) = cell.get() {
        return Ok(opened);
    }
    let opened = open()?;
    Ok(cell.get_or_init(|| opened))
}

fn open_in(directory: &File, path: &str, how: OFlag) -> io::Result<File> {
    Ok(File::from(openat(directory, path, how | OFlag::O_CLOEXEC, Mode::empty())?))
}

/// A `/proc` that nobody else sees, mounted nowhere.
///
/// # Errors
/// The kernel has no such calls, or does not let us; or somebody wants nothing below `/proc/sys`
/// to be written.
fn own_proc() -> io::Result<File> {
    if statvfs("/proc/sys")?.flags().contains(FsFlags::ST_RDONLY) {
        return Err(ErrorKind::ReadOnlyFilesystem.into());
    }
    let proc = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&proc)?;
    Ok(fsmount(&proc, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?.into())
}
