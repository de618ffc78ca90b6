//! What a terminal gets, and what a pipe gets.

use std::process::{Command, Output};

use super::formats::assert_well_formed;
use crate::common::{NETNS, World, run, stderr};

/// What `netns graph` prints into a pipe in this environment, of which nothing else is set.
fn piped(environment: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = Command::new(NETNS);
    command.arg("graph").args(arguments).env_clear().envs(environment.iter().copied());
    text(&run(&mut command, ""))
}

/// What it prints on a terminal.
fn on_terminal(environment: &[(&str, &str)]) -> String {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", "20", "script", "-qefc", &format!("{NETNS} graph"), "/dev/null"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(environment.iter().copied());
    text(&run(&mut command, ""))
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_terminal_without_utf8_gets_ascii() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[("publish", "8080:80")]);
    for (environment, unicode) in [
        (&[][..], false),
        (&[("LANG", "C.UTF-8")], true),
        (&[("LANG", "de_DE.utf8")], true),
        (&[("LANG", "de_DE@euro")], false),
        (&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true),
        (&[("LC_ALL", "C"), ("LC_CTYPE", "C.UTF-8"), ("LANG", "C.UTF-8")], false),
        (&[("LC_ALL", ""), ("LANG", "C.UTF-8")], true),
    ] {
        let drawn = piped(environment, &[]);
        assert_eq!(!drawn.is_ascii(), unicode, "{environment:?}: {drawn}");
        assert!(drawn.contains("web  running") && drawn.contains("172.19.0.2/16"), "{drawn}");
    }
    let drawn = piped(&[("LC_ALL", "C.UTF-8")], &["--ascii"]);
    assert!(drawn.is_ascii() && drawn.contains("8080->80/tcp"), "{drawn}");
}

#[test]
fn colour_is_for_those_who_look_and_want_it() {
    let Some(mut world) = World::new() else { return };
    let container = world.process();
    world.attach_ok("web", container, &[]);
    let locale = ("LC_ALL", "C.UTF-8");
    assert_well_formed("text", &piped(&[locale, ("TERM", "xterm")], &[]));
    let coloured = on_terminal(&[locale, ("TERM", "xterm")]);
    assert!(coloured.contains("\u{1b}[32m"), "{coloured:?}");
    assert!(on_terminal(&[locale, ("TERM", "xterm"), ("NO_COLOR", "")]).contains("\u{1b}[32m"));
    for environment in
        [&[locale, ("TERM", "xterm"), ("NO_COLOR", "1")][..], &[locale, ("TERM", "dumb")], &[locale]]
    {
        let drawn = on_terminal(environment);
        assert!(drawn.contains("● web") && !drawn.contains('\u{1b}'), "{environment:?}: {drawn:?}");
    }
}
