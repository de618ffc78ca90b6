//! The file that tells other hooks the address: root writes it into a directory that may be
//! somebody else's.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::common::{World, stderr};

#[test]
fn the_bundle_has_the_address_from_attach_to_detach() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let container = world.process();
    world.attach_ok("a", container, &[]);
    assert_eq!(fs::read_to_string("/run/test/.ip").unwrap(), "172.19.0.2");
    world.detach_ok("a");
    world.assert_as(&before);
}

#[test]
fn an_absolute_path_comes_from_a_flag_and_is_gone_after_a_detach_without_it() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    fs::create_dir("/run/test/x").unwrap();
    let pid = world.process().pid.to_string();
    world.netns_ok(&["attach", &pid, "--id", "a", "--ipfile", "/run/test/x/address"], "");
    assert_eq!(fs::read_to_string("/run/test/x/address").unwrap(), "172.19.0.2");
    world.netns_ok(&["detach", "a"], "");
    world.assert_as(&before);
}

#[test]
fn nothing_but_a_plain_file_of_one_name_is_written() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    fs::write("/run/test/victim", "precious").unwrap();
    let container = world.process();
    for (trap, cause) in [
        ("ln -s victim /run/test/.ip", "symbolic links"),
        ("ln -s /run/test/not-there /run/test/.ip", "symbolic links"),
        ("ln /run/test/victim /run/test/.ip", "not a plain file of one name"),
        ("mkfifo /run/test/.ip", "not a plain file of one name"),
        ("mkdir /run/test/.ip", "Is a directory"),
        ("echo '{\"mine\": 1}' > /run/test/.ip", "it exists and is not an address"),
    ] {
        world.sh(trap);
        let (before, made) = (world.snapshot(), fs::symlink_metadata("/run/test/.ip").unwrap());
        let output = world.attach("a", container, &[]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{trap}: {said}");
        assert!(said.contains("echo -n 172.19.0.2 > /run/test/.ip: "), "{trap}: {said}");
        assert!(said.contains(cause), "{trap}: {said}");
        world.assert_as(&before);
        assert_eq!(fs::symlink_metadata("/run/test/.ip").unwrap().ino(), made.ino(), "{trap}: it is left");
        assert_eq!(fs::read_to_string("/run/test/victim").unwrap(), "precious", "{trap}");
        world.sh("rm -r /run/test/.ip");
    }
}

#[test]
fn a_fifo_that_somebody_reads_from_is_not_written_either() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.sh("mkfifo /run/test/.ip");
    let before = world.snapshot();
    let _reader = fs::OpenOptions::new().read(true).write(true).open("/run/test/.ip").unwrap();
    let container = world.process();
    let output = world.attach("a", container, &[]);
    assert!(stderr(&output).contains("not a plain file of one name"), "{}", stderr(&output));
    world.assert_as(&before);
}

#[test]
fn a_directory_on_the_way_may_not_be_a_link() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.sh("mkdir /run/test/elsewhere && ln -s elsewhere /run/test/net");
    let before = world.snapshot();
    let container = world.process();
    let output = world.attach("a", container, &[("ipfile", "net/ip")]);
    assert!(stderr(&output).contains("symbolic links"), "{}", stderr(&output));
    world.assert_as(&before);
}

#[test]
fn a_file_that_became_somebody_elses_is_left_alone() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("a", container, &[]);
    fs::write("/run/test/.ip", "10.9.8.7").unwrap();
    world.detach_ok("a");
    assert_eq!(fs::read_to_string("/run/test/.ip").unwrap(), "10.9.8.7");
    // One that was left of another container is written over.
    world.attach_ok("a", container, &[]);
    assert_eq!(fs::read_to_string("/run/test/.ip").unwrap(), "172.19.0.3");
    world.sh("echo precious > /run/test/victim && ln -sf victim /run/test/.ip");
    world.detach_ok("a");
    assert_eq!(fs::read_to_string("/run/test/victim").unwrap(), "precious\n");
}
