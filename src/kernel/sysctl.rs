//! Kernel parameters below `/proc/sys`, which for `net/` are those of the calling thread's
//! network namespace.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

fn path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

/// The value of `key`, without its newline; `None` if this kernel or namespace has no such key.
///
/// # Errors
/// It cannot be read.
pub fn read(key: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(path(key)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => text.map(|text| Some(text.trim().to_owned())),
    }
}

/// Sets `key`.
///
/// # Errors
/// It does not exist or cannot be written, as on a read-only `/proc/sys`.
pub fn write(key: &str, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path(key))?.write_all(value.as_bytes())
}

/// Sets `key` back; gone with its device is fine.
///
/// # Errors
/// It cannot be written.
pub fn restore(key: &str, value: &str) -> io::Result<()> {
    match write(key, value) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether this kernel has IPv6 at all.
pub fn has_ipv6() -> bool {
    path("net/ipv6").exists()
}
