//! What is made from the definition of the command line: completions and manual pages.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::{NETNS, World, run, stderr};
use crate::hooks_files::{commands, help, help_of, options};

/// A directory that is gone with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netns-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `netns` prints.
fn netns(args: &[&str]) -> String {
    let output = run(Command::new(NETNS).args(args), "");
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What bash offers for the last of these words.
fn offered(words: &str) -> Vec<String> {
    let last = words.split(' ').count() - 1;
    let ask = format!(
        "netns() {{ {NETNS} \"$@\"; }}; source /dev/stdin; COMP_WORDS=({words}); COMP_CWORD={last}; \
         $(complete -p netns | sed 's/.* -F \\([^ ]*\\) .*/\\1/') netns \"${{COMP_WORDS[{last}]}}\" \
         \"${{COMP_WORDS[{last}-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let output = run(Command::new("bash").args(["--norc", "-c", &ask]), &netns(&["completions", "bash"]));
    assert!(output.status.success() && output.stderr.is_empty(), "{words}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(offered("netns at"), ["attach"]);
    assert_eq!(offered("netns attach --name-"), ["--name-netns"]);
    assert_eq!(offered("netns completions el"), ["elvish"]);
    for option in options(&help_of("options")) {
        assert!(offered(&format!("netns {option}")).contains(&option.to_owned()), "{option}");
    }
}

#[test]
fn ids_are_completed_wherever_a_command_takes_one() {
    let Some(mut world) = World::new() else { return };
    for id in ["web-1", "web-2", "db"] {
        let process = world.process();
        world.attach_ok(id, process, &[]);
    }
    for command in ["detach", "exec", "inspect", "doctor"] {
        assert_eq!(offered(&format!("netns {command} web")), ["web-1", "web-2"]);
    }
    assert!(offered("netns attach web").iter().all(String::is_empty));
}

#[test]
fn every_shell_gets_a_script_with_every_command() {
    let help = help();
    for (shell, interpreter) in
        [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish"), ("elvish", ""), ("powershell", "")]
    {
        let script = netns(&["completions", shell]);
        for command in commands(&help) {
            assert!(script.contains(command), "{command} for {shell}");
        }
        if Command::new(interpreter).arg("--version").output().is_ok() {
            let checked = run(Command::new(interpreter).args(["-n", "/dev/stdin"]), &script);
            assert!(checked.status.success() && checked.stderr.is_empty(), "{shell}: {}", stderr(&checked));
        }
    }
    assert_eq!(run(Command::new(NETNS).args(["completions", "tcsh"]), "").status.code(), Some(2));
}

#[test]
fn every_command_has_a_page_that_names_its_options_and_is_fine_for_groff() {
    let dir = Directory::new("man");
    netns(&["man", dir.0.join("man1").to_str().unwrap()]);
    let help = help();
    let mut expected: BTreeSet<String> =
        commands(&help).iter().map(|command| format!("netns-{command}.1")).collect();
    expected.extend(["netns.1".to_owned(), "netns-hook.toml.5".to_owned()]);
    let files = fs::read_dir(dir.0.join("man1")).unwrap();
    let found: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected);
    for page in found {
        let path = dir.0.join("man1").join(&page);
        let output =
            run(Command::new("groff").args(["-Kutf8", "-man", "-Tutf8", "-ww", "-P-cbou"]).arg(&path), "");
        assert!(output.status.success() && output.stderr.is_empty(), "{page}: {}", stderr(&output));
        let text = plain(output.stdout);
        if page.ends_with(".5") {
            continue;
        }
        for section in ["EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"] {
            assert!(text.lines().any(|line| line == section), "{section} in {page}");
        }
        let own = page.trim_end_matches(".1").split_once('-').map(|(_, command)| command);
        let own = netns(&[own.as_slice(), &["--help"]].concat());
        for option in options(&own) {
            assert!(text.contains(option), "{option} in {page}");
        }
    }
}

#[test]
fn every_example_of_the_pages_runs_one_after_the_other() {
    let Some(mut world) = crate::install::world() else { return };
    let (hooked, web) = (world.process(), world.process());
    let state = crate::common::state("box", "created", Some(hooked.pid), &[]);
    fs::write("/run/test/state.json", state).unwrap();
    fs::create_dir("/run/test/bundle").unwrap();
    fs::write("/run/test/bundle/config.json", "{}").unwrap();
    let told = format!("cd /run/test && pid={} && netns() {{ {NETNS} \"$@\"; }}", web.pid);
    for line in include_str!("../pkg/examples.txt").lines() {
        let (_, example) = line.split_once(": ").expect("a page and its example");
        world.sh(&format!("{told} && {example}"));
    }
    assert_eq!(world.links(), ["lo"], "all is given back");
}

/// What groff prints; where nobody has told it otherwise, \- is a minus.
fn plain(printed: Vec<u8>) -> String {
    String::from_utf8(printed).unwrap().replace('\u{2212}', "-")
}

#[test]
fn the_page_of_the_configuration_file_has_every_key_and_an_example_that_is_one() {
    let dir = Directory::new("man5");
    netns(&["man", dir.0.to_str().unwrap()]);
    let page = dir.0.join("netns-hook.toml.5");
    // In one line what is one, so that the example can be taken as it stands.
    let output =
        run(Command::new("groff").args(["-Kutf8", "-man", "-Tutf8", "-rLL=200n", "-P-cbou"]).arg(&page), "");
    let text = plain(output.stdout);
    let keys: BTreeSet<&str> = text
        .lines()
        .flat_map(|line| line.trim().split(", "))
        .flat_map(|line| line.split(" = ").next())
        .collect();
    let help = help_of("options");
    let options = options(&help).into_iter().map(|option| option.trim_start_matches('-'));
    for option in options.filter(|option| !["config", "help"].contains(option)) {
        assert!(keys.contains(option), "{option}: {text}");
    }
    let example = text.split("EXAMPLES").nth(1).unwrap().split("FILES\n").next().unwrap();
    let example: String = example.lines().skip(2).map(|line| format!("{}\n", line.trim())).collect();
    let file = dir.0.join("example.toml");
    fs::write(&file, &example).unwrap();
    let listed =
        netns(&["networks", "--json", "--state-dir", "/nonexistent", "--config", file.to_str().unwrap()]);
    assert!(listed.contains("\"front\""), "{listed}");
    let table: toml::Table = example.parse().unwrap();
    for key in table["policy"].as_table().unwrap().keys() {
        assert!(keys.contains(key.as_str()), "policy.{key}: {text}");
    }
    // The program says by itself which keys a network has.
    fs::write(&file, "[network.front]\nzzzzzzzzzzzz = 1\n").unwrap();
    let refused = run(Command::new(NETNS).args(["networks", "--config", file.to_str().unwrap()]), "");
    let said = stderr(&refused);
    let all = said.split("the keys of a network are ").nth(1).unwrap();
    for key in all.trim().split(", ") {
        assert!(keys.contains(key), "pkg/netns-hook.toml.5 lacks network.NAME.{key}: {text}");
    }
}

#[test]
fn a_directory_that_cannot_be_is_told() {
    let output = run(Command::new(NETNS).args(["man", "/dev/null/man1"]), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("netns: write manual pages to /dev/null/man1: "),
        "{}",
        stderr(&output)
    );
}
