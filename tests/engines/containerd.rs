//! containerd with a configuration and a socket of its own, by `ctr`, over runc and over crun.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use super::runtime::edit;
use super::{Ask, Engine, said};
use crate::common::kubelet::start;
use crate::common::{Process, World};

pub struct Containerd {
    daemon: Child,
    ctr: String,
    runtime: String,
    started: Vec<String>,
}

impl Containerd {
    pub fn new(world: &World, runtime: &Path) -> Self {
        let (daemon, socket) = start(world, "disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n", "", &[]);
        let ctr = format!("ctr --address {socket}");
        Self { daemon, ctr, runtime: runtime.display().to_string(), started: Vec::new() }
    }

    /// As `ctr ARGUMENTS` in the namespace of that name.
    fn run(&self, world: &World, namespace: &str, arguments: &str) -> Result<String, String> {
        said(&world.sh_logged(&format!("{} --namespace {namespace} {arguments}", self.ctr)))
    }

    /// What `ctr ARGUMENTS` prints, as do the programs that it starts.
    pub fn said(&self, world: &World, arguments: &str) -> String {
        let output = world.sh_logged(&format!("{} --namespace default {arguments}", self.ctr));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// As [`Engine::start`], in a containerd namespace of that name.
    pub fn start_in(&mut self, world: &World, namespace: &str, ask: Ask) -> Result<Process, String> {
        let bundle = world.bundle(&format!("{namespace}-{}", ask.id), &["createRuntime", "poststop"], "");
        let file = edit(&bundle, ask);
        let text = fs::read_to_string(&file).expect("read config.json");
        let rootfs = format!("\"path\":\"{}/rootfs\"", bundle.display());
        fs::write(&file, text.replace("\"path\":\"rootfs\"", &rootfs)).expect("write config.json");
        let options = format!("--runc-binary {} --config {}", self.runtime, file.display());
        self.run(world, namespace, &format!("run --detach {options} {}", ask.id))?;
        self.started.push(format!("{namespace} {}", ask.id));
        Ok(self.process(world, namespace, ask.id))
    }

    fn process(&self, world: &World, namespace: &str, id: &str) -> Process {
        let list = world.sh(&format!("{} --namespace {namespace} task ls", self.ctr));
        let row = list.lines().find(|line| line.split_whitespace().next() == Some(id)).expect("task");
        Process { pid: row.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).expect("pid") }
    }

    /// Ends the container's program; the hook's `poststop` has run then.
    pub fn stop_in(&self, world: &World, namespace: &str, id: &str) {
        let _ = self.run(world, namespace, &format!("task rm --force {id}"));
    }

    /// As [`Engine::delete`], in a containerd namespace of that name.
    pub fn delete_in(&mut self, world: &World, namespace: &str, id: &str) {
        self.stop_in(world, namespace, id);
        let _ = self.run(world, namespace, &format!("container rm {id}"));
        self.started.retain(|other| *other != format!("{namespace} {id}"));
    }
}

impl Engine for Containerd {
    fn start(&mut self, world: &World, ask: Ask) -> Result<Process, String> {
        self.start_in(world, "default", ask)
    }

    fn restart(&mut self, world: &World, id: &str) -> Process {
        self.stop_in(world, "default", id);
        self.run(world, "default", &format!("task start --detach {id}")).expect("restart");
        self.process(world, "default", id)
    }

    fn delete(&mut self, world: &World, id: &str) {
        self.delete_in(world, "default", id);
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for (namespace, id) in self.started.iter().filter_map(|started| started.split_once(' ')) {
            let command = format!("{} --namespace {namespace} task rm --force {id}", self.ctr);
            let mut remove = Command::new("timeout");
            let _ = remove.args(["-s", "KILL", "20", "sh", "-c", &command]).output();
        }
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
