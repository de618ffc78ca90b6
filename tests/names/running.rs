//! Containers that run already get files only when they are asked for, and give them back.

use std::fs;
use std::process::{Command, Stdio};

use super::{HOSTS, mounts};
use crate::common::{Process, World, stderr, wait_for};

/// A process with a network and a mount namespace of its own, and the host's root directory.
pub fn apart(world: &mut World) -> Process {
    apart_with(world, "private")
}

/// As [`apart`], with this propagation of what is mounted there (`mount_namespaces(7)`).
fn apart_with(world: &mut World, propagation: &str) -> Process {
    let child = Command::new("unshare")
        .args(["--net", "--mount", "--propagation", propagation, "sleep", "1000"])
        .stdin(Stdio::null())
        .spawn()
        .expect("start a process");
    let pid = world.keep(child);
    wait_for("its namespaces", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "sleep\n")
    });
    Process { pid }
}

/// What a process sees in a file.
pub(super) fn sees(world: &World, process: Process, file: &str) -> String {
    world.sh(&format!("nsenter -t {} -m -r cat {file}", process.pid))
}

#[test]
fn a_container_that_runs_is_given_files_when_asked_and_detach_takes_them_back() {
    let Some(mut world) = World::new() else { return };
    let container = apart(&mut world);
    let pid = container.pid.to_string();
    let host = (fs::read("/etc/hosts").unwrap(), fs::read("/etc/resolv.conf").unwrap());
    let own = (sees(&world, container, "/etc/hosts"), sees(&world, container, "/etc/resolv.conf"));
    let table = mounts(&world);
    world.netns_ok(&["attach", &pid, "--id", "a"], "");
    assert_eq!(sees(&world, container, "/etc/hosts"), own.0, "nobody asked");
    world.netns_ok(&["detach", "a"], "");

    world.netns_ok(&["attach", &pid, "--id", "a", "--dns", "1.1.1.1", "--alias", "web"], "");
    assert!(sees(&world, container, "/etc/hosts").contains(" a web "));
    assert!(sees(&world, container, "/etc/resolv.conf").starts_with("nameserver 1.1.1.1\n"));
    let write = format!("nsenter -t {pid} -m -r sh -c 'echo x >>/etc/hosts'");
    assert!(!world.try_sh(&write).status.success(), "read only");
    assert_eq!((fs::read("/etc/hosts").unwrap(), fs::read("/etc/resolv.conf").unwrap()), host);
    assert_eq!(mounts(&world), table, "the host's mounts");
    world.netns_ok(&["detach", "a"], "");
    assert_eq!(sees(&world, container, "/etc/hosts"), own.0);
    assert_eq!(sees(&world, container, "/etc/resolv.conf"), own.1);
    assert!(!fs::read_to_string(HOSTS).unwrap().contains(" web "));
}

#[test]
fn a_process_with_the_hosts_files_gets_a_name_and_no_files() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    let (host, table) = (fs::read("/etc/hosts").unwrap(), mounts(&world));
    world.attach_ok("a", container, &[("dns", "1.1.1.1"), ("alias", "web")]);
    assert_eq!((fs::read("/etc/hosts").unwrap(), mounts(&world)), (host, table));
    assert!(fs::read_to_string(HOSTS).unwrap().contains("172.19.0.2 a web "));
}

#[test]
fn a_process_whose_mounts_show_on_the_host_is_refused_files() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.sh("mount --make-rshared /");
    let Process { pid } = apart_with(&mut world, "unchanged");
    let (before, host, table) = (world.snapshot(), fs::read("/etc/hosts").unwrap(), mounts(&world));
    let output = world.netns(&["attach", &pid.to_string(), "--id", "a", "--dns", "1.1.1.1"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("would be mounted on the host too"), "{}", stderr(&output));
    assert_eq!((fs::read("/etc/hosts").unwrap(), mounts(&world)), (host, table));
    world.assert_as(&before);
}
