//! The file that all containers of a bridge read: at any moment whole, whoever comes, goes or is
//! killed.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::running::{apart, sees};
use super::{HOSTS, start};
use crate::common::{Process, World, state};
use crate::kill::{End, kill_at};

/// How many containers come and go, and how many processes stand for them.
const MANY: usize = 60;
const PROCESSES: usize = 20;

/// Who is called what; fails on a line that is not one.
fn parse(text: &str) -> BTreeMap<String, String> {
    assert_eq!(text.len() % 128, 0, "whole slots");
    // The first is about the host.
    let text = &text[128..];
    let mut names = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        let address: std::net::IpAddr = words.next().expect("an address").parse().expect("an address");
        for name in words {
            let fine = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            assert!(fine && !name.is_empty(), "{line:?}");
            if !address.is_loopback() {
                names.insert(name.to_owned(), address.to_string());
            }
        }
    }
    names
}

/// Reads the file all the time until told to stop; how often it saw a container.
fn read_all_the_time(stop: &AtomicBool) -> usize {
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let names = parse(&fs::read_to_string(HOSTS).expect("the file is always there"));
        for (name, address) in names {
            let (id, alias) = name.split_once("-of-").unwrap_or((&name, &name));
            assert!(id.starts_with('c') && alias.starts_with('c'), "{name} {address}");
            seen += 1;
        }
    }
    seen
}

#[test]
fn nobody_ever_reads_a_part_of_a_line() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let processes: Vec<Process> = (0..PROCESSES).map(|_| world.process()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let reader = std::thread::spawn(move || read_all_the_time(&stopped));
    for n in 0..MANY {
        let id = |n: usize| format!("c{}", n % PROCESSES);
        // Of every size, so that some need several lines; and out of order.
        let alias: Vec<String> = (0..n % 14).map(|m| format!("{}-of-c{m}", id(n))).collect();
        let alias = if alias.is_empty() { vec![id(n)] } else { alias };
        if n >= PROCESSES {
            world.detach_ok(&id(n));
        }
        world.attach_ok(&id(n), processes[n % PROCESSES], &[("alias", &alias.join(","))]);
        if n % 3 == 0 {
            world.detach_ok(&id(n * 7));
        }
    }
    for n in 0..PROCESSES {
        world.detach_ok(&format!("c{n}"));
    }
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().expect("the reader saw half a line") > 0, "it read something");
    assert!(parse(&fs::read_to_string(HOSTS).unwrap()).is_empty(), "and nobody is left in it");
    world.assert_as(&before);
}

#[test]
fn a_slot_is_used_again() {
    let Some(mut world) = World::new() else { return };
    let processes: Vec<Process> = (0..3).map(|_| world.process()).collect();
    for (n, process) in processes.iter().enumerate() {
        world.attach_ok(&format!("c{n}"), *process, &[]);
    }
    let full = fs::metadata(HOSTS).unwrap();
    world.detach_ok("c0");
    world.attach_ok("again", processes[0], &[]);
    let names = parse(&fs::read_to_string(HOSTS).unwrap());
    assert_eq!(names.keys().collect::<Vec<_>>(), ["again", "c1", "c2"]);
    let now = fs::metadata(HOSTS).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((now.len(), now.ino()), (full.len(), full.ino()), "the same file, no longer");
}

#[test]
fn a_file_deleted_by_hand_is_made_again() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[]);
    world.sh("rm -r /run/netns-hook/names");
    world.attach_ok("b", b, &[]);
    let names = parse(&fs::read_to_string(HOSTS).unwrap());
    assert_eq!(names.keys().collect::<Vec<_>>(), ["b"]);
    world.detach_ok("a");
    world.detach_ok("b");
    assert_eq!(parse(&fs::read_to_string(HOSTS).unwrap()), BTreeMap::new());
}

#[test]
fn a_run_killed_anywhere_leaves_each_line_whole_or_gone() {
    let Some(mut world) = World::new() else { return };
    let (victim, bystander) = (apart(&mut world), world.process());
    world.attach_ok("bystander", bystander, &[("ipfile", "bystander")]);
    let without = world.snapshot();
    // The hook of a container that is being made, with files of its own.
    let rootfs = world.dir.join("runc/rootfs");
    fs::create_dir_all(rootfs.join("etc")).unwrap();
    let config = json!({"hostname": "host-of-victim", "root": {"path": "runc/rootfs"}});
    fs::write(world.dir.join("config.json"), config.to_string()).unwrap();
    let without: Vec<String> = [without, vec!["/run/test/config.json".to_owned()]].concat();
    let options =
        [("alias", "one,two"), ("dns", "1.1.1.1"), ("static-ip", "172.19.9.9"), ("add-host", "nas:10.0.0.5")];
    let attach = state("victim", "creating", Some(victim.pid), &options);
    world.netns_ok(&[], &attach);
    assert!(
        sees(&world, victim, &format!("{}/etc/hosts", rootfs.display()))
            .contains(" host-of-victim victim one two ")
    );
    let with = world.snapshot();
    // A container that is being made lives for one attach.
    let clear = || {
        world.detach_ok("victim");
        let files = format!("{0}/hosts {0}/resolv.conf", rootfs.join("etc").display());
        world.try_sh(&format!("nsenter -t {} -m -r umount -q {files}", victim.pid));
    };
    clear();
    let mut kills = 0;
    for call in
        ["pwrite64", "ftruncate", "fchmod", "open_tree", "setns", "openat2", "move_mount", "mount", "unlink"]
    {
        for input in [&attach, &state("victim", "stopped", None, &[])] {
            for n in 1..100 {
                if input != &attach {
                    world.netns_ok(&[], &attach);
                }
                if let End::Whole = kill_at(call, n, &[], input) {
                    break;
                }
                kills += 1;
                world.netns_ok(&["gc"], "");
                let attached = fs::read_to_string(HOSTS).unwrap().contains("victim");
                world.assert_as(if attached { &with } else { &without });
                clear();
            }
            clear();
            world.assert_as(&without);
        }
    }
    assert!(kills > 20, "the sweep killed only {kills} times");
}

#[test]
fn the_line_of_a_container_whose_record_is_damaged_goes_too() {
    let Some(mut world) = World::new() else { return };
    let web = start(&mut world, "web", &[("alias", "db")]);
    world.sh("for f in /run/netns-hook/containers/web@*; do echo '{' >$f; done");
    let other = world.process();
    world.kill(web);
    world.runc_delete("web");
    world.attach_ok("other", other, &[]);
    let names = parse(&fs::read_to_string(HOSTS).unwrap());
    assert_eq!(names.keys().collect::<Vec<_>>(), ["other"]);
}
