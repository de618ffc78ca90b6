//! Containers that run already: attached by a process, or by the path of a network namespace.

use std::fs;

use crate::common::scene::ask;
use crate::common::traffic::serve_tcp;
use crate::common::{NETNS, World, stderr, wait_for};

/// Makes a namespace as `ip netns` does, and attaches it with these arguments.
fn blue(world: &World, args: &[&str]) {
    world.sh("ip netns add blue");
    world.netns_ok(&[&["attach", "--netns", "/run/netns/blue"], args].concat(), "");
}

/// Whether an echo request from the namespace called `name` is answered.
fn pings(world: &World, name: &str, address: &str) -> bool {
    let ping = format!("ip netns exec {name} busybox ping -c 1 -W 1 {address}");
    (0..3).any(|_| world.try_sh(&ping).status.success())
}

#[test]
fn a_running_container_without_a_network_gets_all_that_the_hook_can_give() {
    let Some(mut world) = World::new() else { return };
    let network = ["--bridge", "br7", "--ip", "10.7.0.1/24", "--mtu", "1400"];
    world.netns_ok(&[&["create"], &network[..]].concat(), "");
    let bundle = world.bundle("db", &[], "");
    let container = world.runc_start("db", &bundle);
    let before = world.snapshot();
    let pid = container.pid.to_string();
    let options = ["--iface", "net0", "--static-ip", "10.7.0.9", "-p", "8080:80", "--name-netns"];
    let files = ["--ipfile", "/run/test/address", "--log", "/run/test/log", "--state-dir", "/run/netns-hook"];
    let attach = [&["attach", &pid, "--id", "web"], &network[..], &options[..], &files[..]].concat();
    world.netns_ok(&attach, "");

    let link = container.sh("ip -o addr show net0");
    assert!(
        link.contains("inet 10.7.0.9/24") && container.sh("ip link show net0").contains("mtu 1400"),
        "{link}"
    );
    assert!(container.pings("10.7.0.1"));
    serve_tcp(container, 80, "web");
    assert_eq!(ask(None, "10.7.0.1", "8080/tcp"), "web");
    assert_eq!(fs::read_to_string("/run/test/address").unwrap(), "10.7.0.9");
    assert_eq!(world.ls()[0]["id"], "web");
    assert!(world.sh("ip netns").starts_with("web"));

    let attached = world.snapshot();
    world.netns_ok(&attach, "");
    world.assert_as(&attached);
    world.netns_ok(&["detach", "web"], "");
    world.assert_as(&before);
    assert_eq!(container.sh("ip -o link show type veth"), "", "and it runs on");
}

#[test]
fn a_namespace_without_a_process_is_attached_by_its_path() {
    let Some(mut world) = World::new() else { return };
    let beside = world.process();
    world.attach_ok("beside", beside, &[]);
    world.sh("ip netns add blue");
    let before = world.snapshot();
    let attach = ["attach", "--netns", "/run/netns/blue", "--publish", "8080:80"];
    world.netns_ok(&attach, "");
    assert!(pings(&world, "blue", "172.19.0.2") && beside.pings("172.19.0.3"));
    let row = &world.ls()[1];
    assert_eq!((&row["id"], &row["pid"], &row["status"]), (&"blue".into(), &().into(), &"running".into()));
    assert_eq!(row["netns"], "/run/netns/blue");
    let table = world.netns_ok(&["ls"], "");
    let columns: Vec<&str> = table.lines().nth(2).unwrap().split_whitespace().collect();
    assert_eq!(&columns[2..], ["-", "running", "blue", "netns0", "0.0.0.0:8080->80/tcp"], "{table}");
    let inspected = world.netns_ok(&["inspect", "blue"], "");
    assert!(
        inspected.contains("netns         /run/netns/blue") && inspected.contains("eth0@if"),
        "{inspected}"
    );

    let attached = world.snapshot();
    world.netns_ok(&attach, "");
    world.netns_ok(&["gc"], "");
    world.assert_as(&attached);
    world.netns_ok(&["detach", "blue"], "");
    world.assert_as(&before);
    assert!(world.sh("ip netns").contains("blue"), "the namespace is not ours");
}

#[test]
fn a_process_may_be_named_by_its_path_or_by_a_link_to_it() {
    let Some(mut world) = World::new() else { return };
    let (one, other) = (world.process(), world.process());
    let path = format!("/proc/{}/ns/net", one.pid);
    world.netns_ok(&["attach", "--netns", &path], "");
    assert_eq!(world.ls()[0]["pid"], one.pid, "it is a process like any other");
    assert_eq!(world.ls()[0]["id"], one.pid.to_string());
    // As many articles show it.
    world.sh(&format!("mkdir -p /run/netns; ln -s /proc/{}/ns/net /run/netns/other", other.pid));
    world.netns_ok(&["attach", "--netns", "/run/netns/other"], "");
    assert!(other.pings("172.19.0.2") && one.pings("172.19.0.3"));
    world.kill(other);
    assert_eq!(world.netns_ok(&["gc"], ""), "container other\n");
    assert_eq!(world.ls().as_array().map(Vec::len), Some(1));
}

#[test]
fn a_path_that_is_no_network_namespace_of_another_is_refused() {
    let Some(world) = World::new() else { return };
    world.sh("mkfifo /run/test/fifo; ln -s /proc/self/ns/net /run/test/own");
    let before = world.snapshot();
    for (path, cause) in [
        ("/nowhere", "No such file"),
        ("/run/test", "it is not a namespace"),
        ("/run/test/fifo", "it is not a namespace"),
        ("/etc/passwd", "it is not a namespace"),
        ("/proc/self/ns/mnt", "it is a namespace of another kind"),
        ("/proc/self/ns/net", "it is the host's own"),
        ("/run/test/own", "it is the host's own"),
        ("/run/test/a\nb", "there are control characters in it"),
        ("/run/test/a b", "only letters, digits and _ + - . may be in it"),
    ] {
        let output = world.netns(&["attach", "--netns", path], "");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{path}: {said}");
        assert!(said.contains(cause) && said.lines().count() == 1, "{path}: {said}");
    }
    for usage in [&["attach"][..], &["attach", "1", "--netns", "/x"], &["attach", "0"], &["attach", "-1"]] {
        assert_eq!(world.netns(usage, "").status.code(), Some(2), "{usage:?}");
    }
    world.assert_as(&before);
}

#[test]
fn a_namespace_that_was_deleted_is_cleaned_up() {
    let Some(world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    blue(&world, &["--id", "db", "-p", "8080:80"]);
    world.sh("ip netns del blue");
    assert_eq!(world.netns_ok(&["gc"], ""), "container db\n");
    world.assert_as(&before);
}

#[test]
fn a_namespace_made_anew_under_the_same_name_is_attached_anew() {
    let Some(world) = World::new() else { return };
    blue(&world, &["-p", "8080:80"]);
    for _ in 0..5 {
        // The kernel gives the number of the one to the other.
        world.sh("ip netns del blue");
        blue(&world, &["-p", "8080:80"]);
        assert!(pings(&world, "blue", "172.19.0.1"));
        assert_eq!(world.ls().as_array().map(Vec::len), Some(1), "{}", world.ls());
    }
}

#[test]
fn a_namespace_that_somebody_lives_in_outlives_its_path() {
    let Some(mut world) = World::new() else { return };
    blue(&world, &[]);
    let inhabitant =
        std::process::Command::new("ip").args(["netns", "exec", "blue", "sleep", "1000"]).spawn();
    let inhabitant = crate::common::Process { pid: world.keep(inhabitant.expect("start sleep")) };
    let moved = || inhabitant.try_sh("ip link show eth0").status.success();
    wait_for("somebody in the namespace", moved);
    world.sh("ip netns del blue");
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    assert!(inhabitant.pings("172.19.0.1"));
    world.kill(inhabitant);
    assert_eq!(world.netns_ok(&["gc"], ""), "container blue\n");
}

#[test]
fn a_run_that_does_not_see_the_path_takes_nobody_for_dead() {
    let Some(mut world) = World::new() else { return };
    blue(&world, &[]);
    let next = world.process();
    // As an engine with mounts of its own, which runs the hook in them.
    let apart = format!(
        "unshare --mount --propagation private sh -c 'umount /run/netns/blue; {0} gc; {0} attach {1}'",
        crate::common::NETNS,
        next.pid
    );
    assert_eq!(world.sh(&apart), "");
    assert!(pings(&world, "blue", "172.19.0.3") && next.pings("172.19.0.2"));
}

#[test]
fn every_command_knows_a_container_without_a_process() {
    let Some(world) = World::new() else { return };
    blue(&world, &["-p", "8080:80"]);
    let whole = world.snapshot();
    world.sh("iptables -t nat -F");
    assert!(world.netns_ok(&["reload"], "").starts_with("restored "));
    world.assert_as(&whole);
    let refused = world.netns(&["rm"], "");
    assert!(stderr(&refused).contains("1 containers are attached, blue among them"), "{}", stderr(&refused));
    let other = world.netns(&["attach", "--netns", "/run/netns/blue", "--id", "x", "-p", "8080:1"], "");
    assert!(stderr(&other).contains("already published by container blue"), "{}", stderr(&other));
    world.sh("ip netns add red");
    let taken = world.netns(&["attach", "--netns", "/run/netns/red", "--id", "blue"], "");
    assert!(
        stderr(&taken).contains("it is attached already, by /run/netns/blue, which is still there"),
        "{}",
        stderr(&taken)
    );
    world.netns_ok(&["rm", "--force"], "");
    assert_eq!(world.links(), ["lo"]);
}

/// In a pid namespace of its own: a container's process dies while `netns` is held back at its
/// `$1`th look at it, and its pid is given to a process of the host.
const RECYCLED: &str = r#"
unshare --net sleep 1000 & pid=$!
while [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
strace -f -o /run/test/trace -P /proc/$pid/stat -P /proc/$pid/ns/net -e trace=openat \
    -e inject=openat:delay_enter=1500000:when=$1 "$2" attach $pid --id web & tracer=$!
sleep 0.7
kill -KILL $pid; wait $pid 2>/dev/null
echo $((pid - 1)) > /proc/sys/kernel/ns_last_pid
sleep 1000 & [ $! = $pid ] || echo "it was not given away"
wait $tracer; echo "exit status $?"; cat /run/test/trace
"#;

#[test]
fn a_pid_that_is_given_to_a_process_of_the_host_meanwhile_gets_the_host_no_interface() {
    let Some(world) = World::new() else { return };
    std::fs::write("/run/test/recycled", RECYCLED).unwrap();
    // Each look at the pid: its start time, its namespace, and its start time again.
    for look in 1..=3 {
        let command =
            format!("unshare --pid --fork --kill-child --mount-proc bash /run/test/recycled {look} {NETNS}");
        let output = world.try_sh(&format!("timeout -s KILL 30 {command} 2>&1"));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!said.contains("it was not given away") && said.contains("(DELAYED)"), "look {look}: {said}");
        assert!(said.contains("exit status 1"), "look {look}: {said}");
        assert_eq!(world.links(), ["lo"], "look {look}: {said}");
    }
}
