//! docker, with the hook put in by a runtime of its own: the wrapper that users copy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Ask, DockerLike, Engine, NETNS, image, said, wait_for};
use crate::common::{Process, World};

pub struct Docker {
    daemon: Child,
    docker: String,
}

impl Docker {
    pub fn new(world: &World) -> Self {
        let dir = world.dir.join("docker");
        fs::create_dir_all(&dir).expect("create directory");
        let d = dir.display();
        let wrapper = include_str!("../../hooks/docker-wrapper").replace("/usr/local/bin/netns", NETNS);
        // The same, with a hook after ours that fails.
        let fail = "sed -i 's#\"createRuntime\": \\[\\({[^}]*}\\)\\]#\"createRuntime\": [\\1,{\"path\":\"/bin/false\"}]#' \
             \"$bundle/config.json\"\nexec ";
        let failing = wrapper.replace("exec ", fail);
        for (name, text) in [("wrapper", wrapper), ("failing", failing)] {
            let path = dir.join(name);
            fs::write(&path, text).expect("write wrapper");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        fs::write(dir.join("daemon.json"), "{}").expect("write daemon.json");
        let runtimes = ["netns=wrapper", "failing=failing"].map(|runtime| {
            let (name, program) = runtime.split_once('=').expect("name=program");
            format!("--add-runtime={name}={d}/{program}")
        });
        Self::start(world, &format!("{d}/daemon.json"), &runtimes)
    }

    /// dockerd with the machine's own configuration.
    pub fn as_configured(world: &World) -> Self {
        fs::create_dir_all(world.dir.join("docker")).expect("create directory");
        Self::start(world, "/etc/docker/daemon.json", &[])
    }

    /// dockerd with networks and rules of its own.
    pub fn with_network(world: &World) -> Self {
        fs::create_dir_all(world.dir.join("docker")).expect("create directory");
        fs::write(world.dir.join("docker/daemon.json"), "{}").expect("write daemon.json");
        let own = ["--bridge=", "--iptables=true", "--ip-forward=true"].map(str::to_owned);
        Self::start(world, &world.dir.join("docker/daemon.json").display().to_string(), &own)
    }

    /// Has dockerd read its configuration again.
    pub fn reload(&self) {
        kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGHUP).expect("signal dockerd");
    }

    fn start(world: &World, configuration: &str, runtimes: &[String]) -> Self {
        let dir = world.dir.join("docker");
        let d = dir.display();
        let log = fs::File::create(dir.join("log")).expect("create log");
        let daemon = Command::new("dockerd")
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--storage-driver=vfs"])
            .arg(format!("--data-root={d}/data"))
            .arg(format!("--exec-root={d}/exec"))
            .arg(format!("--pidfile={d}/pid"))
            .arg(format!("--host=unix://{d}/sock"))
            .args(runtimes)
            .arg(format!("--config-file={configuration}"))
            .arg("--exec-opt=native.cgroupdriver=cgroupfs")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone log"))
            .stderr(log)
            .spawn()
            .expect("start dockerd");
        let docker = Self { daemon, docker: format!("docker --host unix://{d}/sock") };
        wait_for("dockerd", || {
            world.try_sh(&format!("timeout 5 {} version", docker.docker)).status.success()
        });
        docker.run(world, &format!("import {} box", image(world).display())).expect("import the image");
        docker
    }
}

impl DockerLike for Docker {
    fn run(&self, world: &World, arguments: &str) -> Result<String, String> {
        said(&world.try_sh(&format!("timeout -s KILL 60 {} {arguments}", self.docker)))
    }
}

impl Engine for Docker {
    fn start(&mut self, world: &World, ask: Ask) -> Result<Process, String> {
        let runtime = if ask.then_fails { "failing" } else { "netns" };
        let mut options = format!("--runtime {runtime}");
        for (key, value) in ask.options {
            options.push_str(&format!(" -e NETNS_{}={value}", key.to_uppercase().replace('-', "_")));
        }
        self.run_detached(world, ask.id, &options)
    }

    fn restart(&mut self, world: &World, id: &str) -> Process {
        self.restart_at_once(world, id)
    }

    fn delete(&mut self, world: &World, id: &str) {
        let _ = self.run(world, &format!("rm -f {id}"));
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let command = format!("{0} rm -f $({0} ps -aq)", self.docker);
        let mut remove = Command::new("timeout");
        let _ = remove.args(["-s", "KILL", "20", "sh", "-c", &command]).output();
        // Asked to end, it ends its containerd too.
        let _ = kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}
