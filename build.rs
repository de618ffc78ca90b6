//! Tells the program which commit it was built from, for `netns version`; and leaves out of a release
//! what nothing in it uses.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

/// What is needed for unwinding is an eighth of the program, and a release never unwinds: a panic
/// aborts. The compiler writes it all the same, since the standard library has it.
const NO_UNWINDING: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) } } INSERT AFTER .text;";

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
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        let script = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default().join("no-unwinding.ld");
        match fs::write(&script, NO_UNWINDING) {
            Ok(()) => println!("cargo::rustc-link-arg-bin=netns=-Wl,-T,{}", script.display()),
            Err(error) => println!("cargo::warning=write {}: {error}", script.display()),
        }
    }
}

/// What git answers, if there is a git and this is a repository.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
