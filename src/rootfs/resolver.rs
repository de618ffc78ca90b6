//! What `resolv.conf` files of the host say.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::buffer::spare_capacity;

use super::{leased, unless_scarce};
use crate::error::{Doing, Result};
use crate::model::resolver::Resolver;

/// Where the host's name servers are found: where its own programs look, and where those that
/// put a stub at 127.0.0.1 keep the real ones.
const PATHS: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];

/// The most that is read of a `resolv.conf`, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// What a container can use of the first of the host's files that names a server for it; or
/// only whom it cannot.
///
/// # Errors
/// Those of [`read`].
pub fn of_host() -> Result<Resolver> {
    let mut unreached = None;
    for path in PATHS {
        let Some(found) = read(Path::new(path))?.map(|text| Resolver::of_host(&text)) else { continue };
        if !found.servers.is_empty() {
            return Ok(found);
        }
        unreached = unreached.or(found.unreached);
    }
    Ok(Resolver { unreached, ..Resolver::default() })
}

/// The beginning of a file; `None` if there is none that may be read. Containers may have it
/// mounted.
///
/// # Errors
/// There is no descriptor or no memory for it.
pub fn read(path: &Path) -> Result<Option<String>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let mut bytes = Vec::with_capacity(MAX_BYTES);
    let opened = leased::open(|| options.open(path));
    let read = opened.and_then(|file| Ok(rustix::io::read(file, spare_capacity(&mut bytes))?));
    let length = unless_scarce(read).doing(|| format!("read {}", path.display()))?;
    Ok(length.map(|_| String::from_utf8_lossy(&bytes).into_owned()))
}
