//! Every engine, driven as a user drives it: the same containers, the same checks.

mod by_hand;
mod conformance;
pub mod containerd;
pub mod docker;
mod examples;
pub mod podman;
mod reasons;
mod runtime;
mod special;

use std::path::PathBuf;
use std::process::Output;

pub use crate::common::kubelet::image;
use crate::common::{NETNS, Process, World, skip, stderr, wait_for};

/// A container to be started: a busybox that sleeps.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub id: &'a str,
    /// Options of ours; the engine's own way is used to pass them.
    pub options: &'a [(&'a str, &'a str)],
    /// Whether a hook after ours fails.
    pub then_fails: bool,
}

/// Something that runs containers.
pub trait Engine {
    /// Starts a container; what the user sees if it fails.
    fn start(&mut self, world: &World, ask: Ask) -> Result<Process, String>;
    /// The same container again, with the same id.
    fn restart(&mut self, world: &World, id: &str) -> Process;
    /// The container is gone for good, running or not.
    fn delete(&mut self, world: &World, id: &str);
}

/// An engine with the command line of docker.
pub trait DockerLike {
    /// Standard output, or what the user sees.
    fn run(&self, world: &World, arguments: &str) -> Result<String, String>;

    fn process(&self, world: &World, id: &str) -> Process {
        let pid = self.run(world, &format!("inspect --format '{{{{.State.Pid}}}}' {id}")).expect("inspect");
        Process { pid: pid.parse().expect("pid") }
    }

    fn run_detached(&self, world: &World, id: &str, options: &str) -> Result<Process, String> {
        let container = format!("--name {id} --network none {options} box");
        self.run(world, &format!("run -d {container} /bin/busybox sleep 1000"))?;
        Ok(self.process(world, id))
    }

    fn restart_at_once(&self, world: &World, id: &str) -> Process {
        self.run(world, &format!("restart -t 0 {id}")).expect("restart");
        self.process(world, id)
    }
}

/// An engine by the name that users give it, if it is installed.
pub fn engine(name: &str, world: &mut World) -> Option<Box<dyn Engine>> {
    let (kind, runtime) = name.split_once('+').unwrap_or((name, name));
    let program = match kind {
        "by hand" => return Some(Box::new(by_hand::ByHand::default())),
        "docker" => "dockerd",
        other => other,
    };
    let runtime = find(runtime)?;
    find(program)?;
    Some(match kind {
        "podman" => Box::new(podman::Podman::new(world, &runtime)),
        "containerd" => Box::new(containerd::Containerd::new(world, &runtime)),
        "docker" => Box::new(docker::Docker::new(world)),
        _ => Box::new(runtime::Runtime::new(world, &runtime)),
    })
}

/// Where a program is; where cargo installs programs is looked at too.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let home = std::env::var("HOME").unwrap_or_default();
    let all = format!("{path}:/usr/sbin:/sbin:{home}/.cargo/bin:/opt/{program}/bin");
    let found = all.split(':').map(|dir| PathBuf::from(dir).join(program)).find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// The standard output of a command that succeeded, or else what it said.
fn said(output: &Output) -> Result<String, String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(stderr(output))
}
