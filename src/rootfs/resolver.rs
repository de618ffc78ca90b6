//! What `resolv.conf` files of the host say.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::leased;
use crate::model::resolver::Resolver;

/// Where the host's name servers are found: where its own programs look, and where those that
/// put a stub at 127.0.0.1 keep the real ones.
const PATHS: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];

/// The most that is read of a `resolv.conf`, in bytes.
const MAX_BYTES: usize = 64 << 10;

/// What a container can use of the first of the host's files that names a server for it.
pub fn of_host() -> Resolver {
    let mut found = PATHS.iter().filter_map(|path| read(Path::new(path)));
    let usable =
        found.find_map(|text| Some(Resolver::of_host(&text)).filter(|found| !found.servers.is_empty()));
    usable.unwrap_or_default()
}

/// The beginning of a file; `None` if it cannot be read. Containers may have it mounted.
pub fn read(path: &Path) -> Option<String> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let mut bytes = vec![0; MAX_BYTES];
    let length = leased::open(|| options.open(path)).ok()?.read(&mut bytes).ok()?;
    bytes.truncate(length);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
