//! What a user types, and what is answered.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::common::{NETNS, World, run, state, stderr};

/// What a refused command says; it exits with 1.
fn refused(world: &World, args: &[&str]) -> String {
    let output = world.netns(args, "");
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
    stderr(&output)
}

/// An id as engines make them.
fn long(start: &str) -> String {
    format!("{start:0<64}")
}

#[test]
fn a_container_is_found_by_the_beginning_of_its_id_its_hostname_and_its_alias_wherever_an_id_is_taken() {
    let Some(mut world) = World::new() else { return };
    let bundle = world.bundle("web-1", &["createRuntime", "poststop"], "");
    let file = bundle.join("config.json");
    let config =
        fs::read_to_string(&file).unwrap().replace("\"hostname\":\"web-1\"", "\"hostname\":\"shop\"");
    fs::write(&file, config.replacen('{', "{\"annotations\":{\"org.netns.alias\":\"store\"},", 1)).unwrap();
    world.runc_start("web-1", &bundle);
    for called in ["web-1", "we", "shop", "store"] {
        assert!(world.netns_ok(&["exec", called, "ip", "-br", "-4", "addr"], "").contains("172.19.0.2/16"));
        assert!(world.netns_ok(&["inspect", called], "").contains("172.19.0.2/16"), "{called}");
        assert!(world.netns_ok(&["doctor", called], "").contains("1 container on 1 network"), "{called}");
    }
    for called in ["sho", "", "web-11"] {
        assert!(
            refused(&world, &["inspect", called]).contains("no container of this id or name is attached")
        );
    }
    world.netns_ok(&["detach", "store"], "");
    assert_eq!(world.ls(), serde_json::json!([]));
}

#[test]
fn what_may_mean_two_containers_is_refused_with_both_and_an_id_is_always_its_own() {
    let Some(mut world) = World::new() else { return };
    let (one, other) = (long("7f3a1"), long("7f3a2"));
    for (id, alias) in [(one.as_str(), "db"), (&other, "db,7f3a1"), ("db2", "x"), ("x", "y")] {
        let process = world.process();
        world.attach_ok(id, process, &[("alias", alias)]);
    }
    let both = [one.as_str(), &other];
    for (called, candidates) in [("7f3a", both), ("db", [&one, "db2"]), ("7f3a1", both)] {
        for command in
            [&["detach", called][..], &["inspect", called], &["doctor", called], &["exec", called, "true"]]
        {
            let said = refused(&world, command);
            assert!(said.contains(&format!("container {called}: it could be any of ")), "{said}");
            assert!(candidates.iter().all(|id| said.contains(id)), "{command:?}: {said}");
            assert!(said.contains("hint: say more of the id"), "{said}");
        }
    }
    assert_eq!(world.ls().as_array().map(Vec::len), Some(4), "nobody was detached");
    world.netns_ok(&["detach", "x"], "");
    world.netns_ok(&["detach", "7f3a2"], "");
    assert_eq!(world.netns_ok(&["ls", "-q"], ""), format!("{one}\ndb2\n"));
}

#[test]
fn ls_cuts_long_ids_and_shows_the_network() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    let id = long("7f3a");
    world.attach_ok(&id, a, &[]);
    world.attach_ok("b", b, &[("bridge", "br7"), ("ip", "10.7.0.1/24"), ("publish", "8080:80")]);
    let cells = |args: &[&str], row: usize| -> Vec<String> {
        let table = world.netns_ok(args, "");
        let row = table.lines().nth(row).unwrap().split("  ").filter(|cell| !cell.is_empty());
        row.skip(4).map(|cell| cell.trim().to_owned()).collect()
    };
    assert_eq!(cells(&["ls"], 1), ["7f3a00000000", "netns0"]);
    assert_eq!(cells(&["ls"], 2), ["b", "br7", "0.0.0.0:8080->80/tcp"]);
    assert_eq!(cells(&["ls", "--no-trunc"], 1)[0], id);
    assert_eq!(world.ls()[0]["id"], id, "programs are told the whole");
}

#[test]
fn the_version_is_told_in_every_way_that_it_is_asked_for() {
    let Some(world) = World::new() else { return };
    let version = world.netns_ok(&["version"], "");
    for asked in ["--version", "-V"] {
        assert_eq!(world.netns_ok(&[asked], ""), version, "{asked}");
    }
}

#[test]
fn flags_are_written_as_those_of_go_programs() {
    let Some(mut world) = World::new() else { return };
    for debug in ["-d", "--d", "-debug", "-d=true", "--debug=true", "-debug=1"] {
        let said = stderr(&world.netns(&[debug, "create"], ""));
        assert!(said.contains("ip link add netns0 "), "{debug}: {said}");
        world.netns_ok(&["rm"], "");
    }
    let said = stderr(&world.netns(&["-d=false", "create"], ""));
    assert_eq!(said, "");
    let pid = world.process().pid.to_string();
    world.netns_ok(&["attach", &pid, "-id", "x", "--p", "8080:80"], "");
    assert_eq!(world.ls()[0]["id"], "x");
    assert_eq!(world.netns(&["rm", "-force"], "").status.code(), Some(0));
}

#[test]
fn a_bridge_that_is_there_lends_its_address_unless_another_is_asked_for() {
    let Some(mut world) = World::new() else { return };
    world.sh("ip link add br7 address 02:00:00:00:00:07 type bridge && ip addr add 10.7.0.1/24 dev br7 && \
              echo 1 >/proc/sys/net/ipv6/conf/br7/disable_ipv6 && ip link set br7 up");
    let (first, second, third) = (world.process(), world.process(), world.process());
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let plan = world.netns_ok(&["-bridge", "br7", "plan"], &state("a", "creating", Some(first.pid), &[]));
    assert!(plan.contains("ip addr add 10.7.0.2/24"), "{plan}");
    world.attach_ok("a", first, &[("bridge", "br7"), ("publish", "8080:80")]);
    assert!(first.pings("10.7.0.1"));
    // The network that was created with another address lends that one, too.
    world.attach_ok("b", second, &[("bridge", "br7")]);
    assert!(second.pings("10.7.0.2"));
    world.netns_ok(&["create", "--bridge", "br7"], "");
    let other = world.attach("c", third, &[("bridge", "br7"), ("ip", "10.8.0.1/24")]);
    assert!(stderr(&other).contains("use bridge br7: it carries 10.7.0.1/24, not 10.8.0.1/24"));
    world.detach_ok("a");
    world.detach_ok("b");
    world.netns_ok(&["rm", "--bridge", "br7"], "");
    world.assert_as(&before);
    world.netns_ok(&["rm"], "");
    world.netns_ok(&["create", "--ip", "10.9.0.1/24"], "");
    world.attach_ok("c", third, &[]);
    assert!(third.pings("10.9.0.1"));
}

#[test]
fn a_variable_that_is_empty_says_nothing() {
    let Some(mut world) = World::new() else { return };
    let input = state("a", "creating", Some(world.process().pid), &[]);
    let empty = ["NETNS_PUBLISH", "NETNS_BRIDGE", "NETNS_DEBUG", "NETNS_CONFIG"].map(|name| (name, ""));
    for args in [&["plan"][..], &[]] {
        let output = run(Command::new(NETNS).args(args).envs(empty), &input);
        assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {}", stderr(&output));
    }
    assert_eq!(world.ls()[0]["published"], serde_json::json!([]));
    // And in a container's own environment.
    let bundle = world.bundle("web", &[], "");
    let file = bundle.join("config.json");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replace("\"PATH=/bin\"", "\"PATH=/bin\",\"NETNS_PUBLISH=\",\"NETNS_IFACE=x\""))
        .unwrap();
    world.netns_ok(&["inject", "--from-env", bundle.to_str().unwrap()], "");
    let config = fs::read_to_string(&file).unwrap();
    assert!(config.contains("org.netns.iface") && !config.contains("org.netns.publish"), "{config}");
}

#[test]
fn options_are_in_the_help_of_what_they_matter_to_and_all_are_under_help_options() {
    let Some(world) = World::new() else { return };
    let help = |args: &[&str]| world.netns_ok(args, "");
    let all = help(&["help", "options"]);
    assert_eq!(help(&["options"]), all);
    for (command, shown, hidden) in [
        (&["--help"][..], &["netns help options"][..], &["--bridge", "--debug", "--publish"][..]),
        (&["exec", "--help"], &["--help"], &["--bridge", "--publish", "--debug"]),
        (&["ls", "--help"], &["--json", "--no-trunc", "--quiet"], &["--bridge", "--ip", "--state-dir"]),
        (&["create", "--help"], &["--bridge", "--ip", "--mtu", "--firewall"], &["--publish", "--alias"]),
        (&["rm", "--help"], &["--bridge", "--force"], &["--publish", "--mtu"]),
        (&["attach", "--help"], &["--bridge", "--publish", "--alias", "--id"], &["--debug", "--config"]),
        (&["install", "--help"], &["--publish", "--debug", "--config"], &["--json"]),
    ] {
        let text = help(command);
        assert!(shown.iter().all(|option| text.contains(option)), "{command:?}: {text}");
        assert!(!hidden.iter().any(|option| text.contains(option)), "{command:?}: {text}");
    }
    for option in ["--bridge", "--publish", "--alias", "--debug", "--config", "--state-dir", "--log"] {
        assert!(all.contains(option), "{option}: {all}");
    }
    world.netns_ok(&["ls", "--state-dir", "/run/elsewhere", "--debug"], "");
}

#[test]
fn who_was_never_there_cannot_be_detached_or_removed_by_hand() {
    let Some(mut world) = World::new() else { return };
    let before = world.snapshot();
    let detach = |world: &World| {
        let said = refused(world, &["detach", "typo"]);
        assert!(said.starts_with("netns: detach container typo: no container of this id or name"), "{said}");
    };
    let rm = |world: &World, name: &str| {
        let said = refused(world, &["rm", "--bridge", name]);
        assert_eq!(said, format!("netns: remove network {name}: there is none of this name\n"));
    };
    detach(&world);
    rm(&world, "nope");
    world.assert_as(&before);
    let container = world.process();
    world.attach_ok("web", container, &[]);
    detach(&world);
    rm(&world, "nope");
    world.netns_ok(&["detach", "web"], "");
    assert!(refused(&world, &["detach", "web"]).contains("no container of this id or name"), "twice");
    world.detach_ok("web");
    world.detach_ok("typo");
    world.netns_ok(&["rm"], "");
    rm(&world, "netns0");
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_line_and_column() {
    let Some(world) = World::new() else { return };
    for (text, said) in [
        ("mtu = 1400\nbridge = \"br", "read configuration /run/test/c.toml, line 2, column 13: "),
        (
            "\n  brigde = \"x\"",
            "use brigde in configuration /run/test/c.toml, line 2, column 3: unknown option",
        ),
        (
            "[policy]\nbridge = []",
            "use policy.bridge in configuration /run/test/c.toml, line 2, column 1: unknown",
        ),
    ] {
        fs::write("/run/test/c.toml", text).unwrap();
        let refused = refused(&world, &["--config", "/run/test/c.toml", "create"]);
        assert!(refused.starts_with(&format!("netns: {said}")), "{refused}");
    }
}

#[test]
fn whoever_forgot_network_none_is_told_so() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    container.sh("ip link add eth0 type veth peer name other");
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let said = stderr(&world.attach("web", container, &[("publish", "8080:80")]));
    assert!(said.contains("the container has an interface eth0 already"), "{said}");
    assert!(said.contains("hint: start it with `--network none`"), "{said}");
    assert!(!said.contains("File exists"), "{said}");
    world.assert_as(&before);
}

#[test]
fn who_is_not_root_is_told_to_be_and_never_to_remove_the_directory() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[]);
    for args in [&["ls"][..], &["create"], &["detach", "web"]] {
        let output = run(Command::new(NETNS).args(args).uid(65534).gid(65534), "");
        let said = stderr(&output);
        assert!(said.contains("it belongs to another user\n  hint: run this as root\n"), "{args:?}: {said}");
        assert!(!said.contains("remove"), "{args:?}: {said}");
    }
}

#[test]
fn failures_are_shown_until_they_are_cleared() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    for _ in 0..2 {
        world.attach("web", container, &[("publish", "no-port")]);
    }
    let note = stderr(&world.netns(&["ls"], ""));
    assert!(note.starts_with("netns: 2 hooks failed, last: ") && note.contains("`netns failures`"), "{note}");
    let told = world.netns_ok(&["failures"], "");
    assert_eq!(told.matches("container web: use annotation org.netns.publish=no-port").count(), 2, "{told}");
    world.netns_ok(&["failures", "--clear"], "");
    assert_eq!(world.netns_ok(&["failures"], ""), "");
    assert_eq!(stderr(&world.netns(&["ls"], "")), "");
    world.netns_ok(&["failures", "--clear"], "");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[]);
    for args in [
        &["ls"][..],
        &["ls", "--json"],
        &["inspect", "web"],
        &["graph"],
        &["doctor"],
        &["version"],
        &["help"],
    ] {
        let mut child =
            Command::new(NETNS).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((stderr(&output), output.status.code()), (String::new(), Some(0)), "{args:?}");
    }
}

#[test]
fn uninstall_says_that_containers_are_attached() {
    let Some(mut world) = World::new() else { return };
    world.sh("mount -t tmpfs lib /var/lib");
    assert_eq!(stderr(&world.netns(&["uninstall", "nri"], "")), "");
    let container = world.process();
    world.attach_ok("web", container, &[]);
    let output = world.netns(&["uninstall", "nri"], "");
    assert!(output.status.success());
    assert!(
        stderr(&output).starts_with("netns: 1 containers are attached, web among them: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn leaving_the_world_of_the_examples_ends_what_was_started_in_it() {
    let Some(world) = World::new() else { return };
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/world");
    let started = world.sh(&format!(
        "{example} sh -c 'ip link add br7 type bridge; unshare --net sleep 4711 & setsid sleep 4712 & sleep 0.2; \
         readlink /proc/self/ns/net; ps -e -o args= | grep -c \"^sleep 471\"'"
    ));
    assert!(started.ends_with("\n2\n"), "{started}");
    assert_eq!(world.try_sh("ps -e -o args= | grep '^sleep 471'").status.code(), Some(1), "they are gone");
    assert_eq!(world.try_sh(&format!("{example} sh -c 'exit 7'")).status.code(), Some(7));
    assert_eq!(world.links(), ["lo"]);
}
