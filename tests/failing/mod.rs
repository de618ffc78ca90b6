//! The machine has no more of something, or refuses it, at each moment in turn: whoever is
//! attached, detached or collected is then whole or gone, and one more run leaves nothing.

mod caller;
mod calls;
mod firewall;
mod limits;

use std::process::Output;

use crate::common::{Process, World, state, stderr};

/// What is asked for: whatever takes a step of every kind, and changes a shared file.
const ASKED: [(&str, &str); 4] = [
    ("publish", "8081:81,127.0.0.1:8082:82/udp"),
    ("static-ip", "172.19.9.9"),
    ("alias", "box"),
    ("ipfile", "victim"),
];

/// How much is shown of what differs, in characters.
const MAX_SHOWN: usize = 600;

/// What is run while something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Attach,
    Detach,
    /// The container is dead, and no runtime has said so.
    Gc,
}

/// A host with a network and a bystander who is attached, beside the victim.
struct Scene {
    world: World,
    victim: Process,
    /// One that comes and goes in the run afterwards.
    other: Process,
    /// Without the victim.
    without: Vec<String>,
    /// With it attached.
    with: Vec<String>,
}

impl Scene {
    fn new(firewall: &str) -> Option<Self> {
        let mut world = World::new()?;
        world.use_firewall(firewall);
        let (victim, bystander, other) = (world.process(), world.process(), world.process());
        world.attach_ok("bystander", bystander, &[("publish", "8080:80"), ("ipfile", "bystander")]);
        // The files that only grow have their size.
        world.attach_ok("victim", victim, &ASKED);
        world.detach_ok("victim");
        let without = world.snapshot();
        world.attach_ok("victim", victim, &ASKED);
        let with = world.snapshot();
        let scene = Self { world, victim, other, without, with };
        scene.world.detach_ok("victim");
        scene.world.assert_as(&scene.without);
        Some(scene)
    }

    /// What stands before an operation is there; its arguments and standard input.
    fn prepare(&mut self, operation: Operation) -> (Vec<String>, String) {
        let (args, input) = self.prepared(operation);
        let flags = self.world.flags.iter().cloned();
        (flags.chain(args.into_iter().map(str::to_owned)).collect(), input)
    }

    fn prepared(&mut self, operation: Operation) -> (Vec<&'static str>, String) {
        let attach = state("victim", "creating", Some(self.victim.pid), &ASKED);
        match operation {
            Operation::Attach => (Vec::new(), attach),
            Operation::Detach => {
                self.world.netns_ok(&[], &attach);
                (vec!["detach", "victim"], String::new())
            }
            Operation::Gc => {
                self.world.netns_ok(&[], &attach);
                self.world.kill(self.victim);
                self.victim = self.world.process();
                (vec!["gc"], String::new())
            }
        }
    }

    /// What is wrong after the operation has ended like this, and after one more run, of each of
    /// three kinds in its turn. The victim is gone then.
    fn judge(&self, operation: Operation, output: &Output, turn: usize) -> Vec<String> {
        let said = stderr(output);
        let mut wrong = Vec::new();
        let mut is_as = |when: &str, allowed: &[&Vec<String>]| {
            let now = self.world.snapshot();
            if !allowed.contains(&&now) {
                let nearest = allowed.iter().map(|wanted| difference(wanted, &now)).min_by_key(Vec::len);
                let lines = nearest.unwrap_or_default().join(" | ");
                let lines: String = lines.chars().take(MAX_SHOWN).collect();
                wrong.push(format!("{when}: {lines}; it said: {said}"));
            }
            now == self.without
        };
        if output.status.success() {
            let after = if operation == Operation::Attach { &self.with } else { &self.without };
            is_as("exit 0", &[after]);
        } else if said.is_empty() && output.status.code().is_some() {
            is_as(&format!("{}, and nothing said", output.status), &[]);
        }
        let more = match turn % 3 {
            0 => self.world.netns(&["gc"], ""),
            1 => {
                let options = [("publish", "8090:90"), ("ipfile", "other")];
                let attached = self.world.attach("other", self.other, &options);
                self.world.detach("other");
                attached
            }
            _ => self.world.detach("victim"),
        };
        if !more.status.success() {
            is_as(&format!("one more run failed: {}", stderr(&more)), &[]);
        }
        // Who was told to leave, and could not even begin, is whole.
        let whole = operation == Operation::Detach || output.status.success();
        let allowed = if whole { vec![&self.without, &self.with] } else { vec![&self.without] };
        if !is_as("after one more run", &allowed) {
            self.world.detach("victim");
            is_as("at the end", &[&self.without]);
        }
        wrong
    }
}

/// The lines that came and went.
fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let missing = before.iter().filter(|line| !after.contains(line)).map(|line| format!("- {line}"));
    let added = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}"));
    missing.chain(added).collect()
}

/// Prints how many there were and how many ended badly, which must be none.
fn conclude(what: &str, times: usize, bad: &[String]) {
    eprintln!("{what}: {times} faults, {} bad", bad.len());
    assert!(bad.is_empty(), "{what}: {} of {times} ended badly:\n{}", bad.len(), bad.join("\n"));
}
