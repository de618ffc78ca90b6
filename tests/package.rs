//! The Debian package: what is in it, that it installs, and that systemd takes its units.

use std::process::Command;

use crate::common::{NETNS, World, skip};

const CONTENTS: [&str; 13] = [
    "/usr/bin/netns",
    "/usr/share/man/man1/netns.1.gz",
    "/usr/share/man/man1/netns-attach.1.gz",
    "/usr/share/man/man5/netns-hook.toml.5.gz",
    "/usr/share/bash-completion/completions/netns",
    "/usr/share/zsh/vendor-completions/_netns",
    "/usr/share/fish/vendor_completions.d/netns.fish",
    "/lib/systemd/system/netns-create@.service",
    "/lib/systemd/system/netns-reload@.service",
    "/usr/share/doc/netns/hooks/podman.json",
    "/usr/share/doc/netns/hooks/docker-wrapper",
    "/usr/share/doc/netns/examples/netns-hook.toml",
    "/usr/share/doc/netns/docs/firewalls.md",
];

#[test]
fn one_command_builds_a_package_whose_program_and_units_work() {
    let Some(world) = World::new() else { return };
    // The program under test is large.
    let quick = "DPKG_DEB_COMPRESSOR_TYPE=gzip DPKG_DEB_COMPRESSOR_LEVEL=1";
    let project = env!("CARGO_MANIFEST_DIR");
    let path = world.sh(&format!("{quick} NETNS={NETNS} {project}/pkg/deb /run/test"));
    let (path, root) = (path.trim(), "/run/test/root");
    world.sh(&format!("dpkg-deb --extract {path} {root}"));
    for file in CONTENTS {
        world.sh(&format!("test -s {root}{file}"));
    }
    let owners = world.sh(&format!("dpkg-deb --contents {path} | cut -d' ' -f2 | sort -u"));
    assert_eq!(owners, "root/root\n");
    assert_eq!(world.sh(&format!("{root}/usr/bin/netns --version")), world.sh(&format!("{NETNS} --version")));
    let hooks = world.sh(&format!("cat {root}/usr/share/doc/netns/hooks/*"));
    assert!(hooks.contains("\"/usr/bin/netns\"") && !hooks.contains("/usr/local/bin/netns"), "{hooks}");

    // dpkg itself, on a root of its own.
    let dpkg = "mkdir -p /run/test/dpkg/info /run/test/dpkg/updates && touch /run/test/dpkg/status && \
                dpkg --admindir=/run/test/dpkg --instdir=/run/test/inst --log=/dev/null --force-depends";
    world.sh(&format!("mkdir /run/test/inst && {dpkg} --install {path}"));
    world.sh(&format!("/run/test/inst/usr/bin/netns version && {dpkg} --purge netns"));
    assert_eq!(world.sh("find /run/test/inst -type f"), "", "it takes everything back");

    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("there is no systemd-analyze to verify the units");
    }
    // It looks for the programs of the units on this machine.
    let units = format!("{root}/lib/systemd/system");
    world.sh(&format!("sed -i 's#/usr/bin/netns#{NETNS}#' {units}/*.service"));
    let names = format!("{units}/netns-create@netns0.service {units}/netns-reload@firewalld.service");
    let verified =
        world.try_sh(&format!("SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no {names} 2>&1"));
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && !said.contains("netns-"), "{said}");
}
