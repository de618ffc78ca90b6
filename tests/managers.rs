//! Containers of ours stay up while another manager of the host's firewall starts, reloads and ends:
//! what stops meanwhile, what `netns doctor` says of it, and that `netns reload` mends it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::scene::{Scene, ask};
use crate::common::{World, on_both_variants, stderr, wait_for};
use crate::engines::docker::Docker;

on_both_variants! {
    docker_that_starts_and_ends_stops_nothing,
}

/// Whether another host reaches the published port, the host does by localhost, and the container
/// reaches the other host.
fn works(scene: &Scene) -> [bool; 3] {
    let tried = |what: &dyn Fn() -> bool| (0..3).any(|_| what());
    [
        tried(&|| ask(Some(scene.other), "10.0.0.1", "8080/tcp") == "web"),
        tried(&|| ask(None, "127.0.0.1", "8080/tcp") == "web"),
        scene.web.pings("10.0.0.2"),
    ]
}

/// The names of what `netns doctor` finds.
fn found(world: &World) -> Vec<String> {
    let output = world.netns(&["doctor", "--json"], "");
    let all: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let names = all.as_array().expect("an array").iter();
    let about_rules = ["rules-missing", "forward-dropped", "port-led-elsewhere"];
    let name = |finding: &serde_json::Value| finding["check"].as_str().unwrap_or_default().to_owned();
    names.map(name).filter(|name| about_rules.contains(&name.as_str())).collect()
}

fn assert_all_works(scene: &Scene, when: &str) {
    assert_eq!((works(scene), found(&scene.world)), ([true; 3], vec![]), "{when}");
}

#[test]
fn ufw_stops_nothing_and_keeps_nobody_from_a_published_port() {
    let Some(world) = World::new() else { return };
    world.change_only_here(&["/etc/ufw"]);
    let scene = Scene::new(world, "8080:80");
    for command in ["--force enable", "reload", "deny 8080", "--force disable", "--force enable", "reload"] {
        scene.world.sh(&format!("ufw {command}"));
        assert_all_works(&scene, &format!("ufw {command}"));
    }
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "22/tcp"), "", "what is for the host itself");
    scene.world.sh("iptables -A NETNS-USER -s 10.0.0.2 -j DROP && ufw reload");
    assert!(!works(&scene)[0], "the chain of the administrator outlives its reload");
}

fn docker_that_starts_and_ends_stops_nothing(world: World) {
    let scene = Scene::new(world, "8080:80");
    for start in ["first start", "second start"] {
        let docker = Docker::with_network(&scene.world);
        assert!(scene.world.rules().contains("DOCKER"), "it has rules");
        assert_all_works(&scene, start);
        drop(docker);
        assert_all_works(&scene, &format!("end after the {start}"));
    }
}

/// What `netns doctor` says is to be done where firewalld runs.
const TRUSTED: &str = "firewall-cmd --permanent --zone=trusted --add-interface=netns0";

fn start_daemon(world: &mut World, program: &str, arguments: &[&str]) -> u32 {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    world.keep(command.spawn().expect("start a daemon"))
}

fn start_dbus(world: &mut World) {
    fs::create_dir("/run/dbus").expect("create /run/dbus");
    start_daemon(world, "dbus-daemon", &["--system", "--nofork", "--nopidfile"]);
    wait_for("dbus", || Path::new("/run/dbus/system_bus_socket").exists());
}

fn start_firewalld(world: &mut World) -> u32 {
    let firewalld = start_daemon(world, "firewalld", &["--nofork", "--nopid"]);
    wait_for("firewalld", || world.try_sh("firewall-cmd --state").status.success());
    firewalld
}

fn end_firewalld(world: &World, firewalld: u32) {
    world.sh(&format!("kill {firewalld}"));
    wait_for("the end of firewalld", || !world.try_sh("firewall-cmd --state").status.success());
    wait_for("the end of its rules", || !world.sh("nft list tables").contains("firewalld"));
}

#[test]
fn with_ufw_firewalld_and_docker_on_one_host_a_reload_of_ours_is_all_that_our_containers_need() {
    let Some(mut world) = World::new() else { return };
    world.change_only_here(&["/etc/ufw", "/etc/firewalld", "/var/log"]);
    start_dbus(&mut world);
    let mut scene = Scene::new(world, "8080:80");
    // firewalld removes the rules of everybody, and of ufw's leaves the policies, by which not even
    // the host itself is answered any more; nobody else touches ours.
    let check = |scene: &Scene, when: &str, flushed: bool| {
        let missing: &[&str] = if flushed { &["rules-missing"] } else { &[] };
        wait_for(when, || found(&scene.world) == missing);
        if flushed {
            scene.world.sh("ufw reload");
            scene.world.netns_ok(&["reload"], "");
        }
        assert_all_works(scene, when);
    };
    scene.world.sh("ufw --force enable");
    check(&scene, "ufw starts", false);
    let mut firewalld = start_firewalld(&mut scene.world);
    scene.world.sh(&format!("{TRUSTED} && firewall-cmd --reload"));
    check(&scene, "firewalld starts", true);
    let mut docker = Docker::with_network(&scene.world);
    // Of which it has firewalld make a zone, once.
    check(&scene, "docker starts", true);
    for round in 1..=2 {
        scene.world.sh("ufw reload");
        check(&scene, &format!("ufw reloads, {round}"), false);
        docker.reload();
        check(&scene, &format!("docker reloads, {round}"), false);
        scene.world.sh("firewall-cmd --reload");
        check(&scene, &format!("firewalld reloads, {round}"), true);
        scene.world.sh("ufw --force disable && ufw --force enable");
        check(&scene, &format!("ufw restarts, {round}"), false);
        drop(docker);
        check(&scene, &format!("docker ends, {round}"), false);
        docker = Docker::with_network(&scene.world);
        check(&scene, &format!("docker restarts, {round}"), false);
        end_firewalld(&scene.world, firewalld);
        check(&scene, &format!("firewalld ends, {round}"), true);
        firewalld = start_firewalld(&mut scene.world);
        check(&scene, &format!("firewalld restarts, {round}"), true);
    }
    scene.world.detach_ok("web");
    assert_eq!(ask(Some(scene.other), "10.0.0.1", "8080/tcp"), "", "and nothing is left of a port");
}

#[test]
fn firewalld_removes_our_rules_at_each_reload_and_a_reload_of_ours_restores_them() {
    let Some(mut world) = World::new() else { return };
    world.change_only_here(&["/etc/firewalld", "/var/log"]);
    start_dbus(&mut world);
    let firewalld = start_firewalld(&mut world);

    let scene = Scene::new(world, "8080:80");
    let world = &scene.world;
    assert_eq!(works(&scene), [true, true, false], "it forwards nothing that no zone allows");
    assert_eq!(found(world), ["forward-dropped"]);
    let said = String::from_utf8_lossy(&world.netns(&["doctor"], "").stdout).into_owned();
    assert!(said.contains(TRUSTED), "{said}");
    world.sh(TRUSTED);
    for reload in ["--reload", "--complete-reload"] {
        world.sh(&format!("firewall-cmd {reload}"));
        assert_eq!(works(&scene), [false; 3], "{reload} removes the rules of everybody");
        assert_eq!(found(world), ["rules-missing"]);
        let said = String::from_utf8_lossy(&world.netns(&["doctor"], "").stdout).into_owned();
        assert!(said.contains("remedy: netns reload"), "{said}");
        let mended = world.netns(&["reload"], "");
        assert!(mended.status.success(), "{}", stderr(&mended));
        assert_all_works(&scene, reload);
    }
    end_firewalld(world, firewalld);
    assert_eq!(found(world), ["rules-missing"], "it removes them when it ends, too");
    world.netns_ok(&["reload"], "");
    assert_all_works(&scene, "after its end");
}
