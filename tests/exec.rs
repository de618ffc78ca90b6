//! `netns exec`: programs of the host in a container's network.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::common::traffic::serve_tcp;
use crate::common::{NETNS, World, run, stderr};

/// What a program prints in the network of `web`.
fn inside(world: &World, command: &[&str]) -> String {
    world.netns_ok(&[&["exec", "web"], command].concat(), "")
}

/// A running container without a network of its own, attached as `web`.
fn web(world: &mut World) -> std::path::PathBuf {
    let bundle = world.bundle("web", &["createRuntime", "poststop"], "");
    // Its resolv.conf is its image's.
    let file = bundle.join("config.json");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(file, config.replacen('{', "{\"annotations\":{\"org.netns.no-dns\":\"true\"},", 1)).unwrap();
    world.runc_start("web", &bundle);
    bundle
}

#[test]
fn a_program_of_the_host_sees_the_containers_network_and_nothing_else_changes() {
    let Some(mut world) = World::new() else { return };
    let neighbour = world.process();
    world.attach_ok("neighbour", neighbour, &[]);
    web(&mut world);
    let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let (before, links) = (mounts(), world.links());
    assert!(inside(&world, &["ip", "-br", "-4", "addr"]).contains("172.19.0.3/16"));
    assert_eq!(inside(&world, &["ls", "/sys/class/net"]), "eth0\nlo\n");
    assert_eq!(inside(&world, &["cat", "/sys/class/net/eth0/address"]), "02:6e:ac:13:00:03\n");
    let cgroups = world.sh("ls /sys/fs/cgroup");
    assert_eq!(inside(&world, &["ls", "/sys/fs/cgroup"]), cgroups, "what was mounted there is");
    assert_eq!(inside(&world, &["ls", "/run/netns-hook"]), world.sh("ls /run/netns-hook"));

    serve_tcp(neighbour, 80, "HTTP/1.0 200 OK\r\n\r\nhello");
    assert_eq!(inside(&world, &["busybox", "wget", "-q", "-O", "-", "http://172.19.0.2/"]), "hello");
    let pid = world.ls().as_array().unwrap().iter().find(|row| row["id"] == "web").unwrap()["pid"].as_u64();
    let container = crate::common::Process { pid: pid.unwrap() as u32 };
    serve_tcp(container, 8081, "web");
    assert!(inside(&world, &["ss", "-Hltn"]).contains(":8081"));
    assert!(!world.sh("ss -Hltn").contains(":8081"));
    assert_eq!((mounts(), world.links()), (before, links));
}

#[test]
fn the_program_takes_the_place_of_netns() {
    let Some(mut world) = World::new() else { return };
    web(&mut world);
    assert_eq!(world.netns(&["exec", "web", "sh", "-c", "exit 7"], "").status.code(), Some(7));
    assert_eq!(world.netns(&["exec", "web", "sh", "-c", "kill -TERM $$"], "").status.signal(), Some(15));
    assert_eq!(world.netns_ok(&["exec", "web", "cat"], "through the pipe"), "through the pipe");
    let child = Command::new(NETNS)
        .args(["exec", "web", "sh", "-c", "echo $$; pwd; echo $GREETING"])
        .env("GREETING", "hello")
        .current_dir("/run/test")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let expected = format!("{}\n/run/test\nhello\n", child.id());
    assert_eq!(String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap(), expected);
    // A pipe that is closed ends it, as everywhere.
    let endless = format!("{NETNS} exec web yes | head -n 1");
    assert_eq!(world.sh(&endless), "y\n");
}

#[test]
fn what_follows_the_program_is_its_own() {
    let Some(mut world) = World::new() else { return };
    web(&mut world);
    let said = ["printf", "%s ", "-mtu", "--bridge", "-d", "--help", "exec"];
    assert_eq!(inside(&world, &said), "-mtu --bridge -d --help exec ");
    assert_eq!(inside(&world, &["--", "printf", "%s", "--"]), "--");
    let state_dir =
        world.netns_ok(&["--state-dir", "/run/netns-hook", "exec", "web", "ip", "-br", "link"], "");
    assert!(state_dir.contains("eth0"), "{state_dir}");
}

#[test]
fn the_containers_resolver_is_seen_and_only_there() {
    let Some(mut world) = World::new() else { return };
    let bundle = web(&mut world);
    let own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    fs::write(bundle.join("rootfs/etc/resolv.conf"), "nameserver 192.0.2.53\n").unwrap();
    assert_eq!(inside(&world, &["cat", "/etc/resolv.conf"]), "nameserver 192.0.2.53\n");
    assert_eq!(fs::read_to_string("/etc/resolv.conf").unwrap_or_default(), own);
    // A link within its own root.
    fs::rename(bundle.join("rootfs/etc/resolv.conf"), bundle.join("rootfs/tmp/resolv")).unwrap();
    std::os::unix::fs::symlink("/tmp/resolv", bundle.join("rootfs/etc/resolv.conf")).unwrap();
    assert_eq!(inside(&world, &["cat", "/etc/resolv.conf"]), "nameserver 192.0.2.53\n");
    // It may grow without bounds.
    let endless = fs::File::options().append(true).open(bundle.join("rootfs/tmp/resolv")).unwrap();
    endless.set_len(1 << 30).unwrap();
    assert_eq!(inside(&world, &["wc", "-c", "/etc/resolv.conf"]), "65536 /etc/resolv.conf\n");
}

#[test]
fn a_hostile_resolver_shows_nothing_of_the_host_and_keeps_nobody_waiting() {
    let Some(mut world) = World::new() else { return };
    let own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let bundle = web(&mut world);
    fs::write("/run/test/secret", "secret").unwrap();
    for hostile in [
        "ln -s /run/test/secret etc/resolv.conf",
        "ln -s ../../../../../../run/test/secret etc/resolv.conf",
        "ln -s /proc/1/root/run/test/secret etc/resolv.conf",
        "ln -s /proc/self/root/run/test/secret etc/resolv.conf",
        "ln -s /proc/kmsg etc/resolv.conf",
        "ln -s resolv.conf etc/resolv.conf",
        "mkfifo etc/resolv.conf",
        "mkdir etc/resolv.conf",
        "mknod etc/resolv.conf c 1 5",
        "rmdir etc; ln -s /run/test etc; ln -s secret /run/test/resolv.conf",
        "true",
    ] {
        world.sh(&format!("cd {}/rootfs; rm -rf etc; mkdir etc; {hostile}", bundle.display()));
        let see = ["-s", "KILL", "20", NETNS, "exec", "web", "cat", "/etc/resolv.conf"];
        let output = run(Command::new("timeout").args(see), "");
        assert_eq!(String::from_utf8_lossy(&output.stdout), own, "{hostile}");
        assert!(output.status.success() == fs::exists("/etc/resolv.conf").unwrap(), "{hostile}");
    }
}

#[test]
fn a_namespace_without_a_process_will_do_with_the_files_that_iproute2_knows() {
    let Some(world) = World::new() else { return };
    world.sh("cp -a /etc /run/test/etc; mount --bind /run/test/etc /etc; mkdir -p /etc/netns/blue");
    fs::write("/etc/netns/blue/resolv.conf", "nameserver 192.0.2.1\n").unwrap();
    world.sh("rm -f /etc/resolv.conf; echo nameserver 192.0.2.2 >/etc/resolv.conf; ip netns add blue");
    world.netns_ok(&["attach", "--netns", "/run/netns/blue", "--id", "web"], "");
    assert!(inside(&world, &["ip", "-br", "-4", "addr"]).contains("172.19.0.2/16"));
    assert_eq!(inside(&world, &["cat", "/etc/resolv.conf"]), "nameserver 192.0.2.1\n");
    fs::remove_file("/etc/resolv.conf").unwrap();
    assert_eq!(inside(&world, &["sh", "-c", "ls /etc/resolv.conf || echo none"]), "none\n", "none is made");
}

#[test]
fn who_is_not_there_and_what_cannot_be_run_is_told() {
    let Some(mut world) = World::new() else { return };
    let refused = |args: &[&str], cause: &str| {
        let output = world.netns(args, "");
        let said = stderr(&output);
        let status = match cause {
            _ if args[2] == "true" => 1,
            cause if cause.contains("No such") => 127,
            _ => 126,
        };
        assert_eq!(output.status.code(), Some(status), "as a shell exits: {args:?}: {said}");
        assert!(said.contains(cause), "{args:?}: {said}");
    };
    refused(&["exec", "web", "true"], "find container web: no container of this id or name is attached");
    world.sh("ip netns add blue");
    world.netns_ok(&["attach", "--netns", "/run/netns/blue", "--id", "web"], "");
    refused(
        &["exec", "web", "no-such-program"],
        "run no-such-program in the network of container web: No such",
    );
    refused(&["exec", "web", "/etc/passwd"], "Permission denied");
    world.sh("ip netns del blue");
    refused(&["exec", "web", "true"], "network namespace /run/netns/blue: No such file");
    assert_eq!(world.netns(&["exec", "web"], "").status.code(), Some(2));
    let process = world.process();
    world.attach_ok("dead", process, &[]);
    world.kill(process);
    let output = world.netns(&["exec", "dead", "true"], "");
    assert!(stderr(&output).contains("there is no such process"), "{}", stderr(&output));
}
