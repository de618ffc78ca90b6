//! `netns doctor`: each fault it knows, alone in a world; its remedy, run as it is printed, and
//! `--fix`; and a healthy world, in which it finds nothing.

mod container;
mod firewall;
mod healthy;
mod host;
mod ipv6;
mod link;
mod probe;
mod rates;
mod seen;

use std::path::Path;
use std::process::Output;

use crate::common::scene::Scene;
use crate::common::{NETNS, World, stderr, wait_for};
use serde_json::Value;

/// Where the host's packets to the world go, and who resolves names for it.
const UPLINK: &str = "sysctl -qw net.ipv6.conf.wire0.disable_ipv6=1; ip route add default via 10.0.0.2 && printf 'nameserver 10.0.0.2\\n' > /run/test/resolv.conf && \
                      mount --bind /run/test/resolv.conf $(readlink -f /etc/resolv.conf)";

/// A healthy host with an uplink, and a container with these ports.
fn ward(world: World, publish: &str) -> Scene {
    let scene = Scene::new(world, publish);
    scene.world.sh(UPLINK);
    scene
}

/// What `netns doctor --json` with these arguments finds.
fn findings(world: &World, args: &[&str]) -> Vec<Value> {
    let output = world.netns(&[&["doctor", "--json"], args].concat(), "");
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("doctor {args:?}: {}", stderr(&output)));
    let found = found.as_array().expect("an array").clone();
    let left = found.iter().any(|finding| finding["fixed"] == false);
    assert_eq!(output.status.code(), Some(i32::from(left)), "{found:#?}");
    assert_eq!(stderr(&output), "", "{found:#?}");
    found
}

/// The one finding that there is, which must be of this check.
fn only(world: &World, check: &str, args: &[&str]) -> Value {
    let found = findings(world, args);
    let names: Vec<&Value> = found.iter().map(|finding| &finding["check"]).collect();
    assert_eq!(names, [check], "{found:#?}");
    found.into_iter().next().expect("one finding")
}

/// Fails unless the doctor finds nothing, also by sending packets.
fn assert_healthy(world: &World) {
    for args in [&[][..], &["--probe"], &["--probe", "--fix"]] {
        let found = findings(world, args);
        assert!(found.is_empty(), "{args:?}: {found:#?}");
    }
}

/// Runs a remedy just as it is printed.
fn run_remedy(world: &World, finding: &Value) -> Output {
    let remedy = finding["remedy"].as_str().unwrap_or_else(|| panic!("no remedy: {finding:#}"));
    let programs = Path::new(NETNS).parent().expect("a directory").display();
    // What a remedy leaves running must not hold our outputs.
    let output = world.sh_logged(&format!("PATH={programs}:$PATH:/usr/sbin:/sbin\n{remedy}"));
    assert!(output.status.success(), "{remedy}: {}", stderr(&output));
    output
}

/// One fault, from harm to recovery.
struct Case<'a, W: Fn() -> bool> {
    world: &'a World,
    check: &'a str,
    /// What the doctor is asked.
    args: &'a [&'a str],
    /// What does the harm.
    harm: &'a str,
    /// Whether traffic flows.
    flows: W,
}

impl<W: Fn() -> bool> Case<'_, W> {
    /// Does the harm: traffic fails, and the doctor says why and nothing else.
    fn fall_ill(&self) -> Value {
        wait_for("traffic before the harm", || (self.flows)());
        self.world.sh(self.harm);
        assert!(!(self.flows)(), "{}: it does no harm", self.harm);
        // Who sends packets is told the same.
        if !self.args.contains(&"--probe") {
            only(self.world, self.check, &[self.args, &["--probe"]].concat());
        }
        only(self.world, self.check, self.args)
    }

    fn recovers(&self) {
        wait_for("traffic after the remedy", || (self.flows)());
        assert_healthy(self.world);
    }

    /// The remedy fixes it.
    fn is_remedied(&self) -> Value {
        let finding = self.fall_ill();
        if finding["fixable"] == false {
            self.is_left_alone();
        }
        run_remedy(self.world, &finding);
        self.recovers();
        finding
    }

    /// What is somebody else's is not changed by `--fix`.
    fn is_left_alone(&self) {
        let before = self.world.snapshot();
        let args = [self.args, &["--fix"]].concat();
        assert_eq!(only(self.world, self.check, &args)["fixed"], false);
        self.world.assert_as(&before);
    }

    /// `--fix` fixes it.
    fn is_fixed(&self) {
        let finding = self.fall_ill();
        assert_eq!(finding["fixable"], true, "{finding:#}");
        let fixed = only(self.world, self.check, &["--fix"]);
        assert_eq!(fixed["fixed"], true, "{fixed:#}");
        self.recovers();
    }
}
