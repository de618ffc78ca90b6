//! The state directory: one file for each container and each network, and symbolic links to
//! them.
//!
//! The truth is one record a container. Everything else is a **claim**, a symbolic link to the
//! record that holds it: so the file system is the index, and every question is one system call,
//! however many containers are up. `symlink(2)` is exclusive and atomic: two runs never get one
//! address. A claim is valid if the record that it names exists and lists it.
//!
//! ```text
//! lock                              flock, held shortly, by whoever claims or forgets
//! containers/ID@HASH.json           a container's record; its own flock is held while its steps
//!                                   are applied or undone
//! networks/NAME.json                a network's record
//! pending/ID@HASH -> attaching      exists from before the first step until the last is done,
//! pending/ID@HASH -> leaving        and from before the first undoing until it is forgotten
//! leases/NETWORK/172.19.0.2 -> …    one link for each address
//! ports/tcp/31/8080@0.0.0.0 -> …    one directory for 256 ports; a range has a link in each
//! slots/NETWORK/17 -> …             the lines of a network's hosts file
//! netns/4026532281/ID@HASH -> …     who lives in a network namespace
//! pids/4711@ID@HASH -> …            whose process to look at
//! shared/STEP/ID@HASH -> …          who holds a step that several hold; rmdir says who is last
//! changing/STEP -> …                who is applying or undoing it now
//! rules/ID@HASH -> …                whose rules are to be removed, by whoever removes rules next
//! rules.lock, removals.lock         flocks: who adds rules, and who removes them
//! notes/…                           what may be lost: cursors, the ruleset's generation
//! names/NETWORK/…                   the files that containers have mounted (not ours to write)
//! damaged/…                         records that do not parse, set aside for a human
//! ```
//!
//! `pending/X` is made before every other link of X and removed after them, so that whoever
//! finds it, and X's flock free, knows that X was interrupted and undoes it. Nothing is synced
//! to a disk: what is recorded here does not outlive the kernel's memory either.

mod claim;
mod directory;
mod life;
mod links;
mod lock;
mod ports;
mod record;
mod records;

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crate::error::{Doing, Error, Kind, Result};
use crate::model::container::Key;
use crate::model::network::{Network, NetworkName};
use crate::model::record::Record;
pub use claim::{Claim, Owner};
pub(crate) use life::Pending;
pub use lock::{Held, Lock, holder};
pub use record::{Damage, decode, encode};
pub use records::{Records, Turn};

/// The state directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    /// Containers that it shows as forgotten.
    gone: Vec<Key>,
}

impl Store {
    /// The state directory `dir`, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made, belongs to somebody else, can be written by others, is a symbolic
    /// link, or is of another version.
    pub fn open(dir: &Path) -> Result<Self> {
        directory::make(dir)?;
        Ok(Self { dir: dir.to_path_buf(), gone: Vec::new() })
    }

    /// The same for those who only read; `None` if it is not there.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub fn existing(dir: &Path) -> Result<Option<Self>> {
        Ok(directory::check(dir)?.then(|| Self { dir: dir.to_path_buf(), gone: Vec::new() }))
    }

    /// One in which nothing is, for whoever may not read the real one.
    pub(crate) fn empty() -> Self {
        Self { dir: PathBuf::from("/dev/null"), gone: Vec::new() }
    }

    /// The same as it will be once these containers are forgotten too, for whoever only asks.
    pub(crate) fn without(&self, keys: &[Key]) -> Self {
        Self { dir: self.dir.clone(), gone: [&self.gone, keys].concat() }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// How many network namespaces have a container of ours, where the file system counts the
    /// directories in a directory, as a tmpfs does; else fewer.
    pub(crate) fn namespaces(&self) -> u64 {
        fs::metadata(self.dir.join("netns")).map_or(0, |netns| netns.nlink())
    }

    /// Waits, for a bounded time, for the lock of everything that is claimed and forgotten.
    ///
    /// # Errors
    /// Another run holds it for too long.
    pub fn lock(&self) -> Result<Lock> {
        Lock::exclusive(&self.dir.join("lock"))
    }

    /// The lock of the firewall's rules: shared by those who add and remove their own.
    pub(crate) fn share_rules(&self) -> Result<Lock> {
        Lock::shared(&self.rules_lock())
    }

    /// The same for whoever rebuilds them, alone.
    pub(crate) fn own_rules(&self) -> Result<Lock> {
        Lock::exclusive(&self.rules_lock())
    }

    /// The same for a time in which every other run and its programs should have ended.
    pub(crate) fn own_rules_soon(&self) -> Result<Lock> {
        Lock::exclusive_soon(&self.rules_lock())
    }

    /// The file that every program of the firewall keeps open.
    pub(crate) fn rules_lock(&self) -> PathBuf {
        self.dir.join("rules.lock")
    }

    /// The lock of whoever removes rules, for all that are leaving.
    pub(crate) fn removals(&self) -> Result<Lock> {
        Lock::exclusive(&self.dir.join("removals.lock"))
    }

    /// The same, unless another run has it.
    pub(crate) fn try_removals(&self) -> Result<Option<Lock>> {
        Lock::try_exclusive(&self.dir.join("removals.lock"))
    }

    // Records.

    /// The file of a container's record.
    pub fn container_file(&self, key: &Key) -> PathBuf {
        self.dir.join("containers").join(format!("{key}.json"))
    }

    /// The file of a network's record.
    pub(crate) fn network_file(&self, name: &NetworkName) -> PathBuf {
        self.dir.join("networks").join(format!("{name}.json"))
    }

    /// A container's record; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn record(&self, key: &Key) -> Result<Option<std::result::Result<Record, Damage>>> {
        if self.gone.contains(key) { Ok(None) } else { record::read(&self.container_file(key)) }
    }

    /// A network's record; `None` if there is none.
    pub(crate) fn network(&self, name: &NetworkName) -> Result<Option<std::result::Result<Network, Damage>>> {
        record::read(&self.network_file(name))
    }

    /// Tells two states of a network's record apart; `None` if there is none.
    pub(crate) fn network_stamp(&self, name: &NetworkName) -> Option<(u64, i64)> {
        let found = fs::metadata(self.network_file(name)).ok()?;
        Some((found.ino(), found.mtime_nsec()))
    }

    /// Writes a container's record in place of the one that is there.
    pub(crate) fn put(&self, record: &Record) -> Result<()> {
        record::write(&self.dir, &self.container_file(&record.key()), record).map(drop)
    }

    /// Writes a network's record.
    pub(crate) fn put_network(&self, network: &Network) -> Result<()> {
        record::write(&self.dir, &self.network_file(&network.name), network).map(drop)
    }

    /// Forgets a network: its record and what was remembered of its leases.
    pub(crate) fn forget_network(&self, name: &NetworkName) -> Result<()> {
        remove(&self.network_file(name))?;
        self.finish_network(name)?;
        self.forget_note(&format!("lease:{name}"))?;
        for below in ["leases", "slots"] {
            // Not empty where something of a damaged record is left.
            let _ = fs::remove_dir(self.dir.join(below).join(name.as_str()));
        }
        Ok(())
    }

    /// Moves a record that does not parse out of the way, for a human to look at. Its claims
    /// stay.
    pub(crate) fn set_aside(&self, file: &Path) -> Result<()> {
        let aside = self.dir.join("damaged");
        directory::make_below(&aside)?;
        let name = file.file_name().unwrap_or(file.as_os_str());
        or_gone(fs::rename(file, aside.join(name))).doing(|| format!("set aside {}", file.display()))
    }

    /// Removes the damaged records of networks: what they told of is found in the kernel.
    pub(crate) fn forget_damaged_networks(&self) -> Result<()> {
        let aside = self.dir.join("damaged");
        let names = names_in(&aside)?;
        let of_networks = names.iter().filter(|name| Key::parse(name.trim_end_matches(".json")).is_none());
        of_networks.map(|name| aside.join(name)).try_for_each(|path| remove(&path))
    }

    /// Whether the record of this container was set aside.
    pub(crate) fn is_set_aside(&self, key: &Key) -> bool {
        self.dir.join("damaged").join(format!("{key}.json")).exists()
    }

    // Notes.

    /// What was noted under a name; anything may be lost, or be what was noted before.
    pub(crate) fn note(&self, name: &str) -> Option<String> {
        let text = fs::read_link(self.dir.join("notes").join(name)).ok()?;
        text.to_str().map(str::to_owned)
    }

    /// Notes `text`, which must not be empty. Where that fails, an older note stays.
    pub(crate) fn put_note(&self, name: &str, text: &str) {
        let _ = self.replace_link(&self.dir.join("notes").join(name), text);
    }

    /// Forgets a note.
    pub(crate) fn forget_note(&self, name: &str) -> Result<()> {
        remove(&self.dir.join("notes").join(name))
    }

    fn keys(&self, below: &str) -> Result<Vec<Key>> {
        let names = names_in(&self.dir.join(below))?;
        Ok(names.iter().filter_map(|name| Key::parse(name)).collect())
    }

    /// Makes a link say `text`, whatever it said, at once.
    fn replace_link(&self, path: &Path, text: &str) -> Result<()> {
        let operation = || format!("write {}", path.display());
        match in_directory(path, || symlink(text, path)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => return made.doing(operation),
        }
        let new = self.dir.join("unfinished.link");
        if symlink(text, &new).is_err() {
            // A run was killed here.
            remove(&new)?;
            symlink(text, &new).doing(operation)?;
        }
        fs::rename(&new, path).doing(operation)
    }
}

/// Does something in a directory that may have to be made first.
fn in_directory<T>(path: &Path, what: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match what() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), directory::make_all)?;
            what()
        }
        done => done,
    }
}

/// What is not there was not to be read.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn read_link(path: &Path) -> Result<Option<PathBuf>> {
    match fs::read_link(path) {
        Err(error) if is_absent(&error) => Ok(None),
        // Not a link: somebody has put something else in its place.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(Some(PathBuf::new())),
        found => found.map(Some).doing(|| format!("read {}", path.display())),
    }
}

/// The names in a directory, sorted; none if it is not there.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let operation = || format!("read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        entries => entries.doing(operation)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.doing(operation)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn or_gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_absent(&error) => Ok(()),
        result => result,
    }
}

/// Removes a link or file; also an empty directory that somebody has put in its place.
fn remove(path: &Path) -> Result<()> {
    let removed = fs::remove_file(path).or_else(|error| match error.kind() {
        io::ErrorKind::IsADirectory => fs::remove_dir(path),
        _ => Err(error),
    });
    or_gone(removed).doing(|| format!("remove {}", path.display()))
}

/// For reading and writing, by nobody but us, and never through a symbolic link.
fn private() -> fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    options
}

/// An error that says who has it.
fn held(operation: impl std::fmt::Display, cause: impl std::fmt::Display) -> Error {
    Error::new(operation, cause).of(Kind::Conflict)
}
