//! The files that containers have mounted: leases, locks, names that lead elsewhere, and a file
//! system that never answers.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use super::{among_its_files, soon};
use crate::common::{Process, World, stderr, wait_for};
use crate::names::{HOSTS, running::apart};

/// Takes every lock that there is on a file it can only read, and keeps it: 1024 is F_SETLEASE,
/// with F_RDLCK (0) or F_WRLCK (1). The kernel tells the holder to let go by SIGIO.
const HOLD: &str = "$SIG{IO} = 'IGNORE'; \
    for (@ARGV[1..$#ARGV]) { open(my $f, '<', $_) or die $!; push @f, $f; flock($f, 6); \
      print fcntl($f, 1024, $ARGV[0] + 0) ? 1 : 0; } \
    $| = 1; print \"\\n\"; sleep 1000";

/// A program without any capability, of the user that owns the files, among those of `process`.
pub fn hold_leases(world: &mut World, process: Process, kind: &str, files: &[&str]) {
    let said = world.dir.join(format!("holder{}{kind}", process.pid));
    let child = Command::new("nsenter")
        .args([
            "-t",
            &process.pid.to_string(),
            "-m",
            "-r",
            "setpriv",
            "--bounding-set=-all",
            "--inh-caps=-all",
        ])
        .args(["perl", "-e", HOLD, kind])
        .args(files)
        .stdin(Stdio::null())
        .stdout(File::create(&said).unwrap())
        .spawn()
        .expect("start perl");
    world.keep(child);
    wait_for("the leases", || fs::read_to_string(&said).is_ok_and(|said| said.ends_with('\n')));
}

#[test]
fn a_container_that_holds_leases_on_its_files_keeps_nobody_waiting() {
    for kind in ["0", "1"] {
        let Some(mut world) = World::new() else { return };
        let [hostile, healthy, newcomer] = [(); 3].map(|()| apart(&mut world));
        world.attach_ok("hostile", hostile, &[("alias", "evil"), ("dns", "1.1.1.1")]);
        world.attach_ok("healthy", healthy, &[("alias", "web")]);
        hold_leases(&mut world, hostile, kind, &["/etc/hosts", "/etc/resolv.conf"]);
        soon("an attach", || world.attach_ok("newcomer", newcomer, &[("alias", "db")]));
        for (who, process) in [("the neighbour", healthy), ("the newcomer", newcomer)] {
            let hosts = soon(who, || among_its_files(process, || fs::read_to_string("/etc/hosts").unwrap()));
            let hosts = soon(who, || hosts.join().unwrap());
            assert!(hosts.contains(" newcomer db ") && hosts.contains(" healthy web "), "{who}: {hosts}");
        }
        soon("a detach", || world.detach_ok("newcomer"));
        soon("its own detach", || world.detach_ok("hostile"));
        assert!(!fs::read_to_string(HOSTS).unwrap().contains("evil"));
    }
}

/// A container of runc that we know nothing of yet, with files of its own.
pub fn with_files_of_its_own(world: &mut World, id: &str) -> Process {
    let bundle = world.bundle(id, &[], "");
    for file in ["hosts", "resolv.conf"] {
        fs::write(bundle.join("rootfs/etc").join(file), "its own\n").unwrap();
    }
    world.runc_start(id, &bundle)
}

/// Puts a symbolic link in the place of `hosts`, and another directory in that of `/etc`, again
/// and again; and writes into whatever it can reach by those names. How often it has.
pub fn exchange_names(stop: &AtomicBool) -> usize {
    let mut written = 0;
    let mut write = |path: &str| {
        if let Ok(mut file) = OpenOptions::new().append(true).open(path) {
            // Its own file says this already.
            written += usize::from(file.write_all(b"6.6.6.6 evil\n").is_ok());
        }
    };
    fs::create_dir_all("/elsewhere").unwrap();
    fs::write("/target", "its own\n").unwrap();
    while !stop.load(Ordering::Relaxed) {
        write("/etc/hosts");
        if fs::rename("/etc/hosts", "/etc/own").is_ok() {
            let _ = symlink("/target", "/etc/hosts");
            write("/etc/hosts");
            let _ = fs::remove_file("/etc/hosts");
            let _ = fs::rename("/etc/own", "/etc/hosts");
        }
        if fs::rename("/etc", "/other").is_ok() {
            let _ = symlink("/elsewhere", "/etc");
            write("/other/hosts");
            let _ = fs::remove_file("/etc");
            let _ = fs::rename("/other", "/etc");
        }
    }
    written
}

/// The mounts of ours that a process sees.
fn ours(process: Process) -> String {
    let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid)).unwrap();
    let ours = |line: &&str| line.contains("netns-") || line.contains("/names/");
    mounts.lines().filter(ours).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_container_that_exchanges_names_gets_no_file_writable_and_keeps_no_mount() {
    const ROUNDS: usize = 150;
    let Some(mut world) = World::new() else { return };
    let healthy = world.process();
    world.attach_ok("healthy", healthy, &[]);
    let hostile = with_files_of_its_own(&mut world, "hostile");
    let (host, before) = (fs::read("/etc/hosts").unwrap(), world.snapshot());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let racing = among_its_files(hostile, move || exchange_names(&stopped));
    let pid = hostile.pid.to_string();
    let mut attached = 0;
    for _ in 0..ROUNDS {
        let args = ["attach", pid.as_str(), "--id", "hostile", "--dns", "1.1.1.1", "--alias", "evil"];
        let output = soon("an attach", || world.netns(&args, ""));
        attached += usize::from(output.status.success());
        soon("a detach", || world.netns(&["detach", "hostile"], ""));
        assert_eq!(ours(hostile), "", "after {}", stderr(&output));
        let names = fs::read_to_string(HOSTS).unwrap();
        assert!(!names.contains("evil") && names.contains("172.19.0.2 healthy "), "{names}");
    }
    stop.store(true, Ordering::Relaxed);
    let written = racing.join().unwrap();
    assert!(attached > 0 && written > 0, "attached {attached} times, {written} writes to its own files");
    assert_eq!(fs::read("/etc/hosts").unwrap(), host);
    world.assert_as(&before);
}

/// Mounts a file system over `/etc` whose program never answers, and ends with what is given
/// back, or before a test could hang.
fn silence_etc(fuse: File) -> Sender<()> {
    let options = format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
    mount(Some("silent"), "/etc", Some("fuse"), MsFlags::empty(), Some(options.as_str())).expect("mount");
    let (stop, stopped) = channel();
    std::thread::spawn(move || {
        let _ = stopped.recv_timeout(Duration::from_secs(5));
        drop(fuse);
    });
    stop
}

#[test]
fn a_container_whose_file_system_never_answers_keeps_nobody_waiting() {
    let Ok(fuse) = OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
        return crate::common::skip("there is no /dev/fuse");
    };
    let Some(mut world) = World::new() else { return };
    let (hostile, newcomer) = (with_files_of_its_own(&mut world, "hostile"), world.process());
    let pid = hostile.pid.to_string();
    let attach = ["attach", pid.as_str(), "--id", "hostile", "--dns", "1.1.1.1", "--publish", "8080:80"];
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    world.netns_ok(&attach, "");
    let fuse = among_its_files(hostile, move || silence_etc(fuse)).join().unwrap();
    soon("its own detach", || world.netns_ok(&["detach", "hostile"], ""));
    world.assert_as(&before);

    let attaching = std::thread::spawn({
        let attach = attach.map(str::to_owned);
        move || crate::common::run(Command::new(crate::common::NETNS).args(attach), "")
    });
    // Another in the same block of ports, whose chain the first is to make.
    std::thread::sleep(Duration::from_millis(100));
    soon("an attach", || world.attach_ok("newcomer", newcomer, &[("publish", "8081:80")]));
    let output = soon("the rest of its own", || attaching.join().unwrap());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("its file system has not answered for 200 ms"), "{}", stderr(&output));
    soon("exec", || world.netns_ok(&["exec", "newcomer", "true"], ""));
    soon("a detach", || world.detach_ok("newcomer"));
    world.assert_as(&before);
    drop(fuse);
}
