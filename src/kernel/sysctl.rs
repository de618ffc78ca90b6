//! Kernel parameters below `/proc/sys`, which for `net/` are those of one network namespace.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

/// Where most of what we read and write is.
const FAMILIES: [&str; 2] = ["net/ipv4/", "net/ipv6/"];

/// The parameters of the network namespace of the thread that asks first.
///
/// Each family's directory is looked up once: the kernel keeps those of all namespaces under
/// one name, and a look-up goes through them one by one (a quarter of a millisecond at 1,500
/// namespaces).
#[derive(Debug, Default)]
pub struct Sysctl {
    families: [OnceCell<Option<File>>; 2],
}

impl Sysctl {
    /// Those of the calling thread's network namespace, wherever they are used then. Of IPv6
    /// alone, as a container needs no other.
    pub(super) fn of_ipv6_here() -> Self {
        let here = Self::default();
        here.has_ipv6();
        here
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
    pub fn has_ipv6(&self) -> bool {
        self.family(1).is_some()
    }

    fn open(&self, key: &str, how: OFlag) -> io::Result<File> {
        let known = FAMILIES.iter().enumerate();
        let below = known.filter_map(|(at, family)| Some((at, key.strip_prefix(family)?))).next();
        let file = match below {
            Some((at, name)) => openat(
                self.family(at).ok_or(ErrorKind::NotFound)?,
                name,
                how | OFlag::O_CLOEXEC,
                Mode::empty(),
            ),
            None => {
                openat(AT_FDCWD, format!("/proc/sys/{key}").as_str(), how | OFlag::O_CLOEXEC, Mode::empty())
            }
        };
        Ok(File::from(file?))
    }

    fn family(&self, at: usize) -> Option<&File> {
        let open = || File::open(format!("/proc/sys/{}", FAMILIES[at])).ok();
        self.families[at].get_or_init(open).as_ref()
    }
}
