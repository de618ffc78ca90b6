//! runc, crun and youki, without an engine above them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use super::{Ask, Engine, said};
use crate::common::{Process, World, ask_for};

pub struct Runtime {
    /// The program with its `--root`.
    command: String,
    started: Vec<String>,
}

impl Runtime {
    pub fn new(world: &World, program: &Path) -> Self {
        let root = world.dir.join("runtime");
        Self { command: format!("{} --root {}", program.display(), root.display()), started: Vec::new() }
    }

    /// The runtime's answer; a container keeps its creator's outputs open, so they are files.
    fn run(&self, world: &World, arguments: &str) -> Output {
        world.sh_logged(&format!("{} {arguments}", self.command))
    }

    pub fn create(&mut self, world: &World, id: &str, bundle: &Path) -> Result<Process, String> {
        // youki leaves what it failed to create.
        self.started.push(id.to_owned());
        said(&self.run(world, &format!("create -b {} {id}", bundle.display())))?;
        said(&self.run(world, &format!("start {id}")))?;
        let state = self.run(world, &format!("state {id} 2>/dev/null"));
        let state: serde_json::Value = serde_json::from_slice(&state.stderr).expect("state is JSON");
        Ok(Process { pid: state["pid"].as_u64().expect("pid") as u32 })
    }
}

impl Engine for Runtime {
    fn start(&mut self, world: &World, ask: Ask) -> Result<Process, String> {
        let bundle = world.bundle(ask.id, &["createRuntime", "poststop"], "");
        edit(&bundle, ask);
        self.create(world, ask.id, &bundle)
    }

    fn restart(&mut self, world: &World, id: &str) -> Process {
        self.delete(world, id);
        let bundle = world.dir.join("runc").join(id);
        self.create(world, id, &bundle).expect("restart")
    }

    fn delete(&mut self, world: &World, id: &str) {
        self.run(world, &format!("delete --force {id}"));
        self.started.retain(|other| other != id);
    }
}

/// Adds the options as annotations, and the hook that fails.
pub fn edit(bundle: &Path, ask: Ask) -> PathBuf {
    let file = bundle.join("config.json");
    let text = fs::read_to_string(&file).expect("read config.json");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("config.json");
    // A /dev of its own: youki makes links there, and no second time in the same bundle.
    let dev = serde_json::json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"});
    config["mounts"].as_array_mut().expect("mounts").push(dev);
    ask_for(&mut config, ask.options);
    if ask.then_fails {
        let hooks = config["hooks"]["createRuntime"].as_array_mut().expect("hooks");
        hooks.push(serde_json::json!({"path": "/bin/false"}));
    }
    fs::write(&file, config.to_string()).expect("write config.json");
    file
}

impl Drop for Runtime {
    fn drop(&mut self) {
        for id in &self.started {
            let command = format!("{} delete --force {id}", self.command);
            let mut delete = std::process::Command::new("timeout");
            let _ = delete.args(["-s", "KILL", "20", "sh", "-c", &command]).output();
        }
    }
}
