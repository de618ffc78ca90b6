//! Each file and each link of the state directory in turn removed, cut in half, with one bit
//! changed, and of another version, with three containers up: nobody gets what another has,
//! nobody who lives is forgotten, and when they are gone nothing of theirs is left.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::traffic::ask_tcp;
use crate::common::{Process, World, stderr};

const STATE: &str = "/run/netns-hook";

/// The three: id, addresses of both families, and port.
const THREE: [(&str, [&str; 2], &str); 3] = [
    ("a", ["172.19.0.11", "fd00:19::11"], "8081"),
    ("b", ["172.19.0.12", "fd00:19::12"], "8082"),
    ("c", ["172.19.0.13", "fd00:19::13"], "8083"),
];

#[derive(Debug, Clone, Copy)]
enum Harm {
    Removed,
    Cut,
    Bit,
    Version,
}

/// Every file and link that is not a container's own file: those are the container's to read.
fn everything() -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from(STATE)]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Does harm to a file or a link; false where it has nothing to be harmed.
fn harm(path: &Path, harm: Harm) -> bool {
    let is_link = fs::symlink_metadata(path).unwrap().is_symlink();
    let text = if is_link {
        fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
    } else {
        fs::read(path).unwrap()
    };
    let mut changed = text.clone();
    match harm {
        Harm::Removed => {
            fs::remove_file(path).unwrap();
            return true;
        }
        Harm::Cut => changed.truncate(text.len() / 2),
        Harm::Bit => {
            let middle = text.len() / 2;
            let Some(byte) = changed.get_mut(middle) else { return false };
            *byte ^= 1;
        }
        Harm::Version => {
            let Some(at) = find(&text, b"\"version\":1") else { return false };
            changed[at + 10] = b'7';
        }
    }
    if changed == text || (is_link && changed.is_empty()) {
        return false;
    }
    if is_link {
        fs::remove_file(path).unwrap();
        // A link's text with a bit changed may be none that a file system takes.
        return symlink(String::from_utf8_lossy(&changed).as_ref(), path).is_ok();
    }
    fs::write(path, changed).unwrap();
    true
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// What harm was done to, without what differs from run to run.
fn shown(path: &Path) -> String {
    path.strip_prefix(STATE).unwrap().display().to_string()
}

/// A container whose process says its name to whoever connects to port 80.
fn server(world: &mut World, id: &str) -> Process {
    let mut server = Command::new("unshare");
    server.args(["--net", "busybox", "nc", "-ll", "-p", "80", "-e", "busybox", "echo", "-n", id]);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = world.keep(server.spawn().expect("start a server"));
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    crate::common::wait_for("a namespace of its own", || {
        fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|other| other != own)
    });
    Process { pid }
}

/// One world, one harm; whether there was anything to harm.
fn one_harm(at: usize, how: Harm) -> Option<bool> {
    let mut world = World::new()?;
    world.use_subnets(&["172.19.0.1/16", "fd00:19::1/64"]);
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let mut three: Vec<Process> = THREE.iter().map(|(id, ..)| server(&mut world, id)).collect();
    for ((id, addresses, port), process) in THREE.iter().zip(&three) {
        let (publish, addresses) = (format!("{port}:80"), addresses.join(","));
        world.attach_ok(id, *process, &[("static-ip", &addresses), ("publish", &publish), ("ipfile", id)]);
    }
    let Some(path) = everything().get(at).cloned() else { return Some(false) };
    let what = format!("{how:?}: {}", shown(&path));
    if !harm(&path, how) {
        return Some(true);
    }
    let newcomer = world.process();
    // Whatever is asked for by name is somebody's; what is not is nobody's.
    for (id, [four, six], port) in THREE {
        let publish = format!("{port}:80");
        for asked in [("static-ip", four), ("static-ip", six), ("publish", publish.as_str())] {
            let output = world.attach("newcomer", newcomer, &[asked, ("ipfile", "newcomer")]);
            assert!(!output.status.success(), "{what}: {asked:?} of {id} was given away");
        }
    }
    let output = world.attach("newcomer", newcomer, &[("publish", "8080:80"), ("ipfile", "newcomer")]);
    if output.status.success() {
        let own = newcomer.sh("ip -o addr show dev eth0");
        let mut taken = THREE.iter().flat_map(|(_, addresses, _)| addresses);
        assert!(!taken.any(|address| own.contains(&format!("{address}/"))), "{what}: {own}");
        assert!(newcomer.pings("172.19.0.1"), "{what}");
    } else {
        // What another version has written is refused by name.
        assert!(stderr(&output).contains("version"), "{what}: {}", stderr(&output));
    }
    for ((id, _, port), process) in THREE.iter().zip(&three) {
        assert!(process.pings("172.19.0.1"), "{what}: {id} lost its network");
        assert_eq!(ask_tcp(&format!("127.0.0.1:{port}")), *id, "{what}: {id} lost its port");
    }
    assert!(!world.netns_ok(&["gc"], "").contains("container"), "{what}: gc took somebody who lives");
    for (id, process) in THREE.iter().map(|(id, ..)| id).zip(&three) {
        assert!(process.pings("172.19.0.1"), "{what}: {id} lost its network to gc");
    }
    for process in three.drain(..) {
        world.kill(process);
    }
    world.kill(newcomer);
    finish(&world, &what, &before, how);
    Some(true)
}

/// When all are dead, one `gc` leaves nothing of theirs on the host.
fn finish(world: &World, what: &str, before: &[String], how: Harm) {
    let gone = || !world.links().iter().any(|link| link.starts_with("netnsv0-"));
    crate::common::wait_for("the veth pairs to go", gone);
    let collected = world.netns(&["gc"], "");
    let removed = world.netns(&["rm", "--force"], "");
    if let Harm::Version = how {
        // Nobody but the version that wrote it undoes it.
        return;
    }
    assert!(collected.status.success(), "{what}: gc: {}", stderr(&collected));
    assert!(removed.status.success(), "{what}: rm: {}", stderr(&removed));
    world.netns_ok(&["gc"], "");
    let files_of_others = |line: &String| {
        line.starts_with("/run/test/")
            || line.starts_with("/proc/")
            || line.starts_with("/run/netns-hook/damaged")
    };
    let left: Vec<String> = world.snapshot().into_iter().filter(|line| !before.contains(line)).collect();
    let left: Vec<&String> = left.iter().filter(|line| !files_of_others(line)).collect();
    assert!(left.is_empty(), "{what}: left: {left:#?}");
}

fn sweep(how: Harm) {
    let (mut harmed, mut at) = (0, 0);
    // A world belongs to its thread.
    while std::thread::spawn(move || one_harm(at, how))
        .join()
        .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        == Some(true)
    {
        (harmed, at) = (harmed + 1, at + 1);
    }
    eprintln!("{harmed} files and links: {how:?}");
    assert!(harmed == 0 || harmed > 30, "there were only {harmed} files and links");
}

#[test]
fn whatever_is_removed_nobody_who_lives_loses_anything() {
    sweep(Harm::Removed);
}

#[test]
fn whatever_is_cut_in_half_nobody_who_lives_loses_anything() {
    sweep(Harm::Cut);
}

#[test]
fn whatever_has_a_bit_changed_nobody_who_lives_loses_anything() {
    sweep(Harm::Bit);
}

#[test]
fn what_another_version_has_written_is_refused_and_left_alone() {
    sweep(Harm::Version);
}
