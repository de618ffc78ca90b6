//! Files of ours over files of a container, inside its mount namespace and nowhere else.
//!
//! A thread of its own enters the namespace, and never comes back: it ends there. Where a file
//! is mounted is found as the container will see it, beneath its root directory, whatever
//! symbolic links its image has, and from then on it is a descriptor: the name may lead
//! elsewhere by now. Nothing is written into the image's files: where it lacks one, an empty one
//! is made to be mounted on.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::fchdir;
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::mount::{MoveMountFlags, move_mount};

use super::overlay;
use super::patience::{Awaited, PATIENCE, within};
use crate::error::{Doing, Error, Result};
use crate::log::Log;
use crate::model::mount::{BindMount, BindMounts};

/// An image may change while a path in it is followed, which `openat2(2)` tells by `EAGAIN`; and
/// a mount may be elsewhere by the time that it is looked for.
const TRIES: usize = 64;
/// Both the mount and where it goes are descriptors.
pub(super) const ITSELF: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// Mounts what can be. What was asked for must be, and all else is a warning: a container
/// without names is better than none.
///
/// # Errors
/// What was asked for cannot be mounted; nothing is.
pub(super) fn mount(step: &BindMounts, log: &Log) -> Result<()> {
    let outcomes = mount_all(step).unwrap_or_else(|error| vec![Err(error)]);
    for (at, outcome) in outcomes.into_iter().enumerate() {
        let Err(cause) = outcome else { continue };
        let quiet = cause.kind() == ErrorKind::ReadOnlyFilesystem;
        let error = explain(step, at, cause);
        match step.files.iter().any(|file| file.asked) {
            true => return Err(error.also(unmount(step).err())),
            false if quiet => log.debug(&format!("# {error}")),
            false => log.warn(&error),
        }
    }
    Ok(())
}

/// Unmounts what is ours from a container that runs; one that is gone is fine. In any other
/// container the mounts go with it, as goes here what the container keeps from us.
///
/// # Errors
/// Its namespace cannot be entered.
pub(super) fn unmount(step: &BindMounts) -> Result<()> {
    if !step.runs {
        return Ok(());
    }
    let operation = || format!("undo {step}");
    let proc = File::open("/proc").doing(operation)?;
    match inside(step, move |step, _| unmount_all(step, &proc)) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::TimedOut) => Ok(()),
        undone => undone.doing(operation),
    }
}

/// Mounts every file that can be; what became of each, in their order.
///
/// # Errors
/// The container's mount namespace, its root or its `/etc` cannot be entered.
fn mount_all(step: &BindMounts) -> io::Result<Vec<io::Result<()>>> {
    let outside = step.careful.then(Outside::read).transpose()?;
    let trees = overlay::of(step)?;
    inside(step, move |step, awaited| {
        let etc = etc_of(step)?;
        let files = step.files.iter().zip(&trees);
        Ok(files.map(|(file, tree)| place(step, &etc, file, tree, outside.as_ref(), awaited)).collect())
    })
}

/// Unmounts what carries the step's label, wherever it is by now.
fn unmount_all(step: &BindMounts, proc: &File) -> io::Result<()> {
    let root = open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    for _ in 0..TRIES {
        let mounts = mountinfo(proc)?;
        let mut ours = mounts.lines().filter(|line| source_of(line) == Some(&step.label)).peekable();
        if ours.peek().is_none() {
            break;
        }
        for line in ours {
            let mut fields = line.split(' ');
            let (Some(id), Some(point)) = (fields.next(), fields.nth(3)) else { continue };
            let as_it_is = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let stays = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            let how = OpenHow::new().flags(as_it_is).resolve(stays);
            let Ok(found) = openat2(&root, unescaped(point).as_str(), how) else { continue };
            if mount_id(&found)? == id {
                // What has no path of its own has one here.
                fchdir(proc)?;
                umount2(format!("thread-self/fd/{}", found.as_raw_fd()).as_str(), MntFlags::MNT_DETACH)?;
            }
        }
    }
    Ok(())
}

/// Why the file at `at` was not mounted, or none of them, and what helps.
fn explain(step: &BindMounts, at: usize, cause: io::Error) -> Error {
    let name = step.files.get(at).map_or("", |file| &file.name);
    let operation = format!("mount a file over /etc/{name} of process {}", step.pid);
    let image = format!("put a plain /etc/{name} into the image, or pass --no-dns");
    let errno = cause.raw_os_error().map(Errno::from_raw);
    let (cause, hint) = match (errno, cause.kind()) {
        (Some(Errno::ENOSYS), _) => {
            ("this kernel cannot: Linux 5.6 can".to_owned(), "pass --no-dns".to_owned())
        }
        (Some(Errno::ELOOP | Errno::EEXIST), _) => {
            ("the image has a symbolic link that leads nowhere".to_owned(), image)
        }
        (Some(Errno::ENOTDIR), _) => ("/etc of the image is not a directory".to_owned(), image),
        (Some(Errno::EXDEV), _) => ("something else is mounted there".to_owned(), "pass --no-dns".to_owned()),
        (Some(Errno::EROFS), _) => ("the image has none, and cannot be written".to_owned(), image),
        _ => (cause.to_string(), image),
    };
    Error::new(operation, cause).hint(hint)
}

/// Runs `what` in a thread in the container's mount namespace.
fn inside<T: Send + 'static>(
    step: &BindMounts,
    what: impl FnOnce(&BindMounts, &Awaited) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let namespace = File::open(format!("/proc/{}/ns/mnt", step.pid))?;
    if namespace.metadata()?.ino() != step.mntns {
        return Err(io::Error::new(ErrorKind::NotFound, "the process has died"));
    }
    let step = step.clone();
    // Nothing of the container runs yet where it is being created.
    within(if step.runs { PATIENCE } else { Duration::MAX }, move |awaited| {
        // Threads that share a root directory cannot go to different namespaces.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        what(&step, awaited)
    })
}

/// The container's `/etc`, made if there is none.
fn etc_of(step: &BindMounts) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&step.root, directory, Mode::empty())?;
    match find(&root, "etc", directory, step) {
        Err(Errno::ENOENT) => {
            mkdirat(&root, "etc", Mode::from_bits_truncate(0o755))?;
            Ok(find(&root, "etc", directory, step)?)
        }
        found => Ok(found?),
    }
}

/// Mounts `tree` over the `file` in `etc`. Over a symbolic link itself, not over what it leads
/// to.
fn place(
    step: &BindMounts,
    etc: &OwnedFd,
    file: &BindMount,
    tree: &OwnedFd,
    outside: Option<&Outside>,
    awaited: &Awaited,
) -> io::Result<()> {
    let name = file.name.as_str();
    let as_it_is = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let target = match find(etc, name, as_it_is, step) {
        Err(Errno::ENOENT) => {
            let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let stays = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV;
            openat2(
                etc,
                name,
                OpenHow::new().flags(new).mode(Mode::from_bits_truncate(0o644)).resolve(stays),
            )?;
            find(etc, name, as_it_is, step)?
        }
        found => found?,
    };
    if SFlag::from_bits_truncate(fstat(&target)?.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
        return Err(io::Error::new(ErrorKind::IsADirectory, "it is a directory"));
    }
    outside.map_or(Ok(()), |outside| outside.check(&target))?;
    awaited.check()?;
    Ok(move_mount(tree, "", &target, "", ITSELF)?)
}

/// Finds `path` below `base` as the container would, which cannot lead out of it; on another
/// mount only where the step expects one.
fn find(base: impl AsFd, path: &str, flags: OFlag, step: &BindMounts) -> nix::Result<OwnedFd> {
    let mut resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    if !step.careful {
        resolve |= ResolveFlag::RESOLVE_NO_XDEV;
    }
    let how = OpenHow::new().flags(flags).resolve(resolve);
    let mut tries = (0..TRIES).map(|_| openat2(&base, path, how));
    tries.find(|found| !matches!(found, Err(Errno::EAGAIN))).unwrap_or(Err(Errno::EAGAIN))
}

/// What tells whether a mount inside would show on the host.
struct Outside {
    /// The host's, whatever is mounted on `/proc` inside.
    proc: File,
    /// The host's peer groups.
    groups: Vec<String>,
}

impl Outside {
    fn read() -> io::Result<Self> {
        let proc = File::open("/proc")?;
        let mounts = mountinfo(&proc)?;
        let groups = mounts.lines().flat_map(groups_of).map(|(_, group)| group.to_owned()).collect();
        Ok(Self { proc, groups })
    }

    /// Refuses a target whose mount is a peer of one of the host's.
    fn check(&self, target: &OwnedFd) -> io::Result<()> {
        let (mounts, id) = (mountinfo(&self.proc)?, mount_id(target)?);
        let line = mounts.lines().find(|line| line.split(' ').next() == Some(&id)).unwrap_or_default();
        let leaks =
            |(kind, group): (&str, &str)| kind == "shared" && self.groups.iter().any(|ours| ours == group);
        if groups_of(line).any(leaks) {
            return Err(io::Error::other("what is mounted there would be mounted on the host too"));
        }
        Ok(())
    }
}

/// The peer groups in a line of `/proc/PID/mountinfo`, as `("shared", "1")`.
fn groups_of(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let optional = line.split(' ').skip(6).take_while(|field| *field != "-");
    optional.filter_map(|field| field.split_once(':'))
}

/// The mounts of the namespace that this thread is in; `proc` is the host's, whatever is mounted
/// on `/proc` inside.
fn mountinfo(proc: &File) -> io::Result<String> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC);
    let mut mounts = Vec::new();
    File::from(openat2(proc, "thread-self/mountinfo", how)?).read_to_end(&mut mounts)?;
    Ok(String::from_utf8_lossy(&mounts).into_owned())
}

/// The number of the mount that a file is on, as `mountinfo` has it.
fn mount_id(file: &OwnedFd) -> io::Result<String> {
    Ok(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id.to_string())
}

/// What was mounted, in a line of `mountinfo`: behind the dash and the file system's type.
fn source_of(line: &str) -> Option<&str> {
    line.split_once(" - ")?.1.split(' ').nth(1)
}

/// A path of `mountinfo`, in which some characters are octal numbers.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (number, character)| path.replace(number, character))
}
