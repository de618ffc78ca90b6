//! Containers that do all of that at once, without capabilities, with CAP_NET_ADMIN and with
//! CAP_NET_RAW, beside three healthy ones, while others come and go.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::files::{exchange_names, hold_leases, with_files_of_its_own};
use super::{A_SECOND, among_its_files};
use crate::common::traffic::{ask_tcp_from, serve_tcp};
use crate::common::{Options, Process, World, stderr};
use crate::names::running::apart;

/// How many others come and go, and how long that may take altogether.
const OTHERS: usize = 200;
const AT_MOST: Duration = Duration::from_secs(40);

/// How long each has waited.
#[derive(Default)]
struct Waits(Vec<(Duration, String)>);

impl Waits {
    fn of<T>(&mut self, for_what: &str, what: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = what();
        self.0.push((begun.elapsed(), for_what.to_owned()));
        done
    }
}

/// Runs a command again and again, with one capability, in the network of a container.
fn keep_doing(world: &mut World, process: Process, capability: &str, command: &str) {
    let caps = format!("-all,+{capability}");
    let child = Command::new("nsenter")
        .args(["-t", &process.pid.to_string(), "-n", "setpriv"])
        .args([format!("--bounding-set={caps}"), format!("--inh-caps={caps}")])
        .args(["sh", "-c", &format!("PATH=$PATH:/usr/sbin:/sbin; while :; do {command}; sleep 0.1; done")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start an attack");
    world.keep(child);
}

/// Three that serve their name on port 80, published as 8080, 8081 and 8082.
fn healthy(world: &mut World) -> Vec<(String, Process)> {
    let start = |n: usize| {
        let (name, process) = (format!("healthy{n}"), apart(world));
        let port = format!("{}:80", 8080 + n);
        world.attach_ok(&name, process, &[("publish", &port), ("alias", &format!("web{n}"))]);
        serve_tcp(process, 80, name.clone());
        (name, process)
    };
    (0..3).map(start).collect()
}

/// Fails unless each is reached by its port, and reads of the others.
fn assert_healthy(healthy: &[(String, Process)], far: Process, waits: &mut Waits) {
    for (n, (name, process)) in healthy.iter().enumerate() {
        let ask = || ask_tcp_from(far, &format!("10.0.0.1:{}", 8080 + n));
        // On a busy machine a packet may be late, but it never leads to another.
        let answer = (0..3).map(|_| ask()).find(|answer| !answer.is_empty());
        assert_eq!(answer.as_ref(), Some(name));
        let read = || among_its_files(*process, || fs::read_to_string("/etc/hosts").unwrap()).join().unwrap();
        let hosts = waits.of("reading hosts", read);
        assert!((0..3).all(|n| hosts.contains(&format!(" healthy{n} web{n} "))), "{hosts}");
        assert!(!hosts.contains("6.6.6.6"), "{hosts}");
    }
}

/// Lends `nic0` to the container `admin`, which passes off another as it; and takes it back.
fn lend_and_forge(world: &World, admin: Process, round: usize, waits: &mut Waits) {
    let (nic, lan) = (format!("nic0=lan{round},ip=12.0.0.10/8"), format!("lan{round}"));
    let options: &Options = &[("nic", &nic), ("ip", "172.19.0.1/16")];
    world.detach_ok("admin");
    let output = waits.of("lending", || world.attach("admin", admin, options));
    assert!(output.status.success(), "{}", stderr(&output));
    admin.sh(&format!(
        "setpriv --bounding-set=-all,+net_admin --inh-caps=-all,+net_admin sh -ec '\
         ip link set {lan} down; ip link set {lan} name own{round} alias none; \
         ip link add {lan} type veth peer name fake{round}; \
         ip link set {lan} alias netns:nic0:admin up'"
    ));
    waits.of("giving back", || world.detach_ok("admin"));
    let link = world.sh("ip -o addr show dev nic0; ip -o link show dev nic0");
    assert!(link.contains("10.9.0.1/24") && link.contains("02:aa:00:00:00:01"), "{link}");
    assert!(!world.links().iter().any(|link| link.contains("lan") || link.contains("fake")));
    world.attach_ok("admin", admin, &[]);
}

#[test]
fn hostile_containers_keep_nobody_waiting_and_change_nothing_of_others() {
    let Some(mut world) = World::new() else { return };
    let far = world.neighbour();
    world.sh(&format!("ip link add nic0 type veth peer name wire2 netns {}", far.pid));
    world.sh(
        "ip link set nic0 address 02:aa:00:00:00:01 addrgenmode none up && ip addr add 10.9.0.1/24 dev nic0",
    );
    let healthy = healthy(&mut world);
    let (plain, admin, raw) = (apart(&mut world), world.process(), world.process());
    world.attach_ok("plain", plain, &[("alias", "plain0"), ("dns", "1.1.1.1")]);
    for (name, process) in [("admin", admin), ("raw", raw)] {
        world.attach_ok(name, process, &[]);
        serve_tcp(process, 80, name);
    }
    let renamer = with_files_of_its_own(&mut world, "renamer");
    let newcomers: Vec<Process> = (0..4).map(|_| apart(&mut world)).collect();

    hold_leases(&mut world, plain, "0", &["/etc/hosts"]);
    hold_leases(&mut world, plain, "1", &["/etc/resolv.conf"]);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let racing = among_its_files(renamer, move || exchange_names(&stopped));
    let all = "for n in 2 3 4; do";
    keep_doing(
        &mut world,
        raw,
        "net_raw",
        &format!("{all} busybox arping -q -U -c 1 -w 1 -I eth0 -s 172.19.0.$n 172.19.0.1; done"),
    );
    let theirs = "ip addr add 172.19.0.$n/32 dev eth0; ip link set eth0 address 02:6e:ac:13:00:0$n; ip addr add 10.66.$((i / 250)).$((i % 250))/32 dev eth0";
    keep_doing(&mut world, admin, "net_admin", &format!("i=$((i + 1)); {all} {theirs}; done"));

    let (begun, mut waits, mut came) = (Instant::now(), Waits::default(), 0);
    let pid = renamer.pid.to_string();
    while came < OTHERS && begun.elapsed() < AT_MOST {
        let (at, id) = (newcomers[came % newcomers.len()], format!("newcomer{came}"));
        let output = waits
            .of("an attach", || world.attach(&id, at, &[("publish", "80"), ("alias", &format!("a{came}"))]));
        assert!(output.status.success(), "{}", stderr(&output));
        waits.of("a detach", || world.detach_ok(&id));
        if came % 10 == 0 {
            waits.of("the renamer's attach", || {
                world.netns(&["attach", &pid, "--id", "renamer", "--dns", "1.1.1.1"], "")
            });
            assert_healthy(&healthy, far, &mut waits);
            waits.of("the renamer's detach", || world.netns(&["detach", "renamer"], ""));
            for command in [vec!["ls"], vec!["graph"], vec!["inspect", "admin"]] {
                waits.of(command[0], || world.netns_ok(&command, ""));
            }
        }
        if came % 40 == 0 {
            lend_and_forge(&world, admin, came, &mut waits);
        }
        came += 1;
    }
    stop.store(true, Ordering::Relaxed);
    racing.join().unwrap();
    assert_healthy(&healthy, far, &mut waits);
    waits.0.sort();
    let late = waits.0.iter().filter(|(wait, _)| *wait > A_SECOND).count();
    let longest = &waits.0[waits.0.len() - 1];
    eprintln!("{came} came and went, {} waits, the longest {longest:?}", waits.0.len());
    assert!(came >= OTHERS / 5, "{came} of {OTHERS} came and went");
    // A machine that is busy with other things may be late once.
    assert!(late * 100 <= waits.0.len() && longest.0 < 2 * A_SECOND, "{late} waited too long, {longest:?}");
}
