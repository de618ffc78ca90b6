//! containerd with its CRI plugin, and a client that speaks to it as a kubelet does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{Process, World, skip, wait_for};

/// The client, which `tests/run` and `benches/run` build.
const CRI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/cri/bin/cri");

/// A containerd, and who asks it for pods.
#[derive(Debug)]
pub struct Kubelet {
    daemon: Child,
    socket: String,
}

impl Kubelet {
    /// Whether there is all that it takes.
    pub fn is_possible() -> bool {
        let client = Path::new(CRI).exists();
        if !client {
            skip("the CRI client is not built: cargo install --path tests/cri --root target/cri");
        }
        let daemon = Command::new("containerd").arg("--version").output().is_ok();
        if !daemon {
            skip("containerd is not installed");
        }
        client && daemon
    }

    /// With the plugins and the networks that a host has.
    pub fn new(world: &World) -> Self {
        Self::with(world, "/opt/cni/bin", "/etc/cni/net.d", &[])
    }

    /// With the plugins and the networks of these directories, and this environment for the plugins.
    pub fn with(world: &World, plugins: &str, networks: &str, env: &[(&str, &str)]) -> Self {
        let cri = "[plugins.\"io.containerd.grpc.v1.cri\"";
        let configuration = format!(
            "{cri}]\nsandbox_image = \"localhost/pause:1\"\ndisable_cgroup = true\ndisable_apparmor = true\n\
             restrict_oom_score_adj = true\n{cri}.containerd]\nsnapshotter = \"native\"\n\
             {cri}.cni]\nbin_dir = \"{plugins}\"\nconf_dir = \"{networks}\"\n"
        );
        let (daemon, socket) = start(world, "", &configuration, env);
        let kubelet = Self { daemon, socket };
        let ctr = format!("timeout 20 ctr --address {} --namespace k8s.io", kubelet.socket);
        world.sh(&format!("{ctr} images import {}", pause(world, &world.dir.join("containerd"))));
        kubelet
    }

    /// What a command prints that succeeds.
    pub fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, or what it says.
    pub fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("timeout");
        let output =
            command.args(["-s", "KILL", "60", CRI, &self.socket]).args(words).output().expect("run cri");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// A container that runs in a pod.
    pub fn start(&self, pod: &str, name: &str) -> Process {
        let id = self.ask(&["start", pod, "localhost/pause:1", name, "/bin/busybox", "sleep", "1000"]);
        Process { pid: self.ask(&["pid", &id]).parse().expect("a pid") }
    }

    /// Stops and removes a pod.
    pub fn end(&self, pod: &str) {
        self.ask(&["stop", pod]);
        self.ask(&["remove", pod]);
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// An image with busybox that sleeps, as `docker save` would write it.
fn pause(world: &World, dir: &Path) -> String {
    let layer = image(world);
    let sum = world.sh(&format!("sha256sum {}", layer.display()));
    let diff = format!("sha256:{}", sum.split_whitespace().next().expect("a sum"));
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [diff]},
        "config": {"Entrypoint": ["/bin/busybox", "sleep", "1000"]},
    });
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["localhost/pause:1"], "Layers": ["layer.tar"]}]);
    fs::write(dir.join("config.json"), config.to_string()).expect("write config.json");
    fs::write(dir.join("manifest.json"), manifest.to_string()).expect("write manifest.json");
    let d = dir.display();
    world.sh(&format!(
        "cp {} {d}/layer.tar; cd {d}; tar cf pause.tar layer.tar config.json manifest.json",
        layer.display()
    ));
    format!("{d}/pause.tar")
}

/// A containerd with a directory of its own, and its socket; its configuration begins and ends with
/// these lines.
pub fn start(world: &World, first: &str, last: &str, env: &[(&str, &str)]) -> (Child, String) {
    let dir = world.dir.join("containerd");
    fs::create_dir_all(&dir).expect("create directory");
    let d = dir.display();
    let configuration = format!(
        "version = 2\nroot = \"{d}/root\"\nstate = \"{d}/state\"\n{first}\
         [grpc]\naddress = \"{d}/sock\"\n{last}"
    );
    fs::write(dir.join("config.toml"), configuration).expect("write config.toml");
    let log = fs::File::create(dir.join("log")).expect("create log");
    let daemon = Command::new("containerd")
        .args(["--config", &format!("{d}/config.toml")])
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("clone log"))
        .stderr(log)
        .spawn()
        .expect("start containerd");
    let ctr = format!("timeout 5 ctr --address {d}/sock");
    wait_for("containerd", || world.try_sh(&format!("{ctr} version")).status.success());
    (daemon, format!("{d}/sock"))
}

/// A tar archive of a root file system with busybox, for the engines that have images.
pub fn image(world: &World) -> PathBuf {
    let tar = world.dir.join("image.tar");
    if !tar.exists() {
        let rootfs = world.bundle("image", &[], "").join("rootfs");
        world.sh(&format!("tar -C {} -cf {} .", rootfs.display(), tar.display()));
    }
    tar
}
