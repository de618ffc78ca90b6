//! What keeps a container to its rates, and queues that are full.

use std::net::UdpSocket;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::{Case, only, run_remedy, ward};
use crate::common::World;
use crate::common::scene::Scene;
use crate::common::traffic::inside;

/// A container `slow` that receives and sends at 5 mbit; a process without rates is beside it.
fn scene() -> Option<Scene> {
    let mut scene = ward(World::new()?, "8080:80,127.0.0.1:8181:81");
    let slow = scene.world.process();
    scene.world.attach_ok("slow", slow, &[("rate-in", "5mbit"), ("rate-out", "5mbit"), ("ipfile", "slow")]);
    scene.web = slow;
    Some(scene)
}

/// What limits the container, as `tc` shows it.
fn limits(scene: &Scene) -> usize {
    let pid = scene.web.pid;
    let shown = scene.world.sh(&format!(
        "tc qdisc show dev netnsv0-{pid}; tc filter show dev netnsv0-{pid} ingress 2>/dev/null | grep netnsi0-{pid}; \
         tc qdisc show dev netnsi0-{pid} 2>/dev/null; true"
    ));
    shown.matches("rate 5Mbit").count() + shown.matches("Egress Redirect").count()
}

fn is_known(harm: impl Fn(u32) -> String) {
    is_known_as("rate-missing", harm);
}

fn is_known_as(check: &str, harm: impl Fn(u32) -> String) {
    let Some(scene) = scene() else { return };
    let harm = harm(scene.web.pid);
    let flows =
        || limits(&scene) == 3 && scene.web.try_sh("busybox ping -c 1 -W 1 10.0.0.2").status.success();
    let case = Case { world: &scene.world, check, args: &[], harm: &harm, flows };
    case.is_remedied();
    case.is_fixed();
}

#[test]
fn a_queue_that_is_gone() {
    is_known(|pid| format!("tc qdisc del dev netnsv0-{pid} root"));
    is_known(|pid| format!("tc qdisc del dev netnsi0-{pid} root; tc qdisc del dev netnsv0-{pid} root"));
}

#[test]
fn a_link_that_what_it_sends_waits_on_and_that_is_gone() {
    is_known(|pid| format!("ip link del netnsi0-{pid}"));
    is_known(|pid| format!("ip link set netnsi0-{pid} down"));
}

#[test]
fn what_it_sends_is_not_led_to_its_queue_any_more() {
    is_known(|pid| format!("tc qdisc del dev netnsv0-{pid} ingress"));
}

#[test]
fn a_veth_pair_that_is_gone_is_made_again_with_its_rates() {
    is_known_as("veth-broken", |pid| format!("ip link del netnsv0-{pid}"));
}

/// Sends 8 mbit from here for a while, which the calling thread looks at.
fn while_sending<T>(socket: UdpSocket, to: &str, what: impl FnOnce() -> T) -> T {
    let to = format!("{to}:9");
    std::thread::scope(|scope| {
        let (end, ended) = channel::<()>();
        scope.spawn(move || {
            let (start, mut sent) = (Instant::now(), 0);
            while ended.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
                // 1,000 bytes and 42 before them each.
                while f64::from(sent) < start.elapsed().as_secs_f64() * 960.0 {
                    let _ = socket.send_to(&[0; 1000], &to);
                    sent += 1;
                }
            }
        });
        std::thread::sleep(Duration::from_secs(1));
        let answer = what();
        drop(end);
        answer
    })
}

#[test]
fn a_queue_that_is_full() {
    let Some(scene) = scene() else { return };
    let socket = || UdpSocket::bind("0.0.0.0:0").unwrap();
    let (here, there) = (socket(), inside(scene.web, socket));
    for (socket, to, option, link) in
        [(here, "172.19.0.4", "--rate-in", 'v'), (there, "172.19.0.1", "--rate-out", 'i')]
    {
        let finding =
            while_sending(socket.try_clone().unwrap(), to, || only(&scene.world, "queue-full", &[]));
        assert_eq!((&finding["object"], &finding["fixable"]), (&"container slow".into(), &false.into()));
        let remedy = finding["remedy"].as_str().unwrap();
        assert!(
            remedy.starts_with(&format!("tc qdisc replace dev netns{link}0-{}", scene.web.pid)),
            "{remedy}"
        );
        assert!(finding["hint"].as_str().unwrap().contains(&format!("{option} 10mbit")), "{finding}");
        run_remedy(&scene.world, &finding);
        let found = while_sending(socket, to, || super::findings(&scene.world, &[]));
        assert_eq!(found, [0; 0].map(serde_json::Value::from));
    }
}
