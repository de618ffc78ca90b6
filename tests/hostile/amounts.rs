//! Containers that have a great many of something: addresses, interfaces, routes, ports.

use std::fmt::Write;
use std::fs;
use std::time::{Duration, Instant};

use super::{A_SECOND, soon};
use crate::common::{NETNS, World};

/// The most that any command prints of one container, in bytes.
const MOST: usize = 128 << 10;

#[test]
fn whatever_a_container_fills_its_tables_with_is_bounded_and_counted() {
    let Some(mut world) = World::new() else { return };
    let [hostile, healthy] = [(); 2].map(|()| world.process());
    world.attach_ok("hostile", hostile, &[("publish", "8080:80")]);
    world.attach_ok("healthy", healthy, &[]);
    let mut batch = String::new();
    // To remove four times as many the kernel takes 11 s, and every link of the machine waits.
    for n in 0..4_000 {
        let _ = writeln!(batch, "addr add 10.{}.{}.1/32 dev eth0", 100 + n / 250, n % 250);
        if n % 20 == 0 {
            let _ = writeln!(batch, "link add b{n} type bridge");
            let _ = writeln!(batch, "route add 11.{}.{}.0/24 dev eth0", n / 250, n % 250);
        }
    }
    let file = world.dir.join("batch");
    fs::write(&file, batch).unwrap();
    hostile.sh(&format!("ip -batch {}", file.display()));

    let commands: [&[&str]; 7] = [
        &["ls"],
        &["inspect", "hostile"],
        &["inspect", "hostile", "--json"],
        &["graph"],
        &["graph", "--format", "json"],
        &["graph", "--format", "svg"],
        &["inspect", "healthy"],
    ];
    for command in commands {
        let told = world.netns_ok(command, "");
        assert!(told.len() < MOST, "{command:?}: {} bytes", told.len());
        let counted = ["… and 3,937 more", "3937"].iter().any(|count| told.contains(count));
        assert_eq!(counted, command[0] != "ls" && !command.contains(&"healthy"), "{command:?}: {told}");
    }
    let used = world.sh(&format!("/usr/bin/env time -f %M {NETNS} graph 2>&1 >/dev/null"));
    assert!(used.trim().parse::<usize>().unwrap() < 128 << 10, "{used} KiB of memory");
    soon("an attach beside it", || {
        let newcomer = world.process();
        world.attach_ok("newcomer", newcomer, &[]);
    });
    soon("its detach", || world.detach_ok("hostile"));
}

#[test]
fn a_thousand_ports_of_no_number_keep_nobody_waiting() {
    let Some(mut world) = World::new() else { return };
    let many = vec!["80"; 1024].join(",");
    let spec = [("publish", many.as_str())];
    for n in 0..8 {
        let (greedy, innocent) = (world.process(), world.process());
        let waited = std::thread::scope(|scope| {
            // In the same world: of the same thread's namespaces.
            let world = &world;
            let attach = scope.spawn(move || world.attach_ok(&format!("greedy{n}"), greedy, &spec));
            std::thread::sleep(Duration::from_millis(20));
            let begun = Instant::now();
            world.attach_ok("innocent", innocent, &[("publish", "7000:80")]);
            let waited = begun.elapsed();
            attach.join().unwrap();
            waited
        });
        world.detach_ok("innocent");
        // What takes its time is the firewall's program, which others wait for a little too. Looked for
        // one by one, the ports took longer with each container.
        assert!(waited < 8 * A_SECOND, "{n}: {waited:?}");
    }
}
