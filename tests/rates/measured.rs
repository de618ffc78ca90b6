//! TCP for some seconds, and how much of it arrived.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{both, inspected};
use crate::common::traffic::inside;
use crate::common::{Process, World};

/// Until what may pass at once has passed, and both ends have found their pace.
const BEGINNING: Duration = Duration::from_millis(1500);
/// How long is measured.
const WINDOW: Duration = Duration::from_millis(2500);
/// How often, if the machine is busy.
const ATTEMPTS: usize = 12;

/// Does something in a container, or on the host.
fn at<T: Send + 'static>(whom: Option<Process>, what: impl FnOnce() -> T + Send + 'static) -> T {
    match whom {
        Some(process) => inside(process, what),
        None => what(),
    }
}

/// Mbit per second on an Ethernet link of MTU 1500 while one end sends to the other as fast as TCP
/// can, each time until `enough` says so.
fn measure(
    from: Option<Process>,
    to: Option<Process>,
    address: &str,
    mut enough: impl FnMut(f64) -> bool,
) -> f64 {
    let address: IpAddr = address.parse().unwrap();
    let listener = at(to, move || TcpListener::bind((address, 0)).expect("listen"));
    let port = listener.local_addr().unwrap().port();
    let mut sender = at(from, move || TcpStream::connect((address, port)).expect("connect"));
    let (mut receiver, _) = listener.accept().unwrap();
    let ends = [sender.try_clone().unwrap(), receiver.try_clone().unwrap()];
    let received = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&received);
    let sending = std::thread::spawn(move || while sender.write_all(&[0; 1 << 16]).is_ok() {});
    let receiving = std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 18];
        while let Ok(bytes @ 1..) = receiver.read(&mut buffer) {
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    });
    std::thread::sleep(BEGINNING);
    // A packet of 1500 bytes and its 14 before it carry this much.
    let payload = if address.is_ipv4() { 1448.0 } else { 1428.0 };
    let mut speed = 0.0;
    for _ in 0..ATTEMPTS {
        let (start, before) = (Instant::now(), received.load(Ordering::Relaxed));
        std::thread::sleep(WINDOW);
        let bytes = received.load(Ordering::Relaxed) - before;
        speed = bytes as f64 * 8.0 / start.elapsed().as_secs_f64() * (1514.0 / payload) / 1e6;
        if enough(speed) {
            break;
        }
    }
    ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    sending.join().unwrap();
    receiving.join().unwrap();
    speed
}

/// Fails unless what passes is within 5 % of a rate, in mbit.
fn assert_rate(from: Option<Process>, to: Option<Process>, address: &str, rate: f64) {
    let near = |speed: f64| (speed / rate - 1.0).abs() < 0.05;
    let speed = measure(from, to, address, near);
    eprintln!("{rate} mbit to {address}: {speed:.1}");
    assert!(near(speed), "{speed:.1} mbit to {address} in place of {rate}");
}

/// Fails unless what passes is far more than a rate, in mbit.
fn assert_free(from: Option<Process>, to: Option<Process>, address: &str, rate: f64) {
    let far = |speed: f64| speed > 20.0 * rate;
    let speed = measure(from, to, address, far);
    eprintln!("no limit to {address}: {speed:.1}");
    assert!(far(speed), "{speed:.1} mbit to {address}, where nothing limits it");
}

/// A network of both families.
fn world() -> Option<World> {
    let mut world = World::new()?;
    world.use_firewall("nftables");
    world.use_subnets(&["172.19.0.1/16", "fd00:19::1/64"]);
    Some(world)
}

#[test]
fn a_container_receives_and_sends_at_its_rates_by_either_family() {
    let Some(mut world) = world() else { return };
    let (web, beside) = (world.process(), world.process());
    world.attach_ok("beside", beside, &[("static-ip", "172.19.0.9,fd00:19::9"), ("ipfile", "beside")]);
    for (rate, peer, addresses) in
        [(10, Some(beside), ["172.19.0.9", "fd00:19::9"]), (200, None, ["172.19.0.1", "fd00:19::1"])]
    {
        let text = format!("{rate}mbit");
        let asked = [("static-ip", "172.19.0.8,fd00:19::8"), ("rate-in", &*text), ("rate-out", &*text)];
        world.attach_ok("web", web, &asked);
        assert_eq!(inspected(&world, "web"), both(web, rate * 1_000_000));
        for (own, other) in ["172.19.0.8", "fd00:19::8"].into_iter().zip(addresses) {
            assert_rate(peer, Some(web), own, rate as f64);
            assert_rate(Some(web), peer, other, rate as f64);
        }
        world.detach_ok("web");
    }
}

#[test]
fn the_other_direction_is_not_limited() {
    let Some(mut world) = world() else { return };
    let web = world.process();
    for (option, limited_in) in [("rate-in", true), ("rate-out", false)] {
        world.attach_ok("web", web, &[("static-ip", "172.19.0.8,fd00:19::8"), (option, "10mbit")]);
        for (own, other) in [("172.19.0.8", "172.19.0.1"), ("fd00:19::8", "fd00:19::1")] {
            if limited_in {
                assert_free(Some(web), None, other, 10.0);
            } else {
                assert_free(None, Some(web), own, 10.0);
            }
        }
        world.detach_ok("web");
    }
}

#[test]
fn a_burst_smaller_than_what_is_handed_over_at_once_lets_packets_through() {
    let Some(mut world) = world() else { return };
    let web = world.process();
    world.attach_ok("web", web, &[("rate-in", "20mbit,4kb"), ("rate-out", "20mbit,4kb")]);
    let flows = |speed: f64| speed > 10.0;
    for (from, to, address) in [(None, Some(web), "172.19.0.2"), (Some(web), None, "172.19.0.1")] {
        let speed = measure(from, to, address, flows);
        assert!(flows(speed) && speed < 21.0, "{speed:.1} mbit");
    }
}

#[test]
fn a_container_that_may_change_its_own_links_is_limited_all_the_same() {
    let Some(mut world) = world() else { return };
    let web = world.process();
    world.attach_ok("web", web, &[("rate-in", "10mbit"), ("rate-out", "10mbit")]);
    web.sh("tc qdisc replace dev eth0 root pfifo limit 10000; tc qdisc add dev eth0 ingress; \
            ip link set eth0 txqueuelen 10000; ip link set eth0 gso_max_size 65000");
    assert_rate(Some(web), None, "172.19.0.1", 10.0);
    assert_rate(None, Some(web), "172.19.0.2", 10.0);
}
