//! Faults that the real kernel and the real iptables can be made to have: the hook fails, says
//! at which step, and leaves the host as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::common::{Process, World, stderr};

/// A world in which the hook has run before: its lock is there, and the firewall's tables.
pub fn used_world() -> Option<World> {
    let world = World::new()?;
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    Some(world)
}

/// Every iptables program is a link into this directory: puts a script in the place of each.
/// Nothing can be found where `script` is empty.
pub fn replace_iptables(script: &str) {
    let none: Option<&str> = None;
    mount(Some("none"), "/etc/alternatives", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    for program in ["iptables", "iptables-restore"].iter().filter(|_| !script.is_empty()) {
        let path = format!("/etc/alternatives/{program}");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let save = "/etc/alternatives/iptables-save";
        if !fs::exists(save).unwrap() {
            std::os::unix::fs::symlink("/usr/sbin/iptables-nft-save", save).unwrap();
        }
    }
}

pub fn restore_iptables() {
    umount2("/etc/alternatives", MntFlags::empty()).unwrap();
}

/// Failed, and said all of this in its first line.
fn assert_failed(output: &Output, said: &[&str]) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(1), "exit status; it said: {text}");
    let first = text.lines().next().unwrap_or_default();
    assert!(said.iter().all(|part| first.contains(part)), "no {said:?} in: {text}");
    assert!(!text.contains("also:"), "the undoing went well: {text}");
}

/// Attaching fails like this, before there is a network and while there is one, and changes
/// nothing in either case.
fn assert_fails_cleanly(world: &World, container: Process, annotations: &[(&str, &str)], said: &[&str]) {
    for network in ["ls", "create"] {
        world.netns_ok(&[network], "");
        let (before, inside) = (world.snapshot(), container.sh("ip -o link; ip -o addr; ip route"));
        assert_failed(&world.attach("a", container, annotations), said);
        world.assert_as(&before);
        assert_eq!(container.sh("ip -o link; ip -o addr; ip route"), inside, "inside the container");
        assert_eq!(world.ls(), serde_json::json!([]));
    }
}

#[test]
fn an_eth0_that_is_there_already_is_left_alone() {
    let Some(mut world) = used_world() else { return };
    let container = world.process();
    container.sh("ip link add eth0 type veth peer name other && ip addr add 10.1.1.1/24 dev eth0");
    let pair = format!("ip link add netnsv0-{} ", container.pid);
    let said = [&pair, "peer name eth0", ": the container has an interface eth0 already"];
    assert_fails_cleanly(&world, container, &[("publish", "8080:80")], &said);
}

#[test]
fn a_default_route_that_is_there_already_is_left_alone() {
    let Some(mut world) = used_world() else { return };
    let container = world.process();
    container.sh("ip link set lo up && ip route add default dev lo");
    let said = ["ip route add default via 172.19.0.1 dev eth0: File exists"];
    assert_fails_cleanly(&world, container, &[("publish", "8080:80")], &said);
}

#[test]
fn an_address_that_somebody_has_is_not_given_away() {
    let Some(mut world) = used_world() else { return };
    let (first, second) = (world.process(), world.process());
    world.attach_ok("first", first, &[("static-ip", "172.19.0.9")]);
    world.sh("ip addr add 172.19.0.2/32 dev netns0");
    let before = world.snapshot();
    for (address, holder) in
        [("172.19.0.9", "container first"), ("172.19.0.2", "bridge netns0"), ("172.19.0.1", "gateway's")]
    {
        let output = world.attach("second", second, &[("static-ip", address)]);
        assert_failed(&output, &[&format!("use static address {address}"), holder]);
        world.assert_as(&before);
    }
    world.attach_ok("second", second, &[]);
    assert_eq!(world.ls().as_array().unwrap().last().unwrap()["addresses"][0], "172.19.0.3/16");
}

#[test]
fn without_iptables_nothing_is_attached() {
    let Some(mut world) = used_world() else { return };
    let container = world.process();
    for network in ["ls", "create"] {
        world.netns_ok(&[network], "");
        let before = world.snapshot();
        replace_iptables("");
        let output = world.attach("a", container, &[("publish", "8080:80")]);
        restore_iptables();
        assert_failed(&output, &["iptables -t ", "find iptables-restore", "it is in none of /usr/sbin, "]);
        assert!(stderr(&output).contains("hint: install iptables"), "{}", stderr(&output));
        world.assert_as(&before);
    }
}

/// Attaching fails like this while the iptables programs are `script`, and changes nothing.
fn assert_iptables_fails(script: &str, first: &[&str], second: &[&str]) {
    let Some(mut world) = used_world() else { return };
    let container = world.process();
    for (network, said) in [("ls", first), ("create", second)] {
        world.netns_ok(&[network], "");
        let before = world.snapshot();
        replace_iptables(script);
        let output = world.attach("a", container, &[("publish", "8080:80")]);
        restore_iptables();
        assert_failed(&output, said);
        world.assert_as(&before);
    }
}

#[test]
fn an_iptables_restore_that_fails_is_quoted() {
    let script = r#"case $0 in
        *-restore) cat >/dev/null; echo 'no luck today' >&2; exit 1 ;;
        *) exec /usr/sbin/iptables-nft "$@" ;;
    esac"#;
    let said = ["iptables-restore --noflush: no luck today"];
    assert_iptables_fails(script, &said, &said);
}

#[test]
fn a_failure_in_one_table_takes_the_others_back() {
    for (line, table, spoilt) in [
        ("-I PREROUTING", "raw", "-I NOWHERE"),
        ("-A POSTROUTING", "nat", "-A NOWHERE"),
        ("-I FORWARD", "filter", "-I NOWHERE"),
    ] {
        let script = format!(
            r#"case $0 in
                *-restore) sed 's/^{line} /{spoilt} /; s/^-A NETNS-PUBLISH /-A NOWHERE /' |
                    exec /usr/sbin/iptables-nft-restore "$@" ;;
                *) exec /usr/sbin/iptables-nft "$@" ;;
            esac"#
        );
        let (base, port) =
            (format!("iptables -t {table} {line} "), "iptables -t nat -A NETNS-PUBLISH -p tcp");
        // The port's line comes before the filter table, so that fails first.
        let first = if table == "filter" { port } else { &base };
        assert_iptables_fails(&script, &[first], &[port]);
    }
}

#[test]
fn a_read_only_proc_sys_is_named() {
    let Some(mut world) = used_world() else { return };
    let container = world.process();
    let link = format!("sysctl -w net/ipv6/conf/netnsv0-{}/disable_ipv6=1: Read-only", container.pid);
    for (network, said) in [("ls", "sysctl -w net/ipv4/ip_forward=1: Read-only"), ("create", &link)] {
        world.netns_ok(&[network], "");
        let before = world.snapshot();
        world.sh("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys");
        let output = world.attach("a", container, &[]);
        world.sh("umount /proc/sys");
        assert_failed(&output, &[said, "file system (os error 30)"]);
        world.assert_as(&before);
    }
}

#[test]
fn what_is_no_bridge_of_this_subnet_is_not_used() {
    let Some(mut world) = used_world() else { return };
    let container = world.process();
    world.sh("ip link add wire0 type veth peer name wire1 && ip link set wire0 up");
    let (bridge, subnet) = ("use bridge netns0: ", "use subnet 172.19.0.0/16 for bridge netns0: ");
    for (make, remove, said) in [
        ("ip link add netns0 type veth peer name n1", "ip link del netns0", [bridge, "but is a veth"]),
        ("ip link add netns0 type ifb", "ip link del netns0", [bridge, "but is a ifb"]),
        ("ip link add link wire1 netns0 type macvlan", "ip link del netns0", [bridge, "but is a macvlan"]),
        (
            "ip route add 172.16.0.0/12 dev wire0",
            "ip route del 172.16.0.0/12",
            [subnet, "already has a route to 172.16.0.0/12 by wire0"],
        ),
        (
            "ip route add 172.19.4.0/24 dev wire0",
            "ip route del 172.19.4.0/24",
            [subnet, "already has a route to 172.19.4.0/24 by wire0"],
        ),
    ] {
        world.sh(make);
        let before = world.snapshot();
        for output in [world.attach("a", container, &[]), world.netns(&["create"], "")] {
            assert_failed(&output, &said);
            world.assert_as(&before);
        }
        world.sh(remove);
    }
}

#[test]
fn another_subnet_for_a_network_in_place_is_refused() {
    let Some(mut world) = used_world() else { return };
    let container = world.process();
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let output = world.attach("a", container, &[("ip", "10.9.0.1/24")]);
    assert_failed(&output, &["use bridge netns0: it carries 172.19.0.1/16, not 10.9.0.1/24"]);
    world.assert_as(&before);
}
