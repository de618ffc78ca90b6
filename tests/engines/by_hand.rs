//! No engine at all: a process, and its state piped in.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};

use super::{Ask, Engine, said};
use crate::common::{Process, World, state, wait_for};

#[derive(Default)]
pub struct ByHand {
    running: BTreeMap<String, (Child, Vec<(String, String)>)>,
}

impl Engine for ByHand {
    fn start(&mut self, world: &World, ask: Ask) -> Result<Process, String> {
        let mut child = Command::new("unshare")
            .args(["--net", "sleep", "1000"])
            .stdin(Stdio::null())
            .spawn()
            .expect("start a container");
        let process = Process { pid: child.id() };
        wait_for("a namespace of its own", || {
            std::fs::read_to_string(format!("/proc/{}/comm", process.pid)).is_ok_and(|name| name == "sleep\n")
        });
        let attached =
            said(&world.netns(&[], &own(world, ask.id, "creating", Some(process.pid), ask.options)));
        if attached.is_err() || ask.then_fails {
            let _ = child.kill();
            let _ = child.wait();
            return attached.and(Err("a later step failed".to_owned()));
        }
        let options = ask.options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.running.insert(ask.id.to_owned(), (child, options.collect()));
        Ok(process)
    }

    fn restart(&mut self, world: &World, id: &str) -> Process {
        let options = self.running[id].1.clone();
        self.delete(world, id);
        let options: Vec<_> = options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        self.start(world, Ask { id, options: &options, then_fails: false }).expect("restart")
    }

    fn delete(&mut self, world: &World, id: &str) {
        let Some((mut child, _)) = self.running.remove(id) else { return };
        let _ = child.kill();
        let _ = child.wait();
        said(&world.netns(&[], &own(world, id, "stopped", None, &[]))).expect("detach");
    }
}

/// The state of a container in a bundle of its own.
fn own(world: &World, id: &str, status: &str, pid: Option<u32>, options: &[(&str, &str)]) -> String {
    let bundle = world.dir.join("by-hand").join(id);
    std::fs::create_dir_all(&bundle).expect("create bundle");
    state(id, status, pid, options).replace("\"/run/test\"", &format!("\"{}\"", bundle.display()))
}

impl Drop for ByHand {
    fn drop(&mut self) {
        for (child, _) in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
