//! What the administrator's policy lets annotations ask for.

use std::fs;

use crate::common::{World, state, stderr};

const STRICT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/netns-hook.toml");

/// Runs the hook with the strict example as its configuration.
fn attach(world: &World, id: &str, pid: u32, annotations: &[(&str, &str)]) -> std::process::Output {
    world.netns(&["--config", STRICT], &state(id, "creating", Some(pid), annotations))
}

#[test]
fn what_the_policy_denies_is_an_error_and_nothing_is_done() {
    let Some(mut world) = World::new() else { return };
    let pid = world.process().pid;
    let before = world.snapshot();
    for (name, value, rule) in [
        ("publish", "22:22", "publish-ports allows 8000-8999, 49152-65535, and not 22"),
        ("publish", "127.0.0.1:8000:80,8001:81", "publish-addresses allows 127.0.0.1, and not 0.0.0.0"),
        ("static-ip", "172.19.8.1", "static-ips allows 172.19.9.0/24, and not 172.19.8.1"),
        ("iface", "lo", "ifaces allows eth0, net0, and not lo"),
        ("bridge", "docker0", "options allows publish, static-ip, iface, and not bridge"),
    ] {
        let denied = attach(&world, "web", pid, &[(name, value)]);
        let expected = format!("netns: use annotation org.netns.{name}={value}: the policy's {rule}\n");
        assert_eq!((denied.status.code(), stderr(&denied)), (Some(1), expected));
        world.assert_as(&before);
    }
    assert!(!fs::exists("/run/netns-hook/lock").unwrap(), "not even the lock was taken");
}

#[test]
fn within_the_policy_annotations_win_and_flags_are_not_bound() {
    let Some(mut world) = World::new() else { return };
    let [a, b] = [(); 2].map(|()| world.process());
    let allowed = [("publish", "127.0.0.1:8000:80"), ("static-ip", "172.19.9.7"), ("iface", "net0")];
    let attached = attach(&world, "a", a.pid, &allowed);
    assert!(attached.status.success(), "{}", stderr(&attached));
    assert!(a.sh("ip -4 addr show net0").contains("172.19.9.7/16"));
    let by_flag = ["--config", STRICT, "-p", "22:22", "--static-ip", "172.19.8.1"];
    world.netns_ok(&by_flag, &state("b", "creating", Some(b.pid), &[]));
    assert!(b.sh("ip -4 addr show eth0").contains("172.19.8.1/16"));
    assert!(world.rules().contains("--dport 22 "));
}

#[test]
fn a_plan_is_denied_as_its_hook_is_and_leaving_never_is() {
    let Some(mut world) = World::new() else { return };
    let process = world.process();
    let annotations = [("publish", "22:22")];
    world.attach_ok("web", process, &annotations);
    let state = |status, pid| state("web", status, pid, &annotations);
    let plan = world.netns(&["--config", STRICT, "plan"], &state("creating", Some(process.pid)));
    assert!(stderr(&plan).contains("the policy's publish-ports allows"), "{}", stderr(&plan));
    world.netns_ok(&["--config", STRICT], &state("stopped", None));
    assert_eq!(world.ls(), serde_json::json!([]), "a policy that came later keeps nobody");
}

#[test]
fn a_policy_that_cannot_be_read_allows_nothing() {
    let Some(mut world) = World::new() else { return };
    let pid = world.process().pid.to_string();
    fs::write("/run/test/policy.toml", "[policy]\npublish-port = ['8000']").unwrap();
    let refused = world.netns(&["--config", "/run/test/policy.toml", "attach", &pid], "");
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        said.contains(
            "use policy.publish-port in configuration /run/test/policy.toml, line 2, column 1: unknown key"
        ),
        "{said}"
    );
    assert!(said.contains("hint: did you mean publish-ports?"), "{said}");
    assert_eq!(world.links(), ["lo"]);
}

#[test]
fn without_a_policy_a_container_may_ask_for_what_is_its_own() {
    let Some(mut world) = World::new() else { return };
    let a = world.process();
    let own = [
        ("publish", "8080:80"),
        ("static-ip", "172.19.9.9"),
        ("ipfile", "address"),
        ("alias", "db"),
        ("dns", "10.0.0.53"),
        ("dns-search", "lan"),
        ("dns-option", "ndots:2"),
        ("no-dns", "true"),
    ];
    world.netns_ok(&[], &state("a", "creating", Some(a.pid), &own));
    assert_eq!(fs::read_to_string("/run/test/address").unwrap(), "172.19.9.9");
    assert!(world.rules().contains("--dport 8080 "));
}

#[test]
fn the_line_that_a_denial_names_allows_it() {
    let Some(mut world) = World::new() else { return };
    let pid = Some(world.process().pid);
    let file = "/run/test/policy.toml";
    for (name, value) in
        [("bridge", "br7"), ("ip", "10.7.0.1/24"), ("iface", "net0"), ("mtu", "1400"), ("name-netns", "true")]
    {
        let asked = state("a", "creating", pid, &[(name, value)]);
        let denied = world.netns(&["plan"], &asked);
        let said = stderr(&denied);
        let line = said.trim_end().split_once(", as [policy] ").expect("the line that would allow it").1;
        assert_eq!(denied.status.code(), Some(1), "{said}");
        fs::write(file, format!("[policy]\n{line}\n")).unwrap();
        let plan = world.netns_ok(&["--config", file, "plan"], &asked);
        let effect = if name == "name-netns" { "ip netns attach a " } else { value };
        assert!(plan.contains(effect), "{name}: {plan}");
    }
}
