//! Many at once, killed at random; a reboot; and things deleted by hand.

use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{NETNS, Process, World, run, state, stderr, wait_for};

/// A small generator of numbers, the same on every run (xorshift, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

fn name(n: usize) -> String {
    format!("c{n}")
}

fn attach_state(n: usize, container: Process) -> String {
    let port = format!("{}:80", 20000 + n);
    let file = format!("ip-{n}");
    state(&name(n), "creating", Some(container.pid), &[("publish", &port), ("ipfile", &file)])
}

/// Attaches or detaches a container of `containers`, and kills one run in four after up to 8 ms.
fn one_run(dice: &mut Dice, containers: &[Process]) {
    let n = dice.roll(containers.len());
    let input = match dice.roll(2) {
        0 => attach_state(n, containers[n]),
        _ => state(&name(n), "stopped", None, &[]),
    };
    if dice.roll(4) > 0 {
        let output = run(&mut Command::new(NETNS), &input);
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    let patience = format!("0.00{}", 1 + dice.roll(8));
    run(Command::new("timeout").args(["-s", "KILL", &patience, NETNS]), &input);
}

/// Reads `ls --json` again and again until told to stop; how often.
fn keep_reading(stop: &AtomicBool) -> usize {
    let mut times = 0;
    while !stop.load(Ordering::Relaxed) {
        let output = run(Command::new(NETNS).args(["ls", "--json"]), "");
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).expect("whole JSON");
        let rows = rows.as_array().unwrap();
        let addresses: HashSet<String> = rows.iter().map(|row| row["addresses"].to_string()).collect();
        assert_eq!(addresses.len(), rows.len(), "an address twice: {rows:?}");
        times += 1;
    }
    times
}

#[test]
fn a_hundred_containers_sixteen_processes_and_random_kills_leak_nothing() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let containers: Vec<Process> = (0..100).map(|_| world.process()).collect();
    let stop = AtomicBool::new(false);
    // Threads stay in the world of the one that starts them.
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| keep_reading(&stop));
        let workers: Vec<_> = (0..16)
            .map(|seed| {
                let containers = &containers;
                scope.spawn(move || {
                    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 + seed);
                    (0..25).for_each(|_| one_run(&mut dice, containers));
                })
            })
            .collect();
        let results: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("the reader saw half a record") > 10);
        assert!(results.iter().all(Result::is_ok), "a run failed that nobody killed");
    });
    world.netns_ok(&["gc"], "");
    let rows = world.ls();
    for row in rows.as_array().unwrap() {
        assert_eq!(row["status"], "running", "{row}");
    }
    for (n, container) in containers.iter().enumerate() {
        let attached = rows.as_array().unwrap().iter().any(|row| row["id"] == name(n).as_str());
        let link = container.try_sh("ip -o -4 addr show eth0");
        assert_eq!(attached, link.status.success(), "{}: the record and the kernel disagree", name(n));
        world.detach_ok(&name(n));
    }
    world.assert_as(&before);
}

#[test]
fn after_a_reboot_the_first_run_cleans_up_everything() {
    let Some(mut world) = World::new() else { return };
    let before = world.snapshot();
    let (a, b, c) = (world.process(), world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
    world.attach_ok("b", b, &[("publish", "127.0.0.1:8081:80"), ("ipfile", "b")]);
    // The kernel forgets, the directory remembers, and the boot has another id.
    world.sh("ip link del netns0; iptables-save | grep -o '^\\*.*' | tr -d '*' > /run/test/tables");
    world.sh("ip -o link show type veth | sed -E 's/^[0-9]+: ([^@]*)@.*/\\1/' | xargs -n1 ip link del");
    world.sh("for t in $(cat /run/test/tables); do iptables -t $t -F; iptables -t $t -X; done");
    world.sh("rm /run/test/tables; echo 0 > /proc/sys/net/ipv4/ip_forward");
    world.sh("echo 01234567-89ab-cdef-0123-456789abcdef > /run/test/boot");
    world.sh("mount --bind /run/test/boot /proc/sys/kernel/random/boot_id");
    world.attach_ok("c", c, &[("publish", "8080:80"), ("ipfile", "c")]);
    let rows = world.ls();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["id"], "c");
    assert!(c.pings("172.19.0.1"));
    world.detach_ok("c");
    world.netns_ok(&["rm"], "");
    world.sh("umount /proc/sys/kernel/random/boot_id; rm /run/test/boot");
    let files: Vec<String> = world.snapshot().into_iter().filter(|line| !before.contains(line)).collect();
    let harmless = |line: &String| {
        line.starts_with(':')
            || line.starts_with('*')
            || line == "COMMIT"
            || line.starts_with("/run/netns-hook/")
    };
    assert!(files.iter().all(harmless), "{files:?}");
}

#[test]
fn a_container_whose_poststop_never_came_is_cleaned_up_by_the_next_attach() {
    let Some(mut world) = World::new() else { return };
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
    world.kill(a);
    world.attach_ok("b", b, &[("publish", "8080:80"), ("ipfile", "b")]);
    let rows = world.ls();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    world.detach_ok("b");
    world.assert_as(&before);
}

#[test]
fn a_pid_given_to_another_process_is_not_mistaken_for_the_container() {
    let Some(mut world) = World::new() else { return };
    let a = world.process();
    world.attach_ok("a", a, &[]);
    world.give_its_pid_away("a");
    // The namespace still has that process in it, and the veth pair: it is alive all the same.
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    world.sh("ip link del $(ip -o link show type veth | sed -E 's/^[0-9]+: ([^@]*)@.*/\\1/')");
    assert_eq!(world.netns_ok(&["gc", "--dry-run"], ""), "container a\n");
    assert_eq!(world.netns_ok(&["gc"], ""), "container a\n");
    assert_eq!(world.ls(), serde_json::json!([]));
}

/// Its pid is in use, and with so many others it is seldom its turn to be verified.
#[test]
fn whoever_is_dead_under_a_pid_that_lives_again_is_in_nobodys_way() {
    let Some(mut world) = World::new() else { return };
    for n in 0..40 {
        let process = world.process();
        let ipfile = format!("ip{n}");
        world.attach_ok(&format!("c{n}"), process, &[("ipfile", &ipfile)]);
    }
    for (id, wants) in [
        ("same", ("publish", "8081:80")),
        ("new", ("publish", "8080:80")),
        ("new", ("static-ip", "172.19.9.9")),
    ] {
        let (old, new) = (world.process(), world.process());
        world.attach_ok(
            "same",
            old,
            &[("publish", "8080:80"), ("static-ip", "172.19.9.9"), ("ipfile", "old")],
        );
        world.give_its_pid_away("same");
        world.sh(&format!("ip link del netnsv0-{}", old.pid));
        assert_eq!(world.ls().as_array().unwrap().len(), 41);
        world.attach_ok(id, new, &[wants, ("ipfile", "new")]);
        assert!(new.pings("172.19.0.1"));
        let rows = world.ls();
        let ids = rows.as_array().unwrap().iter().filter(|row| row["id"] == "same" || row["id"] == "new");
        assert_eq!(ids.count(), 1, "{rows}");
        world.detach_ok(id);
    }
}

#[test]
fn a_namespace_that_a_mount_keeps_is_alive_after_its_process() {
    let Some(mut world) = World::new() else { return };
    let a = world.process();
    world.attach_ok("a", a, &[]);
    world.sh(&format!("touch /run/test/ns && mount --bind /proc/{}/ns/net /run/test/ns", a.pid));
    world.kill(a);
    assert_eq!(world.netns_ok(&["gc"], ""), "", "alive");
    world.sh("umount /run/test/ns && rm /run/test/ns");
    assert_eq!(world.netns_ok(&["gc"], ""), "container a\n", "dead");
}

#[test]
fn after_a_flush_one_attach_brings_back_the_ports_of_all() {
    for (variant, flush) in [
        ("nft", "nft flush ruleset"),
        ("nft", "iptables -t nat -F"),
        ("nft", "iptables -F FORWARD"),
        ("legacy", "for t in raw nat filter; do iptables -t $t -F; iptables -t $t -X; done"),
    ] {
        std::thread::spawn(move || {
            let Some(mut world) = World::new() else { return };
            world.use_iptables(variant);
            let (a, b) = (world.process(), world.process());
            world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
            let rules = world.rules();
            let wanted: HashSet<&str> = rules.lines().filter(|line| line.contains("netns")).collect();
            world.sh(flush);
            world.attach_ok("b", b, &[("publish", "8081:80"), ("ipfile", "b")]);
            let rules = world.rules();
            let there: Vec<&str> = rules.lines().filter(|line| line.contains("netns")).collect();
            for rule in &wanted {
                let times = there.iter().filter(|other| other == &rule).count();
                assert_eq!(times, 1, "{variant}, after {flush}: {rule}");
            }
        })
        .join()
        .unwrap();
    }
}

#[test]
fn reload_restores_what_is_missing_and_never_twice() {
    let Some(mut world) = World::new() else { return };
    let a = world.process();
    world.attach_ok("a", a, &[("publish", "8080:80,9000-9999:9000-9999")]);
    world.sh("iptables -t raw -A PREROUTING -s 192.0.2.1 -j DROP; iptables -A FORWARD -s 192.0.2.1 -j DROP");
    let before = world.snapshot();
    assert_eq!(world.netns_ok(&["reload"], ""), "every rule is there\n");
    world.assert_as(&before);
    world.sh("iptables -t nat -F NETNS-PUBLISH; iptables -t raw -D PREROUTING -m comment --comment netns -j NETNS-GUARD");
    assert!(world.netns_ok(&["reload"], "").starts_with("restored "));
    world.assert_as(&before);
    world.netns_ok(&["reload"], "");
    world.assert_as(&before);
}

#[test]
fn a_state_directory_deleted_by_hand_stops_nobody() {
    let Some(mut world) = World::new() else { return };
    let (a, b) = (world.process(), world.process());
    world.attach_ok("a", a, &[("publish", "8080:80"), ("ipfile", "a")]);
    world.sh("rm -r /run/netns-hook");
    world.detach_ok("a");
    assert_eq!(world.ls(), serde_json::json!([]));
    world.attach_ok("b", b, &[("publish", "8080:80"), ("ipfile", "b"), ("static-ip", "172.19.0.9")]);
    assert!(b.pings("172.19.0.1"));
    let once = world.rules().matches("-j NETNS-FORWARD").count();
    assert_eq!(once, 1, "{}", world.rules());
    world.detach_ok("b");
}

/// Its claims are left, or they are lost with its record.
#[test]
fn gc_finds_what_is_left_of_one_whom_no_record_tells_of() {
    for (lose, is_left) in [
        ("rm containers/lost@*", "container lost (without its record)"),
        ("find . -lname '*/lost@*' -delete; rm containers/lost@*", "netns container lost"),
    ] {
        std::thread::spawn(move || gc_finds_what_is_left(lose, is_left)).join().unwrap();
    }
}

fn gc_finds_what_is_left(lose: &str, is_left: &str) {
    let Some(mut world) = World::new() else { return };
    let (lost, kept) = (world.process(), world.process());
    world.attach_ok("kept", kept, &[("publish", "8081:80"), ("ipfile", "kept")]);
    let (rules, before) = (world.rules(), world.snapshot());
    world.attach_ok("lost", lost, &[("publish", "8080:80,9000-9999:9000-9999/udp"), ("ipfile", "lost")]);
    world.sh("iptables -t nat -A PREROUTING -p tcp --dport 1 -j DNAT --to-destination 172.19.0.9");
    world.sh(&format!("cd /run/netns-hook && {lose}"));
    world.kill(lost);
    let veth = format!("netnsv0-{}", lost.pid);
    wait_for("the veth pair to go", || !world.links().contains(&veth));
    let strays = world.netns_ok(&["gc", "--dry-run"], "");
    let by_rules = is_left.starts_with("netns");
    let count = strays.matches("rule iptables -t nat -A NETNS-").count();
    assert_eq!(count, if by_rules { 2 } else { 0 }, "{strays}");
    assert!(!strays.is_empty() && strays.lines().all(|line| line.contains(is_left)), "{strays}");
    assert_eq!(world.netns_ok(&["gc"], ""), strays);
    assert_eq!(world.netns_ok(&["gc"], ""), "", "never twice");
    // It fails unless a stranger's rule was left alone.
    world.sh("iptables -t nat -D PREROUTING -p tcp --dport 1 -j DNAT --to-destination 172.19.0.9");
    assert_eq!(world.rules(), rules);
    // Where it wrote its address nobody knows any more.
    world.sh("rm /run/test/lost");
    if !by_rules {
        world.assert_as(&before);
    }
}

#[test]
fn a_lock_that_is_held_is_waited_for() {
    let Some(mut world) = World::new() else { return };
    let a = world.process();
    world.netns_ok(&["create"], "");
    let holder = Command::new("flock")
        .args(["/run/netns-hook/lock", "sleep", "1"])
        .stdin(Stdio::null())
        .spawn()
        .expect("flock");
    std::thread::sleep(Duration::from_millis(200));
    world.keep(holder);
    world.attach_ok("a", a, &[]);
    assert!(a.pings("172.19.0.1"));
}

#[test]
fn a_port_that_a_process_of_the_host_listens_on_is_refused_by_its_name() {
    let Some(mut world) = World::new() else { return };
    let a = world.process();
    world.netns_ok(&["create"], "");
    let before = world.snapshot();
    let _tcp = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
    let _udp = std::net::UdpSocket::bind("127.0.0.1:5353").unwrap();
    let _v6 = std::net::TcpListener::bind("[::]:8443").ok();
    let me = format!("process {} (", std::process::id());
    for port in ["8080:80", "8000-8999:8000-8999", "127.0.0.1:8080:80", "5353:53/udp", "8443:443"] {
        let refused = world.attach("a", a, &[("publish", port)]);
        let said = stderr(&refused);
        assert!(!refused.status.success() && said.contains(&me), "{port}: {said}");
        assert!(said.contains("of the host listens there"), "{port}: {said}");
        world.assert_as(&before);
    }
    world.attach_ok("a", a, &[("publish", "8080:80/udp,5353:53/tcp,127.0.0.2:5353:53/udp")]);
    world.detach_ok("a");
    world.assert_as(&before);
}
