//! The examples are the documentation: each is run as it is.

use std::path::Path;
use std::process::{Command, Stdio};

use super::find;
use crate::common::NETNS;

/// Each example runs in a world of its own making.
fn runs(name: &str, program: &str) {
    if find(program).is_none() {
        return;
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let output = Command::new("timeout")
        .args(["-s", "KILL", "120"])
        .arg(example)
        .env("NETNS", NETNS)
        .stdin(Stdio::null())
        .output()
        .expect("run the example");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Nothing is left."), "{name}: {said}");
}

#[test]
fn the_example_of_crun_runs() {
    runs("crun", "crun");
}

#[test]
fn the_example_of_youki_runs() {
    runs("youki", "youki");
}

#[test]
fn the_example_of_podman_runs() {
    runs("podman", "podman");
}

#[test]
fn the_example_of_containerd_runs() {
    runs("containerd", "containerd");
}

#[test]
fn the_example_of_docker_runs() {
    runs("docker", "dockerd");
}
