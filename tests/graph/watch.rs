//! `netns graph --watch`.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{NETNS, World, wait_for};

/// How long a picture may take. What happens inside of a container is looked for every two
/// seconds.
const PATIENCE: Duration = Duration::from_secs(10);

struct Watch {
    child: Child,
    pictures: Receiver<String>,
}

impl Watch {
    fn start() -> Self {
        let mut child = Command::new(NETNS)
            .args(["graph", "--watch"])
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start netns graph");
        let stdout = child.stdout.take().expect("stdout");
        let (sender, pictures) = mpsc::channel();
        std::thread::spawn(move || read_pictures(stdout, |picture| sender.send(picture).is_ok()));
        Self { child, pictures }
    }

    /// The next picture in which something is so.
    fn until(&self, what: &str, so: impl Fn(&str) -> bool) -> String {
        for _ in 0..50 {
            let picture = self.pictures.recv_timeout(PATIENCE);
            let picture = picture.unwrap_or_else(|_| panic!("waited in vain for {what}"));
            if so(&picture) {
                return picture;
            }
        }
        panic!("50 pictures without {what}");
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pictures end with an empty line.
fn read_pictures(stdout: ChildStdout, wanted: impl Fn(String) -> bool) {
    let mut picture = String::new();
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if !line.is_empty() {
            picture.push_str(&line);
            picture.push('\n');
        } else if !wanted(std::mem::take(&mut picture)) {
            return;
        }
    }
}

#[test]
fn each_change_is_drawn_and_the_end_of_its_reader_is_its_own() {
    let Some(mut world) = World::new() else { return };
    let mut watch = Watch::start();
    watch.until("a first picture", |picture| picture.contains("no network yet"));
    let (web, db) = (world.process(), world.process());
    world.attach_ok("web", web, &[("publish", "8080:80")]);
    watch.until("a container", |picture| picture.contains("● web  running  0.0.0.0:8080→80/tcp"));
    world.attach_ok("db", db, &[]);
    watch.until("another", |picture| picture.contains("● web") && picture.contains("● db"));
    web.sh("ip addr add 10.9.8.7/24 dev eth0");
    watch.until("an address inside", |picture| picture.contains("10.9.8.7/24"));
    world.kill(web);
    watch.until("its death", |picture| picture.contains("✗ web  dead"));
    world.netns_ok(&["gc"], "");
    watch.until("its garbage collection", |picture| !picture.contains("web") && picture.contains("● db"));
    world.netns_ok(&["detach", "db"], "");
    watch.until("an empty bridge", |picture| picture.contains("netns0 (") && !picture.contains('●'));
    assert!(!watch.has_ended(), "nobody has asked it to");
}

#[test]
fn it_ends_with_its_reader_though_nothing_changes() {
    let Some(_world) = World::new() else { return };
    let mut child = Command::new(NETNS)
        .args(["graph", "--watch"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start netns graph");
    let mut reader = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("read");
    assert!(line.starts_with("no default route"), "{line}");
    drop(reader);
    let ended = std::cell::RefCell::new(&mut child);
    wait_for("its end", || ended.borrow_mut().try_wait().expect("wait").is_some());
    assert!(child.wait().expect("wait").success());
}

#[test]
fn an_interrupt_ends_it() {
    let Some(_world) = World::new() else { return };
    let mut watch = Watch::start();
    watch.until("a first picture", |_| true);
    kill(Pid::from_raw(watch.child.id().cast_signed()), Signal::SIGINT).expect("kill");
    let ended = std::cell::RefCell::new(&mut watch);
    wait_for("its end", || ended.borrow_mut().has_ended());
}
