//! Files of ours over files of a container, inside its mount namespace and nowhere else.
//!
//! A thread of its own enters the namespace, and never comes back: it ends there. What is
//! mounted is opened on the host before; where it is mounted is found as the container will see
//! it, beneath its root directory, whatever symbolic links its image has. Nothing is written
//! into the image's files: where it lacks one, an empty one is made to be mounted on.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::fchdir;
use rustix::fs::{AtFlags, StatxFlags, statx};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::{Doing, Error, Result};
use crate::log::Log;
use crate::model::mount::{BindMount, BindMounts};

/// An image may change while a path in it is followed, which `openat2(2)` tells by `EAGAIN`.
const TRIES: usize = 8;
/// What the container must not be able to do to a file that others have mounted too.
const HARDENED: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_REMOUNT)
    .union(MsFlags::MS_BIND);

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
/// container the mounts go with it.
///
/// # Errors
/// They are still there.
pub(super) fn unmount(step: &BindMounts) -> Result<()> {
    if step.runs { unmount_all(step).doing(|| format!("undo {step}")) } else { Ok(()) }
}

/// Mounts every file that can be; what became of each, in their order.
///
/// # Errors
/// The container's mount namespace, its root or its `/etc` cannot be entered.
fn mount_all(step: &BindMounts) -> io::Result<Vec<io::Result<()>>> {
    let outside = step.careful.then(Outside::read).transpose()?;
    let trees = step.files.iter().map(|file| clone_of(&file.source)).collect::<io::Result<Vec<_>>>()?;
    inside(step, |namespace| {
        let trees = if step.runs { harden(step, trees, namespace)? } else { trees };
        let etc = enter_etc(step)?;
        let files = step.files.iter().zip(&trees);
        Ok(files.map(|(file, tree)| place(step, &etc, file, tree, outside.as_ref())).collect())
    })
}

fn unmount_all(step: &BindMounts) -> io::Result<()> {
    let sources: Vec<(u64, u64)> = step.files.iter().map(|file| identity(&file.source)).collect();
    let undone = inside(step, |_| {
        let etc = enter_etc(step)?;
        for (file, ours) in step.files.iter().zip(&sources) {
            let Ok(found) = find(&etc, &file.name, OFlag::O_PATH | OFlag::O_NOFOLLOW, step) else {
                continue;
            };
            let found = fstat(&found)?;
            if (found.st_dev, found.st_ino) == *ours {
                umount2(file.name.as_str(), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
            }
        }
        Ok(())
    });
    match undone {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        undone => undone,
    }
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
fn inside<T: Send>(step: &BindMounts, what: impl FnOnce(&File) -> io::Result<T> + Send) -> io::Result<T> {
    let gone = || io::Error::new(ErrorKind::NotFound, "the process has died");
    let namespace = File::open(format!("/proc/{}/ns/mnt", step.pid))?;
    if namespace.metadata()?.ino() != step.mntns {
        return Err(gone());
    }
    let enter = || {
        // Threads that share a root directory cannot go to different namespaces.
        unshare(CloneFlags::CLONE_FS)?;
        setns(&namespace, CloneFlags::CLONE_NEWNS)?;
        what(&namespace)
    };
    std::thread::scope(|scope| scope.spawn(enter).join().map_err(|_| gone())?)
}

/// A mount of the file `source` alone, which is attached nowhere yet.
fn clone_of(source: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(rustix::fs::CWD, source, flags)?)
}

/// The same mounts, hardened before a program of the container can reach them: in a copy of its
/// namespace that nobody else is in.
fn harden(step: &BindMounts, trees: Vec<OwnedFd>, namespace: &File) -> io::Result<Vec<OwnedFd>> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    let etc = enter_etc(step)?;
    let harden = |(file, tree): (&BindMount, OwnedFd)| {
        place(step, &etc, file, &tree, None)?;
        clone_of(Path::new(&file.name))
    };
    let hardened = step.files.iter().zip(trees).map(harden).collect();
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    hardened
}

/// Makes the container's `/etc` the working directory of this thread, and makes one if there
/// is none.
fn enter_etc(step: &BindMounts) -> io::Result<OwnedFd> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&step.root, directory, Mode::empty())?;
    let etc = match find(&root, "etc", directory, step) {
        Err(Errno::ENOENT) => {
            mkdirat(&root, "etc", Mode::from_bits_truncate(0o755))?;
            find(&root, "etc", directory, step)?
        }
        found => found?,
    };
    fchdir(&etc)?;
    Ok(etc)
}

/// Mounts `tree` over the `file` in `/etc`, which is the working directory. Over a symbolic
/// link itself, not over what it leads to.
fn place(
    step: &BindMounts,
    etc: &OwnedFd,
    file: &BindMount,
    tree: &OwnedFd,
    outside: Option<&Outside>,
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
    let exactly = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", &target, "", exactly)?;
    // It came from the host with the host's peers: what the container mounts upon it would be
    // mounted there too.
    change(name, MsFlags::MS_PRIVATE).and_then(|()| change(name, HARDENED)).inspect_err(|_| {
        let _ = umount2(name, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    })
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

fn change(path: &str, flags: MsFlags) -> io::Result<()> {
    let none: Option<&str> = None;
    Ok(nix::mount::mount(none, path, none, flags, none)?)
}

fn identity(file: &Path) -> (u64, u64) {
    fs::metadata(file).map_or((0, 0), |found| (found.dev(), found.ino()))
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
        let groups = fs::read_to_string("/proc/self/mountinfo")?;
        let groups = groups.lines().flat_map(groups_of).map(|(_, group)| group.to_owned()).collect();
        Ok(Self { proc: File::open("/proc")?, groups })
    }

    /// Refuses a target whose mount is a peer of one of the host's.
    fn check(&self, target: &OwnedFd) -> io::Result<()> {
        let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC);
        let mut mounts = String::new();
        File::from(openat2(&self.proc, "thread-self/mountinfo", how)?).read_to_string(&mut mounts)?;
        let id = statx(target, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id.to_string();
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
