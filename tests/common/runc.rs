//! Real containers of runc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{NETNS, Process, World, stderr};

impl World {
    /// Creates the bundle of a busybox container that sleeps, with the hook in `stages`.
    /// `publish` is its `org.netns.publish` annotation, if not empty.
    pub fn bundle(&self, id: &str, stages: &[&str], publish: &str) -> PathBuf {
        let bundle = self.dir.join("runc").join(id);
        let bin = bundle.join("rootfs/bin");
        fs::create_dir_all(&bin).expect("create bundle");
        for dir in ["proc", "sys", "dev", "etc", "tmp", "www"] {
            fs::create_dir_all(bundle.join("rootfs").join(dir)).expect("create rootfs");
        }
        fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is not installed");
        let mut hook = serde_json::json!([{ "path": NETNS }]);
        if !self.flags.is_empty() {
            let args: Vec<&str> =
                std::iter::once("netns").chain(self.flags.iter().map(String::as_str)).collect();
            hook[0]["args"] = args.into();
        }
        let hooks: serde_json::Map<String, serde_json::Value> =
            stages.iter().map(|stage| ((*stage).to_owned(), hook.clone())).collect();
        let caps = ["CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_KILL"];
        // Cgroups are no part of this world: two tests may call their containers the same.
        let cgroup = format!("/netns-test-{}-{id}", nix::unistd::gettid());
        let mut config = serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "user": {"uid": 0, "gid": 0}, "cwd": "/",
                "args": ["/bin/busybox", "sleep", "1000"], "env": ["PATH=/bin"],
                "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            },
            "root": {"path": "rootfs"}, "hostname": id,
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {"cgroupsPath": cgroup, "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ]},
            "hooks": hooks,
        });
        if !publish.is_empty() {
            config["annotations"] = serde_json::json!({"org.netns.publish": publish});
        }
        fs::write(bundle.join("config.json"), config.to_string()).expect("write config.json");
        bundle
    }

    /// Runs `runc` with these arguments.
    pub fn runc(&self, args: &[&str]) -> Output {
        let mut runc = Command::new("timeout");
        runc.args(["-s", "KILL", "60", "runc", "--root", "/run/test/runc-root"]).args(args);
        // A container keeps its creator's outputs open: give it none to keep.
        let log = self.dir.join("runc.log");
        let file = fs::File::create(&log).expect("create log");
        let status = runc
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .output()
            .expect("runc is not installed");
        Output { stderr: fs::read(&log).expect("read log"), ..status }
    }

    /// Creates and starts a runc container in its bundle, which must succeed, and gives its
    /// process.
    pub fn runc_start(&mut self, id: &str, bundle: &Path) -> Process {
        let bundle = bundle.to_str().expect("bundle path");
        let output = self.sh_logged(&format!("runc --root /run/test/runc-root run -d -b {bundle} {id}"));
        assert!(output.status.success(), "runc run {id}: {}", stderr(&output));
        self.runc.push(id.to_owned());
        let state = self.runc(&["state", id]);
        let state: serde_json::Value = serde_json::from_slice(&state.stdout).expect("runc state");
        Process { pid: state["pid"].as_u64().expect("pid") as u32 }
    }

    /// As [`Self::try_sh`], with the outputs in a file that a container may keep open.
    pub fn sh_logged(&self, command: &str) -> Output {
        let log = self.dir.join("log");
        let file = fs::File::create(&log).expect("create log");
        let status = Command::new("timeout")
            .args(["-s", "KILL", "60", "sh", "-c", command])
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("clone log"))
            .stderr(file)
            .status()
            .expect("run sh");
        Output { status, stdout: Vec::new(), stderr: fs::read(&log).expect("read log") }
    }

    /// Kills and deletes a runc container, so that its `poststop` hooks have run.
    pub fn runc_delete(&mut self, id: &str) {
        let output = self.runc(&["delete", "--force", id]);
        assert!(output.status.success(), "runc delete {id}: {}", stderr(&output));
        self.runc.retain(|other| other != id);
    }
}
