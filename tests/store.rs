//! The state directory: many runs at once, what others may not do to it, and records that
//! somebody has damaged.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::common::{NETNS, Process, World, state, stderr};

/// How many containers come and go at once.
const MANY: usize = 50;

/// Starts the hook and does not wait for it.
fn start(input: &str) -> Child {
    let mut hook = Command::new(NETNS)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the hook");
    hook.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write the state");
    hook
}

/// Runs one hook for each of these inputs, all at once; each must succeed and say nothing.
fn all_at_once(inputs: &[String]) {
    let hooks: Vec<Child> = inputs.iter().map(|input| start(input)).collect();
    for hook in hooks {
        let output = hook.wait_with_output().expect("wait for the hook");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    }
}

/// Runs `netns ls --json` all the time until told to stop; how often it saw a container.
fn read_all_the_time(stop: Arc<AtomicBool>) -> usize {
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let output = Command::new(NETNS).args(["ls", "--json"]).output().expect("run ls");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("whole JSON");
        for row in rows.as_array().expect("an array") {
            assert!(row["id"].is_string() && row["addresses"][0].is_string(), "a whole record: {row}");
            seen += 1;
        }
    }
    seen
}

#[test]
fn many_at_once_get_addresses_of_their_own_and_leave_nothing() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let containers: Vec<Process> = (0..MANY).map(|_| world.process()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let reader = std::thread::spawn(move || read_all_the_time(stopped));
    let attach = |(n, container): (usize, &Process)| {
        let port = format!("{}:80", 8000 + n);
        state(
            &format!("c{n}"),
            "creating",
            Some(container.pid),
            &[("publish", &port), ("ipfile", &format!("ip{n}"))],
        )
    };
    all_at_once(&containers.iter().enumerate().map(attach).collect::<Vec<_>>());
    let listed = world.ls();
    let rows = listed.as_array().unwrap();
    let addresses: BTreeSet<_> = rows.iter().map(|row| row["addresses"][0].to_string()).collect();
    assert_eq!((rows.len(), addresses.len()), (MANY, MANY), "{listed}");
    assert!(rows.iter().all(|row| row["status"] == "running"), "{listed}");
    assert!(containers.iter().all(|container| container.pings("172.19.0.1")), "all ping the gateway");
    let detach = (0..MANY).map(|n| state(&format!("c{n}"), "stopped", None, &[]));
    all_at_once(&detach.collect::<Vec<_>>());
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().expect("the reader saw half a record") > 0, "the reader saw something");
    assert_eq!(world.ls(), serde_json::json!([]));
    world.netns_ok(&["rm"], "");
    world.assert_as(&before);
}

#[test]
fn the_first_many_of_one_id_are_one_container() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    all_at_once(&vec![state("a", "creating", Some(container.pid), &[("publish", "8080:80")]); 10]);
    assert_eq!(world.ls().as_array().map(Vec::len), Some(1));
    assert_eq!(world.rules().matches("netns container a").count(), 1);
    all_at_once(&vec![state("a", "stopped", None, &[]); 10]);
    assert_eq!(world.ls(), serde_json::json!([]));
    assert!(!world.rules().contains("netns container a"));
}

#[test]
fn a_freed_address_rests() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    for expected in ["172.19.0.2/16", "172.19.0.3/16", "172.19.0.4/16"] {
        world.attach_ok("a", container, &[]);
        assert_eq!(world.ls()[0]["addresses"][0], expected);
        world.detach_ok("a");
    }
}

#[test]
fn a_full_subnet_says_so_and_a_freed_address_is_used_again() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    let small = [("ip", "10.9.0.1/30")];
    world.attach_ok("a", a, &small);
    let before = world.snapshot();
    let output = world.attach("b", b, &small);
    assert_eq!(output.status.code(), Some(1));
    let said = "netns: lease an address in 10.9.0.0/30 for container b: all 1 are taken\n  hint: ";
    assert!(stderr(&output).starts_with(said), "{}", stderr(&output));
    world.assert_as(&before);
    world.detach_ok("a");
    world.attach_ok("b", b, &small);
    assert!(b.pings("10.9.0.1"));
}

#[test]
fn nobody_else_may_look_into_the_state_directory() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    let pid = container.pid.to_string();
    world.sh(&format!("umask 0; {NETNS} attach {pid} --id a"));
    let modes = world.sh("find /run/netns-hook ! -path '*/names/*/*' -printf '%y %m\\n' | sort -u");
    assert_eq!(modes, "d 700\nf 600\n");
}

#[test]
fn a_state_directory_that_others_could_have_filled_is_refused() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    for (trap, cause) in [
        ("mkdir /run/test/real && ln -s test/real /run/netns-hook", "it is not a directory"),
        ("echo > /run/netns-hook", "it is not a directory"),
        ("mkdir -m 700 /run/netns-hook && chown 65534 /run/netns-hook", "it belongs to another user"),
        ("mkdir -m 777 /run/netns-hook", "others may write to it"),
        ("mkdir -m 770 /run/netns-hook", "others may write to it"),
        ("mkdir -m 700 /run/netns-hook && ln -s ../test /run/netns-hook/containers", "it is not a directory"),
    ] {
        world.sh(trap);
        let before = world.snapshot();
        let output = world.attach("a", container, &[]);
        assert_eq!(output.status.code(), Some(1), "{trap}");
        let said = stderr(&output);
        assert!(
            said.contains("use state directory /run/netns-hook") && said.contains(cause),
            "{trap}: {said}"
        );
        world.assert_as(&before);
        world.sh("rm -rf /run/netns-hook /run/test/real");
    }
    world.sh(
        "mkdir -m 700 /run/netns-hook && echo precious > /run/test/x && ln -s ../test/x /run/netns-hook/lock",
    );
    assert_eq!(world.attach("a", container, &[]).status.code(), Some(1), "the lock is no link");
    assert_eq!(fs::read_to_string("/run/test/x").unwrap(), "precious\n");
}

#[test]
fn a_damaged_record_is_named_set_aside_and_its_container_leaves_all_the_same() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80,9000-9999:9000-9999/udp"), ("ipfile", "a")]);
    let record = world.sh("ls /run/netns-hook/containers/a@*.json").trim().to_owned();
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() / 2]).unwrap();

    let warning = format!("netns: warning: read record {record}: EOF while parsing");
    let listed = world.netns(&["ls"], "");
    assert!(listed.status.success() && stderr(&listed).starts_with(&warning), "{}", stderr(&listed));
    world.attach_ok("b", b, &[("ipfile", "b")]);
    assert!(b.pings("172.19.0.1") && a.pings("172.19.0.3"), "nobody is stopped, nobody loses an address");

    let detached = world.detach("a");
    assert!(detached.status.success() && stderr(&detached).starts_with(&warning), "{}", stderr(&detached));
    world.detach_ok("b");
    let aside = record.replace("/containers/", "/damaged/");
    assert_eq!(fs::read_to_string(aside).unwrap(), &text[..text.len() / 2], "a human may look at it");
    world.sh("rm -r /run/netns-hook/damaged");
    world.assert_as(&before);
}

#[test]
fn a_damaged_network_record_takes_nobodys_ports() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80")]);
    fs::write("/run/netns-hook/networks/netns0.json", "{}").unwrap();
    let attached = world.attach("b", b, &[("publish", "8443:443")]);
    let warning = "netns: warning: read record /run/netns-hook/networks/netns0.json: missing field";
    assert!(attached.status.success() && stderr(&attached).starts_with(warning), "{}", stderr(&attached));
    assert!(a.pings("172.19.0.1") && b.pings("172.19.0.1"));
    for owner in ["a", "b"] {
        let mark = format!("netns container {owner}\"");
        assert_eq!(world.rules().matches(&mark).count(), 1, "the port of {owner}: {}", world.rules());
    }
    assert_eq!(world.rules().matches("-j NETNS-FORWARD").count(), 1, "{}", world.rules());
    world.detach_ok("a");
    world.detach_ok("b");
}

/// Each of these is made anew from what is left; none of them may cost an address or a port.
#[test]
fn whatever_is_lost_or_damaged_of_the_index_nobody_gets_what_another_has() {
    let Some(mut world) = World::new() else { return };
    let (old, new) = (world.process(), world.process());
    let state = "/run/netns-hook";
    for (n, harm) in [
        format!("rm {state}/catalogue"),
        format!("rm -r {state}/leases"),
        format!("rm {state}/leases/netns0"),
        format!("rm {state}/index"),
        format!("rm {state}/index {state}/catalogue; rm -r {state}/leases"),
        format!("truncate -s 4000 {state}/catalogue"),
        format!("echo nonsense > {state}/catalogue"),
        format!("echo nonsense >> {state}/index"),
        format!("printf 0 | dd of={state}/catalogue bs=1 seek=8 conv=notrunc 2>&1"),
    ]
    .iter()
    .enumerate()
    {
        // The cursor would hide the fault: make it point before the old container's address.
        let address = format!("172.19.5.{}", n + 10);
        world.attach_ok("old", old, &[("static-ip", &address), ("publish", "8080:80"), ("ipfile", "old")]);
        world.sh(harm);
        let taken = world.attach("new", new, &[("static-ip", &address)]);
        assert!(stderr(&taken).contains("container old has it"), "{harm}: {}", stderr(&taken));
        let taken = world.attach("new", new, &[("publish", "8080:80")]);
        assert!(stderr(&taken).contains("already published by container old"), "{harm}: {}", stderr(&taken));
        world.attach_ok("new", new, &[("publish", "8081:80")]);
        assert!(old.pings("172.19.0.1") && new.pings("172.19.0.1"), "{harm}");
        world.detach_ok("old");
        assert!(world.rules().contains("-j NETNS-tcp-31"), "{harm}: the new one's block stays");
        world.detach_ok("new");
        assert!(!world.rules().contains("NETNS-tcp-31"), "{harm}: the block goes with the last");
    }
}
