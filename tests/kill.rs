//! Killed at any moment: SIGKILL at each system call that changes something, in turn, and then
//! one more run. Every container must be whole or gone, and the host as if nothing had been.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::common::{NETNS, Options, Process, World, run, state, stderr};

/// The system calls by which the hook and its programs change anything.
pub const CALLS: [&str; 15] = [
    "sendto",
    "sendmsg",
    "write",
    "pwrite64",
    "openat",
    "openat2",
    "mkdir",
    "symlink",
    "rename",
    "unlink",
    "unlinkat",
    "rmdir",
    "ftruncate",
    "clone3",
    "setns",
];

/// More than any of them is made by one run.
pub const MOST: usize = 300;

const PORTS: &str = "8081:81,8082:82/udp";
/// What the victim asks for.
const ASKED: &Options = &[("publish", PORTS), ("static-ip", "172.19.9.9")];
const LIMITED: &Options = &[("rate-in", "100mbit"), ("rate-out", "10mbit"), ("static-ip", "172.19.9.9")];

/// How one run ended that was to be killed at the `n`th `call`.
pub enum End {
    /// It was killed, or one of its programs was and it gave up.
    Cut,
    /// It never made that many.
    Whole,
}

pub fn kill_at(call: &str, n: usize, flags: &[&str], input: &str) -> End {
    let output = run(
        Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:signal=KILL:when={n}")])
            .arg(NETNS)
            .args(flags),
        input,
    );
    let whole = output.status.success() && output.stderr.is_empty();
    assert!(
        whole || output.status.signal() == Some(9) || output.status.code().is_some(),
        "{call} {n}: {}",
        stderr(&output)
    );
    if whole { End::Whole } else { End::Cut }
}

/// A host with a network and two bystanders, one attached and one not.
struct Scene {
    world: World,
    victim: Process,
    other: Process,
    /// What the victim asks for.
    asked: &'static Options<'static>,
    /// Without the victim.
    without: Vec<String>,
    /// With it attached.
    with: Vec<String>,
}

impl Scene {
    fn new(firewall: &str, asked: &'static Options) -> Option<Self> {
        let mut world = World::new()?;
        world.use_firewall(firewall);
        let (victim, bystander, other) = (world.process(), world.process(), world.process());
        world.attach_ok("bystander", bystander, &[("publish", "8080:80"), ("ipfile", "bystander")]);
        let without = world.snapshot();
        world.attach_ok("victim", victim, asked);
        let with = world.snapshot();
        world.detach_ok("victim");
        world.assert_as(&without);
        Some(Self { world, victim, other, asked, without, with })
    }

    fn attach_state(&self) -> String {
        state("victim", "creating", Some(self.victim.pid), self.asked)
    }

    /// One more run, each of the three kinds in its turn; then the victim is whole or gone.
    fn recover(&self, turn: usize, what: &str) {
        let world = &self.world;
        match turn % 3 {
            0 => drop(world.netns_ok(&["gc"], "")),
            1 => {
                world.attach_ok("other", self.other, &[("publish", "8090:90"), ("ipfile", "other")]);
                world.detach_ok("other");
            }
            _ => world.detach_ok("victim"),
        }
        let rows = world.ls();
        let rows = rows.as_array().unwrap();
        assert!(rows.iter().all(|row| row["status"] == "running"), "{what}: {rows:?}");
        let attached = rows.iter().any(|row| row["id"] == "victim");
        world.assert_as(if attached { &self.with } else { &self.without });
        if attached {
            assert!(self.victim.pings("172.19.0.1"), "{what}: whole, and yet it reaches nothing");
            world.detach_ok("victim");
            world.assert_as(&self.without);
        }
    }
}

/// Kills attach at every call in turn, and detach likewise; how often.
fn sweep(firewall: &str, asked: &'static Options) {
    let Some(scene) = Scene::new(firewall, asked) else { return };
    let flags: Vec<&str> = scene.world.flags.iter().map(String::as_str).collect();
    let mut kills = 0;
    for call in CALLS {
        for n in 1..MOST {
            if let End::Whole = kill_at(call, n, &flags, &scene.attach_state()) {
                scene.world.detach_ok("victim");
                break;
            }
            kills += 1;
            scene.recover(kills, &format!("attach killed at {call} {n}"));
        }
        for n in 1..MOST {
            scene.world.netns_ok(&[], &scene.attach_state());
            if let End::Whole = kill_at(call, n, &flags, &state("victim", "stopped", None, &[])) {
                break;
            }
            kills += 1;
            scene.recover(kills, &format!("detach killed at {call} {n}"));
        }
    }
    eprintln!("{kills} kills on {firewall}");
    assert!(kills > 100, "the sweep killed only {kills} times");
}

#[test]
fn a_run_killed_anywhere_leaves_each_container_whole_or_gone_on_nft() {
    sweep("nft", ASKED);
}

#[test]
fn a_run_killed_anywhere_leaves_each_container_whole_or_gone_on_legacy() {
    sweep("legacy", ASKED);
}

#[test]
fn a_run_killed_anywhere_leaves_each_container_whole_or_gone_on_nftables() {
    sweep("nftables", ASKED);
}

#[test]
fn a_run_killed_anywhere_leaves_a_container_with_rates_whole_or_gone() {
    sweep("nftables", LIMITED);
}

#[test]
fn the_very_first_run_killed_anywhere_leaves_a_whole_network_or_none() {
    first_run("nft");
}

#[test]
fn the_very_first_run_killed_anywhere_leaves_a_whole_network_or_none_on_nftables() {
    first_run("nftables");
}

fn first_run(firewall: &str) {
    let Some(mut world) = World::new() else { return };
    world.use_firewall(firewall);
    let flags = world.flags.clone();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let victim = world.process();
    let input = state("victim", "creating", Some(victim.pid), &[("publish", PORTS)]);
    world.netns_ok(&[], &input);
    world.netns_ok(&["rm", "--force"], "");
    let nothing = world.snapshot();
    world.netns_ok(&["create"], "");
    let network = world.snapshot();
    world.netns_ok(&["rm"], "");
    for call in CALLS {
        for n in 1..MOST {
            if let End::Whole = kill_at(call, n, &flags, &input) {
                world.netns_ok(&["rm", "--force"], "");
                break;
            }
            world.netns_ok(&["gc"], "");
            world.detach_ok("victim");
            if world.links().contains(&"netns0".to_owned()) {
                world.assert_as(&network);
                world.netns_ok(&["rm"], "");
            }
            world.assert_as(&nothing);
        }
    }
}
