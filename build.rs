//! Tells the program which commit it was built from, for `netns version`.

use std::process::Command;

fn main() {
    // A path that is not there, as in a release's archive, would have cargo build every time.
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["HEAD", "refs/heads"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or("unknown".to_owned());
    println!("cargo::rustc-env=NETNS_COMMIT={commit}");
}

/// What git answers, if there is a git and this is a repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
