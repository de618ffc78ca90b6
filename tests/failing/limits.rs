//! Limits of the machine: descriptors, and the pages and inodes of `/run`.

use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;

use super::{Operation, Scene, conclude};
use crate::common::{NETNS, run};

const FIREWALLS: [&str; 3] = ["nft", "legacy", "nftables"];
const ALL: [Operation; 3] = [Operation::Attach, Operation::Detach, Operation::Gc];

/// More pages or inodes than one run takes.
const MOST: u64 = 64;

/// What `/run` has only so many left of.
#[derive(Debug, Clone, Copy)]
enum Scarce {
    Pages,
    Inodes,
}

/// Runs each operation with less than it needs, and judges what became of it, until it is whole;
/// `limited` makes a limit of it.
fn sweep(mut scene: Scene, what: &str, limits: &[u64], limited: impl Fn(u64, &mut Command)) {
    let (mut times, mut bad) = (0, Vec::new());
    for operation in ALL {
        for limit in limits {
            let (args, input) = scene.prepare(operation);
            let mut command = Command::new("prlimit");
            limited(*limit, &mut command);
            let output = run(command.arg(NETNS).args(args), &input);
            unlimit();
            let wrong = scene.judge(operation, &output, times);
            times += 1;
            bad.extend(wrong.iter().map(|wrong| format!("{operation:?} with {what} {limit}: {wrong}")));
            assert!(wrong.is_empty(), "{bad:#?}");
            if output.status.success() && output.stderr.is_empty() {
                break;
            }
        }
    }
    conclude(what.trim_end_matches(':'), times, &bad);
    assert!(times > 4, "{what}: only {times} limits");
}

/// Leaves so much of `/run`.
fn leave(scarce: Scarce, left: u64) {
    let found = statvfs("/run").expect("look at /run");
    let options = match scarce {
        Scarce::Pages => {
            let used = found.blocks() - found.blocks_free();
            format!("size={}", (used + left) * found.fragment_size())
        }
        Scarce::Inodes => format!("nr_inodes={}", found.files() - found.files_free() + left),
    };
    remount(&options);
}

fn unlimit() {
    remount("size=64m,nr_inodes=65536");
}

fn remount(options: &str) {
    let none: Option<&str> = None;
    mount(none, "/run", none, MsFlags::MS_REMOUNT, Some(options)).expect("remount /run");
}

fn few_descriptors(firewall: &str) {
    let Some(scene) = Scene::new(firewall) else { return };
    let limits: Vec<u64> = (3..=40).collect();
    sweep(scene, &format!("descriptors, {firewall}:"), &limits, |limit, command| {
        command.arg(format!("--nofile={limit}"));
    });
}

fn full(firewall: &str, scarce: Scarce) {
    let Some(scene) = Scene::new(firewall) else { return };
    let limits: Vec<u64> = (0..MOST).collect();
    sweep(scene, &format!("free {scarce:?} of /run, {firewall}:"), &limits, |left, _| leave(scarce, left));
}

#[test]
fn however_few_descriptors_there_are_each_container_is_whole_or_gone() {
    FIREWALLS.into_iter().for_each(few_descriptors);
}

#[test]
fn however_full_run_is_each_container_is_whole_or_gone() {
    for firewall in FIREWALLS {
        for scarce in [Scarce::Pages, Scarce::Inodes] {
            full(firewall, scarce);
        }
    }
}
