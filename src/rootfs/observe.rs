//! What planning has to know of a container's files.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use serde::Deserialize;

use super::{files, process, unless_scarce};
use crate::error::{Doing, Error, Result};
use crate::log::Log;
use crate::model::bundle::Bundle;
use crate::model::container::ContainerId;
use crate::model::dns::{Names, Told};
use crate::model::hosts;
use crate::model::observed::Files;
use crate::model::sandbox::Sandbox;

/// The largest `config.json` that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The most that is read of an engine's `hosts` file, in bytes.
const MAX_HOSTS: u64 = 64 << 10;

/// What the container's bundle says, and where its files are, if any of them may be mounted
/// over. What is not fit to be read is not there, and `log` is told why.
///
/// # Errors
/// There is no descriptor or no memory to read it.
pub fn observe(container: &ContainerId, sandbox: &Sandbox, names: &Names, log: &Log) -> Result<Files> {
    let read = bundle(&container.bundle).inspect_err(|cause| {
        let operation = format!("read config.json in bundle {}", container.bundle.display());
        log.debug(&format!("# {}", Error::new(operation, cause)));
    });
    let operation = || format!("look at the files of {container}");
    let bundle = unless_scarce(read).doing(operation)?.flatten();
    let covered = bundle.as_ref().filter(|_| names.asks_for_hosts() && !names.hands_off);
    let told = covered.map(|bundle| told(bundle, &container.id)).transpose().doing(operation)?;
    let wanted = bundle.is_some() || names.asks_for_hosts();
    let files = Files { bundle, told: told.unwrap_or_default(), ..Files::default() };
    match sandbox.pid() {
        Some(pid) if wanted && !names.hands_off => of_process(pid, sandbox, files).doing(operation),
        _ => Ok(files),
    }
}

/// Nothing, if another process has the pid by now.
fn of_process(pid: i32, sandbox: &Sandbox, files: Files) -> io::Result<Files> {
    let of = |path: &str| {
        let found = unless_scarce(fs::metadata(path))?;
        io::Result::Ok(found.map(|found| (found.dev(), found.ino())))
    };
    let (mntns, root) = (of(&format!("/proc/{pid}/ns/mnt"))?, of(&format!("/proc/{pid}/root"))?);
    if !process::is_running(sandbox)? {
        return Ok(files);
    }
    let own = of("/proc/self/ns/mnt")?;
    let mntns = mntns.filter(|inside| own != Some(*inside)).map(|(_, inode)| inode);
    Ok(Files { mntns, before_pivot: root.is_some() && root == of("/")?, ..files })
}

/// What the engine tells of a container in `config.json` and in the `hosts` file that it mounts, and
/// docker beside that, in a directory which is called as the container.
fn told(bundle: &Bundle, id: &str) -> io::Result<Told> {
    let names = bundle.names.clone();
    let Some((dir, name)) =
        bundle.hosts.as_deref().and_then(|file| Some((file.parent()?, file.file_name()?)))
    else {
        return Ok(Told { names, ..Told::default() });
    };
    let read = |name: &Path, most| unless_scarce(files::read(dir, name, most));
    let text = read(Path::new(name), MAX_HOSTS)?.unwrap_or_default();
    let mut told = hosts::told(&String::from_utf8_lossy(&text), bundle.hostname.as_deref());
    told.names.extend(names);
    if dir.file_name().is_some_and(|name| name == id) {
        let text = read(Path::new("config.v2.json"), MAX_BYTES)?.unwrap_or_default();
        let docker: Option<Docker> =
            serde_json::from_slice(&text).ok().filter(|docker: &Docker| docker.id == id);
        let name = docker.and_then(|docker| docker.name.trim_start_matches('/').parse().ok());
        told.names.extend(name);
    }
    Ok(told)
}

/// What docker keeps of a container.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Docker {
    #[serde(rename = "ID")]
    id: String,
    name: String,
}

/// The `config.json` in a bundle; `None` if there is none, as where a container is attached by
/// hand or by CNI.
fn bundle(bundle: &Path) -> io::Result<Option<Bundle>> {
    if !bundle.is_absolute() {
        return Ok(None);
    }
    let mut options = OpenOptions::new();
    // A FIFO of that name must not keep us waiting.
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let file = match options.open(bundle.join("config.json")) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is no plain file of at most 4 MiB"));
    }
    let mut text = Vec::with_capacity(found.len() as usize + 1);
    file.take(MAX_BYTES).read_to_end(&mut text)?;
    Bundle::parse(bundle, &text).map(Some)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::model::sandbox::FoundBy;

    #[test]
    fn a_bundle_without_a_configuration_is_none_and_one_with_a_wrong_one_an_error() {
        assert_eq!(bundle(Path::new("")).unwrap(), None);
        assert_eq!(bundle(Path::new("/nonexistent")).unwrap(), None);
        let dir = std::env::temp_dir().join(format!("netns-bundle-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        nix::unistd::mkfifo(&dir.join("config.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(bundle(&dir).is_err(), "a FIFO");
        fs::remove_file(dir.join("config.json")).unwrap();
        fs::write(dir.join("config.json"), r#"{"hostname":"web"}"#).unwrap();
        assert_eq!(bundle(&dir).unwrap().unwrap().hostname.as_deref(), Some("web"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_pid_that_another_process_has_says_nothing_of_the_container() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let start_time = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
        let start_time: u64 = start_time.parse().unwrap();
        let pid = std::process::id() as i32;
        let sandbox = |start_time| Sandbox {
            netns: 0,
            boot_id: String::new(),
            found_by: FoundBy::Process { pid, start_time },
        };
        let asked = Names { aliases: vec!["db".parse().unwrap()], ..Names::default() };
        let container = ContainerId { id: "a".to_owned(), bundle: "".into() };
        let log = Log::stderr(Instant::now(), false);
        let own = observe(&container, &sandbox(start_time), &asked, &log).unwrap();
        assert_eq!((own.mntns, own.before_pivot), (None, true), "the host's own");
        let other = observe(&container, &sandbox(start_time + 1), &asked, &log).unwrap();
        assert_eq!(other, Files::default());
    }
}
