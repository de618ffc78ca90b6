//! The same containers under every engine, and a table of what each of them got.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::{Ask, Engine, engine};
use crate::common::traffic::{ask_tcp, ask_tcp_from, serve_tcp};
use crate::common::{Process, World};

/// Every engine that a container can get its network under.
pub const ENGINES: [&str; 9] = [
    "by hand",
    "runc",
    "crun",
    "youki",
    "podman+runc",
    "podman+crun",
    "containerd+runc",
    "containerd+crun",
    "docker+runc",
];

const CHECKS: [&str; 9] =
    ["address", "gateway", "neighbour", "masquerade", "published", ".ip", "ls", "restart", "nothing left"];

/// One engine's row; `None` where it is not installed. A check that is not reached has failed.
type Row = Option<Vec<bool>>;

#[test]
fn every_engine_gives_a_container_its_network_and_takes_it_back() {
    let rows: Vec<(&str, Row)> =
        ENGINES.map(|name| (name, in_a_world(name, check).unwrap_or(Some(Vec::new())))).into();
    let table = table(&rows);
    // Past the test harness, which would swallow it.
    let _ = std::io::stderr().write_all(format!("\n{table}").as_bytes());
    let failed = rows
        .iter()
        .any(|(_, row)| row.as_ref().is_some_and(|row| row.len() < CHECKS.len() || row.contains(&false)));
    assert!(!failed, "\n{table}");
}

/// A world belongs to a thread: one for each engine, one after the other. `Ok(None)` where the
/// engine is not installed; `Err` after a panic, which has been reported.
pub fn in_a_world<T: Send + 'static>(
    name: &'static str,
    what: fn(&str, &mut World, &mut dyn Engine) -> T,
) -> std::thread::Result<Option<T>> {
    let run = move || {
        let mut world = World::new()?;
        let mut engine = engine(name, &mut world)?;
        Some(what(name, &mut world, engine.as_mut()))
    };
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).expect("start a thread").join()
}

fn check(_name: &str, world: &mut World, engine: &mut dyn Engine) -> Vec<bool> {
    let internet = world.neighbour();
    serve_tcp(internet, 80, "internet");
    world.netns_ok(&["create"], "");
    let before = ours(world);
    let web = Ask { id: "web", options: &[("publish", "8080:80")], then_fails: false };
    let process = engine.start(world, web).expect("start web");
    let other =
        engine.start(world, Ask { id: "other", options: &[], then_fails: false }).expect("start other");
    serve_tcp(process, 80, "web");
    let rows = world.ls();
    let row = rows.as_array().unwrap().iter().find(|row| row["pid"] == process.pid).expect("a row in ls");
    let ip_file = Path::new(row["bundle"].as_str().unwrap()).join(".ip");
    let ip_text = fs::read_to_string(&ip_file).unwrap_or_default();
    let mut results = vec![
        process.sh("ip -o -4 addr show eth0").contains("inet 172.19.0.2/16 brd 172.19.255.255"),
        process.pings("172.19.0.1"),
        process.pings("172.19.0.3") && other.pings("172.19.0.2"),
        ask_tcp_from(process, "10.0.0.2:80") == "internet",
        ask_tcp_from(internet, "10.0.0.1:8080") == "web" && ask_tcp("127.0.0.1:8080") == "web",
        ip_text.trim() == "172.19.0.2",
        row["status"] == "running"
            && row["addresses"][0] == "172.19.0.2/16"
            && row["published"][0]["host_port"] == 8080
            && rows.as_array().unwrap().len() == 2,
    ];
    let again = engine.restart(world, "web");
    results.push(works_again(world, process, again, internet));
    engine.delete(world, "web");
    engine.delete(world, "other");
    results.push(becomes(world, &before) && !ip_file.exists());
    results
}

/// The restarted container has an address, its port, and one row.
fn works_again(world: &World, before: Process, now: Process, internet: Process) -> bool {
    serve_tcp(now, 80, "again");
    let rows = world.ls();
    before.pid != now.pid
        && now.pings("172.19.0.1")
        && ask_tcp_from(internet, "10.0.0.1:8080") == "again"
        && rows.as_array().unwrap().len() == 2
}

/// What of the host could be ours: engines have files of their own in `/run`, and the wire to
/// the internet gets its link-local address a moment late.
pub fn ours(world: &World) -> Vec<String> {
    let keep = |line: &String| {
        let foreign = line.starts_with("/run/") && !line.starts_with("/run/netns-hook/");
        !foreign && !line.contains("wire0") && !line.ends_with("/netns-hook/log")
    };
    world.snapshot().into_iter().filter(keep).collect()
}

/// Whether the host is, within ten seconds, as it was; says what differs if not. podman's
/// `poststop` comes a moment after podman has returned.
pub fn becomes(world: &World, before: &[String]) -> bool {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let after = ours(world);
        if after == before {
            return true;
        }
        if std::time::Instant::now() > end {
            let added: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
            eprintln!("left: {added:#?}");
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Creates a container whose create fails, and fails if anything of it stays.
fn fails(world: &mut World, engine: &mut dyn Engine, before: &[String], ask: Ask) -> String {
    let said = engine.start(world, ask).expect_err("the create fails");
    engine.delete(world, ask.id);
    // Where no poststop is called the next run takes back what was done.
    let other = engine.start(world, Ask { id: "next", options: &[], then_fails: false }).expect("start next");
    assert!(other.pings("172.19.0.1"), "the next container");
    let ports = |lines: &str| lines.matches("--dport 8080").count();
    assert_eq!(ports(&world.rules()), ports(&before.join("\n")));
    engine.delete(world, "next");
    assert!(becomes(world, before), "something is left");
    said
}

#[test]
fn nothing_is_left_where_a_hook_after_ours_fails() {
    for name in ENGINES {
        let failed = in_a_world(name, |name, world, engine| {
            world.netns_ok(&["create"], "");
            let before = ours(world);
            let ask = Ask { id: "web", options: &[("publish", "8080:80")], then_fails: true };
            fails(world, engine, &before, ask);
            eprintln!("{name}: as before");
        });
        assert!(failed.is_ok(), "{name}");
    }
}

#[test]
fn nothing_is_left_where_our_hook_fails_because_the_port_is_taken() {
    for name in ENGINES {
        let failed = in_a_world(name, |name, world, engine| {
            world.netns_ok(&["create"], "");
            let publish = [("publish", "8080:80")];
            let first = Ask { id: "first", options: &publish, then_fails: false };
            let process = engine.start(world, first).expect("start first");
            serve_tcp(process, 80, "first");
            let before = ours(world);
            let said = fails(world, engine, &before, Ask { id: "second", ..first });
            eprintln!("{name}: {said}");
            assert_eq!(ask_tcp("127.0.0.1:8080"), "first", "the port's owner is undisturbed");
            engine.delete(world, "first");
        });
        assert!(failed.is_ok(), "{name}");
    }
}

fn table(rows: &[(&str, Row)]) -> String {
    let mut text = format!("{:16}{}\n", "engine", CHECKS.join("  "));
    for (name, row) in rows {
        let cell = |(number, check): (usize, &&str)| {
            let mark = match row {
                None => "-",
                Some(row) if row.get(number) == Some(&true) => "yes",
                Some(_) => "NO",
            };
            format!("{mark:width$}", width = check.len())
        };
        let cells: Vec<String> = CHECKS.iter().enumerate().map(cell).collect();
        text.push_str(&format!("{name:16}{}\n", cells.join("  ").trim_end()));
    }
    text
}
