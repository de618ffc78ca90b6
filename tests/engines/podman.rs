//! podman, with a hook directory, over runc and over crun.

use std::fs;
use std::path::Path;

use super::{Ask, DockerLike, Engine, NETNS, image, said};
use crate::common::{Process, World};

pub struct Podman {
    command: String,
}

impl Podman {
    pub fn new(world: &World, runtime: &Path) -> Self {
        let dir = world.dir.join("podman");
        let hooks = dir.join("hooks.d");
        fs::create_dir_all(&hooks).expect("create hooks.d");
        // The definition that users copy, with the path of the binary under test.
        let definition = include_str!("../../hooks/podman.json").replace("/usr/local/bin/netns", NETNS);
        fs::write(hooks.join("netns.json"), definition).expect("write hooks.d/netns.json");
        let failing = serde_json::json!({
            "version": "1.0.0", "hook": {"path": "/bin/false"},
            "when": {"annotations": {"^fail$": ".*"}}, "stages": ["createRuntime"],
        });
        fs::write(hooks.join("zz-fail.json"), failing.to_string()).expect("write hooks.d/zz-fail.json");
        let network = format!("network_config_dir = \"{}/networks\"\n", dir.display());
        Self::start(
            world,
            &network,
            &format!("--hooks-dir {} --runtime {}", hooks.display(), runtime.display()),
        )
    }

    /// podman with networks of its own, which the plugins of `/etc/cni/net.d` make.
    pub fn with_cni(world: &World) -> Self {
        let network = "network_backend = \"cni\"\nnetwork_config_dir = \"/etc/cni/net.d\"\n\
             cni_plugin_dirs = [\"/opt/cni/bin\"]\ndefault_network = \"netns\"\n";
        Self::start(world, network, "--runtime runc")
    }

    fn start(world: &World, network: &str, options: &str) -> Self {
        let d = world.dir.join("podman").display().to_string();
        world.sh(&format!("mkdir -p {d}"));
        let text = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n[network]\n{network}"
        );
        fs::write(format!("{d}/containers.conf"), text).expect("write containers.conf");
        let podman = Self {
            command: format!(
                "CONTAINERS_CONF={d}/containers.conf podman --storage-driver vfs --root {d}/root \
                 --runroot {d}/runroot --tmpdir {d}/tmp {options}"
            ),
        };
        podman.run(world, &format!("import {} box", image(world).display())).expect("import the image");
        podman
    }

    /// The same podman, which looks for hooks where it does by itself.
    pub fn with_its_own_hooks_dir(mut self, world: &World) -> Self {
        let option = format!("--hooks-dir {}/podman/hooks.d", world.dir.display());
        self.command = self.command.replace(&option, "");
        self
    }
}

impl DockerLike for Podman {
    fn run(&self, world: &World, arguments: &str) -> Result<String, String> {
        let out = world.dir.join("podman.out");
        let output = world.sh_logged(&format!("{} {arguments} >{}", self.command, out.display()));
        said(&output)?;
        Ok(fs::read_to_string(out).expect("read podman's output").trim().to_owned())
    }
}

impl Engine for Podman {
    fn start(&mut self, world: &World, ask: Ask) -> Result<Process, String> {
        // One at least, so that the hook is called.
        let mut annotations = String::from("--annotation org.netns.ipfile=.ip");
        for (key, value) in ask.options {
            annotations.push_str(&format!(" --annotation org.netns.{key}={value}"));
        }
        if ask.then_fails {
            annotations.push_str(" --annotation fail=yes");
        }
        self.run_detached(world, ask.id, &annotations)
    }

    fn restart(&mut self, world: &World, id: &str) -> Process {
        self.restart_at_once(world, id)
    }

    fn delete(&mut self, world: &World, id: &str) {
        let _ = self.run(world, &format!("rm -f -t 0 {id}"));
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let command = format!("{} rm -f -t 0 --all", self.command);
        let mut remove = std::process::Command::new("timeout");
        let _ = remove.args(["-s", "KILL", "20", "sh", "-c", &command]).output();
    }
}
