//! `--name-netns`: the container's network namespace in `ip netns`, under the container's id.

use std::fs;

use crate::common::{NETNS, Process, World, run, state, stderr};
use crate::kill::{End, kill_at};
use crate::pod::beside;

const NAMED: [(&str, &str); 1] = [("name-netns", "true")];

/// The names that `ip netns` shows, without the kernel's numbers.
fn names(world: &World) -> Vec<String> {
    let text = world.sh("ip netns list");
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// A world with a network and a process, and what it looks like.
fn start() -> Option<(World, Process, Vec<String>)> {
    let mut world = World::new()?;
    world.netns_ok(&["create"], "");
    let web = world.process();
    let before = world.snapshot();
    Some((world, web, before))
}

#[test]
fn ip_netns_knows_the_container_while_it_is_attached() {
    let Some((world, web, before)) = start() else { return };
    world.sh(&format!("umask 077; {NETNS} --name-netns attach {} --id web", web.pid));
    world.netns_ok(&["detach", "web"], "");
    world.attach_ok("web", web, &NAMED);
    assert_eq!(names(&world), ["web"]);
    assert!(world.sh("ip netns exec web ip -o -4 addr show eth0").contains("172.19.0.3/16"));
    assert_eq!(world.sh("ip netns identify $(ip netns pids web)").trim(), "web");
    // As iproute2 leaves it.
    assert_eq!(world.sh("stat -c %a /run/netns").trim(), "755");
    assert!(world.sh("grep ' /run/netns ' /proc/self/mountinfo").contains(" shared:"));
    world.attach_ok("web", web, &NAMED);
    world.sh("ip netns add blue && ip netns del blue");
    world.detach_ok("web");
    assert_eq!(names(&world), [""; 0]);
    world.assert_as(&before);
}

#[test]
fn every_layer_can_ask_for_a_name_or_against_it() {
    let Some((world, web, _)) = start() else { return };
    fs::write("/run/test/config", "name-netns = true").unwrap();
    let pid = web.pid.to_string();
    let plain = ["attach", &pid, "--id", "web"];
    let environment = |value: &str| format!("NETNS_NAME_NETNS={value} {NETNS} {}", plain.join(" "));
    let with = |option: &str| format!("{NETNS} {option} {}", plain.join(" "));
    for (command, named) in [
        (environment("1"), true),
        (environment("no"), false),
        (with("--name-netns"), true),
        (with("--config /run/test/config"), true),
        (with("--config /run/test/config --name-netns=false"), false),
        (with(""), false),
    ] {
        world.sh(&command);
        assert_eq!(names(&world).len(), usize::from(named), "{command}");
        world.netns_ok(&["detach", "web"], "");
    }
    let annotated = state("web", "creating", Some(web.pid), &[("name-netns", "false")]);
    let denied = world.netns(&["--name-netns"], &annotated);
    let said = stderr(&denied);
    assert!(
        denied.status.code() == Some(1) && said.contains("[policy] options = [\"name-netns\"]"),
        "{said}"
    );
    fs::write("/run/test/config", "[policy]\noptions = ['name-netns']").unwrap();
    world.netns_ok(&["--name-netns", "--config", "/run/test/config"], &annotated);
    assert_eq!(names(&world).len(), 0, "the annotation wins where the policy allows it");
}

#[test]
fn what_leads_nowhere_is_replaced() {
    let Some((world, web, before)) = start() else { return };
    for stale in ["touch /run/netns/web", "ln -s /proc/4194304/ns/net /run/netns/web"] {
        world.sh(&format!("mkdir -p /run/netns; {stale}"));
        world.attach_ok("web", web, &NAMED);
        assert!(world.sh("ip netns exec web ip addr").contains("172.19.0."), "{stale}");
        world.detach_ok("web");
        world.assert_as(&before);
    }
}

#[test]
fn what_is_somebody_elses_is_never_touched() {
    let Some((mut world, web, _)) = start() else { return };
    let other = world.process();
    for (theirs, cause) in [
        ("ip netns add web", "another namespace has this name"),
        (&format!("ln -s /proc/{}/ns/net /run/netns/web", other.pid), "another namespace has this name"),
        ("echo precious >/run/netns/web", "not the name of a namespace"),
        ("mkdir /run/netns/web", "not the name of a namespace"),
    ] {
        world.sh(&format!("mkdir -p /run/netns; {theirs}"));
        let before = world.snapshot();
        let refused = world.attach("web", web, &NAMED);
        let said = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{theirs}: {said}");
        assert!(
            said.contains("name the network namespace of container web: ") && said.contains(cause),
            "{said}"
        );
        world.assert_as(&before);
        world.attach_ok("web", web, &[]);
        world.detach_ok("web");
        world.assert_as(&before);
        world.sh("umount /run/netns/web; rm -r /run/netns/web");
    }
}

#[test]
fn a_name_given_by_hand_stays() {
    let Some((world, web, _)) = start() else { return };
    world.sh(&format!("ip netns attach web {}", web.pid));
    let before = world.snapshot();
    world.attach_ok("web", web, &NAMED);
    world.detach_ok("web");
    assert_eq!(names(&world), ["web"]);
    world.assert_as(&before);
}

#[test]
fn a_name_that_was_taken_by_hand_or_by_another_is_no_obstacle() {
    let Some((world, web, before)) = start() else { return };
    world.attach_ok("web", web, &NAMED);
    world.sh("ip netns del web");
    world.detach_ok("web");
    world.assert_as(&before);
    world.attach_ok("web", web, &NAMED);
    world.sh("ip netns del web; ip netns add web");
    world.detach_ok("web");
    assert_eq!(names(&world), ["web"], "it is not ours");
}

#[test]
fn a_dead_container_is_not_kept_by_its_name() {
    let Some((mut world, web, before)) = start() else { return };
    let next = world.process();
    world.attach_ok("web", web, &[NAMED[0], ("publish", "8080:80")]);
    world.kill(web);
    assert_eq!(world.ls()[0]["status"], "dead");
    assert_eq!(world.netns_ok(&["gc", "--dry-run"], ""), "container web\n");
    world.attach_ok("next", next, &[("publish", "8080:80")]);
    assert_eq!(world.ls().as_array().map(Vec::len), Some(1), "cleaned up by the next");
    assert_eq!(names(&world), [""; 0]);
    world.detach_ok("next");
    world.assert_as(&before);
}

#[test]
fn a_pod_dies_with_its_last_process_though_each_has_a_name() {
    let Some((mut world, web, before)) = start() else { return };
    let app = beside(&mut world, web);
    world.attach_ok("web", web, &NAMED);
    world.attach_ok("app", app, &NAMED);
    world.attach_ok("late", app, &[]);
    assert_eq!(names(&world), ["app", "web"]);
    world.kill(web);
    assert_eq!(world.netns_ok(&["gc"], ""), "", "somebody lives in it");
    assert!(app.pings("172.19.0.1"));
    world.kill(app);
    assert_eq!(world.netns_ok(&["gc"], "").lines().count(), 3);
    world.assert_as(&before);
}

#[test]
fn a_named_namespace_dies_though_it_has_another_name_of_ours() {
    let Some((world, _, before)) = start() else { return };
    world.sh("ip netns add blue");
    world.netns_ok(&["attach", "--netns", "/run/netns/blue"], "");
    world.netns_ok(&["attach", "--netns", "/run/netns/blue", "--id", "green", "--name-netns"], "");
    assert!(names(&world).contains(&"green".to_owned()));
    assert_eq!(world.netns_ok(&["gc"], ""), "");
    world.sh("ip netns del blue");
    assert_eq!(world.netns_ok(&["gc"], "").lines().count(), 2);
    world.assert_as(&before);
}

#[test]
fn two_of_one_id_in_one_namespace_share_the_name() {
    let Some((world, web, before)) = start() else { return };
    let second = |status: &str, pid| state("web", status, pid, &[]).replace("/run/test", "/run");
    world.attach_ok("web", web, &NAMED);
    world.netns_ok(&["--name-netns"], &second("creating", Some(web.pid)));
    world.detach_ok("web");
    assert_eq!(names(&world), ["web"], "the other one has it too");
    world.netns_ok(&[], &second("stopped", None));
    world.assert_as(&before);
}

#[test]
fn a_name_is_taken_back_when_a_later_step_fails() {
    let Some((world, web, _)) = start() else { return };
    world.sh("ln -s /etc/passwd /run/test/.ip");
    let before = world.snapshot();
    let failed = world.attach("web", web, &NAMED);
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("/run/test/.ip"), "{}", stderr(&failed));
    assert_eq!(names(&world), [""; 0]);
    world.assert_as(&before);
}

#[test]
fn a_name_given_among_an_engines_own_mounts_is_taken_back_from_outside() {
    let Some((world, web, before)) = start() else { return };
    let apart = |command: &str| {
        let shell = "cat >/run/test/state; unshare --mount --propagation private";
        run(
            std::process::Command::new("sh").args(["-c", &format!("{shell} sh -c '{command}'")]),
            &state("web", "creating", Some(web.pid), &[]),
        )
    };
    let seen = apart(&format!("{NETNS} --name-netns </run/test/state && ip netns exec web ip addr"));
    assert!(String::from_utf8_lossy(&seen.stdout).contains("172.19.0.2/16"), "{}", stderr(&seen));
    world.sh("rm /run/test/state");
    world.detach_ok("web");
    world.assert_as(&before);
}

#[test]
fn a_run_killed_while_it_names_leaves_a_name_that_works_or_none() {
    let Some((world, web, before)) = start() else { return };
    let (flags, attach) = (["--name-netns=true"], state("web", "creating", Some(web.pid), &[]));
    let mut kills = 0;
    for call in ["mkdir", "chmod", "openat", "mount", "umount2", "unlink"] {
        for n in 1..300 {
            let attached = kill_at(call, n, &flags, &attach);
            kills += check(&world, &attached);
            world.netns_ok(&flags, &attach);
            let detached = kill_at(call, n, &[], &state("web", "stopped", None, &[]));
            kills += check(&world, &detached);
            world.detach_ok("web");
            world.assert_as(&before);
            if matches!((attached, detached), (End::Whole, End::Whole)) {
                break;
            }
        }
    }
    assert!(kills > 20, "only {kills} kills");
}

/// One more run; then the container has its name or is gone. Whether anything was killed.
fn check(world: &World, end: &End) -> usize {
    world.netns_ok(&["gc"], "");
    let attached = world.ls().as_array().map(Vec::len).unwrap_or_default();
    assert_eq!(names(world).len(), attached);
    if attached == 1 {
        assert!(world.sh("ip netns exec web ip addr").contains("172.19.0."));
    }
    usize::from(matches!(end, End::Cut))
}
