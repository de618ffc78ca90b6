//! Tells the program which commit it was built from, for `netns version`.

use std::path::Path;
use std::process::Command;

fn main() {
    // A file that is not there, as in a release's archive, would have cargo build every time.
    println!("cargo::rerun-if-changed=build.rs");
    for path in [".git/HEAD", ".git/refs/heads"].into_iter().filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let commit = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let commit = commit.as_deref().map_or("unknown", str::trim);
    println!("cargo::rustc-env=NETNS_COMMIT={commit}");
}
