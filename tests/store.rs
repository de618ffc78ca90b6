//! The state directory: many runs at once, what others may not do to it, and records that
//! somebody has damaged.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

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
fn a_freed_address_is_not_leased_again_at_once() {
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
    assert_eq!(modes, "d 700\nf 600\nl 777\n", "a link has no mode of its own");
}

#[test]
fn a_state_directory_that_others_could_have_filled_or_of_another_layout_is_refused() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    for (trap, cause) in [
        ("mkdir /run/test/real && ln -s test/real /run/netns-hook", "it is not a directory"),
        ("echo > /run/netns-hook", "it is not a directory"),
        ("mkdir -m 700 /run/netns-hook && chown 65534 /run/netns-hook", "it belongs to another user"),
        ("mkdir -m 777 /run/netns-hook", "others may write to it"),
        ("mkdir -m 770 /run/netns-hook", "others may write to it"),
        ("mkdir -m 700 /run/netns-hook && ln -s ../test /run/netns-hook/containers", "it is not a directory"),
        ("mkdir -m 700 /run/netns-hook && touch /run/netns-hook/index", "it has the layout of an unreleased"),
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
        // Whoever may not use it is not led to remove what others run on.
        let hint = said.split_once("hint: ").map_or("", |(_, hint)| hint);
        let leads = hint.starts_with("pass --state-dir") || hint.starts_with("detach its containers");
        assert!(leads, "{trap}: {said}");
        world.assert_as(&before);
        world.sh("rm -rf /run/netns-hook /run/test/real");
    }
    world.sh(
        "mkdir -m 700 /run/netns-hook && echo precious > /run/test/x && ln -s ../test/x /run/netns-hook/lock",
    );
    assert_eq!(world.attach("a", container, &[]).status.code(), Some(1), "the lock is no link");
    assert_eq!(fs::read_to_string("/run/test/x").unwrap(), "precious\n");
}

/// What makes a record none, and what is said of it.
type Damage = (fn(&str) -> String, &'static str);

const DAMAGES: [Damage; 3] = [
    (|text| text[..text.len() / 2].to_owned(), "EOF while parsing"),
    (|_| String::new(), "EOF while parsing"),
    (|text| text.replace("8080", "8081"), "it has been changed: its checksum is another"),
];

#[test]
fn a_damaged_record_is_named_and_set_aside_and_its_container_leaves_all_the_same() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    for (damage, cause) in DAMAGES {
        let before = world.snapshot();
        let (a, b) = (world.process(), world.process());
        world.attach_ok("a", a, &[("publish", "8080:80,9000-9999:9000-9999/udp"), ("ipfile", "a")]);
        let address = fs::read_to_string("/run/test/a").unwrap();
        let record = world.record("a");
        let damaged = damage(&fs::read_to_string(&record).unwrap());
        fs::write(&record, &damaged).unwrap();

        let is_warned = |output: &Output, path: &str| {
            let said = stderr(output);
            let warning = said.lines().next().unwrap_or_default();
            let named = warning.starts_with(&format!("netns: warning: read record {path}: "));
            assert!(output.status.success() && named && warning.contains(cause), "{cause}: {said}");
        };
        is_warned(&world.netns(&["ls"], ""), &record);
        for (option, value) in [("static-ip", address.as_str()), ("publish", "8080:80")] {
            let taken = stderr(&world.attach("b", b, &[(option, value)]));
            assert!(taken.contains("container a has it, whose record is damaged"), "{option}: {taken}");
        }
        world.attach_ok("b", b, &[("ipfile", "b"), ("publish", "8081:80")]);
        let other = fs::read_to_string("/run/test/b").unwrap();
        assert!(b.pings(&address) && a.pings(&other), "nobody is stopped, nobody loses an address");
        let aside = record.replace("/containers/", "/damaged/");
        assert_eq!(fs::read_to_string(&aside).unwrap(), damaged, "a human may look at it");

        // Whoever says so: its runtime, or a human.
        let by_hand = damaged.is_empty();
        is_warned(&if by_hand { world.netns(&["detach", "a"], "") } else { world.detach("a") }, &aside);
        world.detach_ok("b");
        // Where it wrote its address only the record knew.
        fs::remove_file("/run/test/a").unwrap();
        world.assert_as(&before);
    }
}

/// The record as a later version would write it.
fn newer(text: &str) -> String {
    let record = text.trim_end().split_once("\"record\":").and_then(|(_, record)| record.strip_suffix('}'));
    let record = record.expect("an envelope");
    let sum: [u8; 32] = Sha256::digest(format!("2\n{record}")).into();
    let sum: String = sum.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{{\"version\":2,\"sha256\":\"{sum}\",\"record\":{record}}}\n")
}

#[test]
fn the_record_of_a_later_version_is_refused_by_name_and_kept() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
    let with = world.snapshot();
    let address = fs::read_to_string("/run/test/a").unwrap();
    let record = world.record("a");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, newer(&text)).unwrap();

    let cause = "it is of version 2, and this program reads 1";
    let listed = world.netns(&["ls"], "");
    assert!(listed.status.success() && stderr(&listed).contains(cause), "{}", stderr(&listed));
    for (option, value) in [("static-ip", address.as_str()), ("publish", "8080:80")] {
        let taken = world.attach("b", b, &[(option, value)]);
        assert_eq!(taken.status.code(), Some(1), "{option}: {}", stderr(&taken));
    }
    let attached = world.attach("b", b, &[("ipfile", "b"), ("publish", "8081:80")]);
    assert!(attached.status.success(), "nobody else is stopped: {}", stderr(&attached));
    assert!(world.detach("b").status.success());
    let detached = world.detach("a");
    assert!(detached.status.success() && stderr(&detached).contains(cause), "{}", stderr(&detached));
    let collected = world.netns(&["gc"], "");
    assert!(collected.stdout.is_empty(), "{collected:?}");
    world.assert_as(&with);
    assert_eq!(fs::read_to_string(&record).unwrap(), newer(&text));

    fs::write(&record, text).unwrap();
    world.detach_ok("a");
    world.assert_as(&before);
}

#[test]
fn a_damaged_network_record_takes_nobodys_ports() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    world.netns_ok(&["rm"], "");
    let before = world.snapshot();
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80")]);
    fs::write("/run/netns-hook/networks/netns0.json", "{}").unwrap();
    let attached = world.attach("b", b, &[("publish", "8443:443")]);
    let (said, warning) =
        (stderr(&attached), "netns: warning: read record /run/netns-hook/networks/netns0.json: ");
    assert!(attached.status.success() && said.starts_with(warning), "{said}");
    assert!(said.contains("missing field"), "{said}");
    assert!(a.pings("172.19.0.1") && b.pings("172.19.0.1"));
    for owner in ["a", "b"] {
        let mark = format!("netns container {owner}\"");
        assert_eq!(world.rules().matches(&mark).count(), 1, "the port of {owner}: {}", world.rules());
    }
    assert_eq!(world.rules().matches("-j NETNS-FORWARD").count(), 1, "{}", world.rules());
    let collected = world.netns(&["gc"], "");
    assert!(
        collected.status.success() && stderr(&collected).contains("missing field"),
        "it is told of once more"
    );
    world.detach_ok("a");
    world.detach_ok("b");
    world.netns_ok(&["rm"], "");
    world.assert_as(&before);
}

/// Where the claims of containers are, below the state directory.
const CLAIMS: [&str; 6] = ["leases", "ports", "slots", "netns", "pids", "shared"];

/// What somebody does to one of them.
const HARMS: [&str; 5] = [
    "rm $link",
    "ln -sfn nonsense $link",
    "ln -sfn $(readlink $link | sed 's|/[^/]*$||')/$(basename containers/beside@*) $link",
    "rm $link; echo nonsense >$link",
    "rm $link; mkdir -m 711 $link",
];

/// The kernel and the record are still there, and each claim is also in the record.
#[test]
fn whatever_becomes_of_a_claim_nobody_gets_what_another_has() {
    let Some(mut world) = World::new() else { return };
    let [old, new, beside] = [(); 3].map(|()| world.process());
    let links = |kind| format!("for link in $(find {kind} -lname '*/old@*')");
    let each = CLAIMS.iter().flat_map(|kind| HARMS.map(|harm| format!("{}; do {harm}; done", links(kind))));
    let all =
        ["rm -r leases", "rm -r ports", "rm -r slots netns", "rm -r leases ports slots netns pids shared"];
    world.attach_ok("beside", beside, &[("ipfile", "beside")]);
    let before = world.snapshot();
    for (n, harm) in each.chain(all.map(str::to_owned)).enumerate() {
        // The address that was leased last would hide the fault: this one comes after it.
        let address = format!("172.19.5.{}", n + 10);
        let asked = [("static-ip", address.as_str()), ("publish", "8080:80"), ("ipfile", "old")];
        world.attach_ok("old", old, &asked);
        world.sh(&format!("cd /run/netns-hook; {harm}"));
        for (option, value) in [("static-ip", address.as_str()), ("publish", "8080:80")] {
            let taken = world.attach("new", new, &[(option, value)]);
            assert_eq!(taken.status.code(), Some(1), "{harm}: {option}: {}", stderr(&taken));
        }
        world.attach_ok("new", new, &[("publish", "8081:80")]);
        assert!(old.pings("172.19.0.1") && new.pings("172.19.0.1"), "{harm}");
        let names = fs::read_to_string("/run/netns-hook/names/netns0/hosts").unwrap();
        assert!(names.contains(" old ") && names.contains(" new "), "{harm}: {names}");
        world.detach_ok("old");
        assert!(world.rules().contains("-j NETNS-tcp-31"), "{harm}: the new one's block stays");
        world.detach_ok("new");
        // Whoever makes a directory there removes it.
        world.sh("find /run/netns-hook -type d -perm 711 -delete");
        world.netns_ok(&["gc"], "");
        world.assert_as(&before);
    }
}
