//! Images that try to lead out: the host's files, and what the host sees of them, stay.

use std::fs;
use std::path::{Path, PathBuf};

use super::{HOSTS, bundle, manifest, mounts, see};
use crate::common::{World, stderr};

/// The checksum of nothing.
const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

/// An image: how it is made from its empty root directory, and whether a container of it has
/// names.
type Image = (&'static str, &'static str, bool);

const IMAGES: [Image; 9] = [
    ("a link to /etc/shadow", "for f in hosts resolv.conf; do ln -s /etc/shadow etc/$f; done", true),
    ("a link far up", "for f in hosts resolv.conf; do ln -s ../../../etc/shadow etc/$f; done", true),
    ("a link to nothing", "for f in hosts resolv.conf; do ln -s /run/none/$f etc/$f; done", true),
    ("a link to a file the host lacks", "ln -s /etc/netns-was-here etc/hosts", true),
    ("/etc is a link to /usr/etc", "rmdir etc; mkdir -p usr/etc; ln -s /usr/etc etc", true),
    ("/etc is a link far up", "rmdir etc; ln -s ../../../../etc etc", false),
    ("/etc is a link to nothing", "rmdir etc; ln -s /none etc", false),
    ("/etc is missing", "rmdir etc", true),
    ("hosts is a directory, resolv.conf a FIFO", "mkdir etc/hosts; mkfifo etc/resolv.conf", false),
];

/// A bundle with such an image, in which `shadow` is the image's own.
fn image(world: &World, id: &str, made: &str, options: &[(&str, &str)]) -> PathBuf {
    let bundle = bundle(world, id, options, |_| {});
    let rootfs = bundle.join("rootfs");
    world.sh(&format!("cd {} && {made} && (echo image >etc/shadow) 2>/dev/null; true", rootfs.display()));
    bundle
}

/// What of `before` is not as it was.
fn lost(before: &[String], after: &[String]) -> Vec<String> {
    before.iter().filter(|line| !after.contains(line)).cloned().collect()
}

#[test]
fn no_image_leads_to_the_hosts_files() {
    let Some(mut world) = World::new() else { return };
    // A copy that a test may lose, and that nobody else writes to meanwhile.
    world.sh("cp -a /etc /run/test/etc && mount --bind /run/test/etc /etc");
    world.netns_ok(&["create"], "");
    let host = manifest(&world, Path::new("/etc"));
    let table = mounts(&world);
    for (at, (what, made, named)) in IMAGES.into_iter().enumerate() {
        let id = format!("c{at}");
        let bundle = image(&world, &id, made, &[]);
        let rootfs = bundle.join("rootfs");
        let before = manifest(&world, &rootfs);
        let process = world.runc_start(&id, &bundle);
        let hosts = see(process, "cat /etc/hosts 2>/dev/null; true");
        assert_eq!(hosts.contains(&format!(" {id} ")), named, "{what}: {hosts}");
        let shadow = see(process, "cat /etc/shadow 2>/dev/null; true");
        assert!(["", "image\n"].contains(&shadow.as_str()), "{what}: shadow is {shadow}");
        assert_eq!(manifest(&world, Path::new("/etc")), host, "{what}: the host's files");
        assert_eq!(mounts(&world), table, "{what}: the host's mounts");
        world.runc_delete(&id);
        let after = manifest(&world, &rootfs);
        assert_eq!(lost(&before, &after), [""; 0], "{what}: the image's files");
        // What the runtime makes in /dev is its own business.
        let stands =
            |line: &String| line.contains(" 0 root 644 ") || line.contains(EMPTY) || line.contains(" d ");
        let new = lost(&after, &before).into_iter().filter(|line| !line.contains("./dev/"));
        let new: Vec<String> = new.filter(|line| !stands(line)).collect();
        assert_eq!(new, [""; 0], "{what}: nothing but what a mount stands on");
        assert_eq!(manifest(&world, Path::new("/etc")), host, "{what}: the host's files, after");
    }
    assert!(!fs::read_to_string(HOSTS).unwrap().contains("172.19.0.2"), "no line is left");
}

#[test]
fn what_cannot_be_mounted_is_told_with_the_remedy() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let nothing = world.snapshot();
    let made = "mkdir etc/hosts";
    let bundle = image(&world, "asked", made, &[("dns", "1.1.1.1")]);
    let run = format!("runc --root /run/test/runc-root run -d -b {} asked", bundle.display());
    let said = stderr(&world.sh_logged(&run));
    assert!(said.contains("mount a file over /etc/hosts of process "), "{said}");
    assert!(
        said.contains(": it is a directory") && said.contains("put a plain /etc/hosts into the image"),
        "{said}"
    );
    world.assert_as(&nothing);

    let bundle = image(&world, "plain", made, &[]);
    let log = world.dir.join("plain.log");
    let config = fs::read_to_string(bundle.join("config.json")).unwrap();
    let args = format!("\"args\":[\"netns\",\"--log\",\"{}\"],\"path\"", log.display());
    fs::write(bundle.join("config.json"), config.replace("\"path\":\"/", &format!("{args}:\"/"))).unwrap();
    let process = world.runc_start("plain", &bundle);
    assert!(see(process, "cat /etc/resolv.conf").contains("nameserver "), "the other file is mounted");
    let said = fs::read_to_string(log).unwrap();
    assert!(
        said.contains("warning: mount a file over /etc/hosts") && said.contains("pass --no-dns"),
        "{said}"
    );
}
