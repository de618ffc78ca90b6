//! What is there to be copied or looked up: the files in `hooks/`, the README and `docs/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Hooks};
use serde_json::Value;

use crate::common::{NETNS, run, stderr};

/// The stages whose state documents the hook understands.
const STAGES: [&str; 3] = ["prestart", "createRuntime", "poststop"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The hook definitions, by the name of their file.
fn files() -> Vec<(String, Value)> {
    let entries = fs::read_dir(root().join("hooks")).expect("hooks/");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    let json = paths.iter().filter(|path| path.extension().is_some_and(|end| end == "json"));
    let parse = |path: &PathBuf| {
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let value = serde_json::from_str(&read(path)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, value)
    };
    json.map(parse).collect()
}

/// The hook of each stage that a file names, whether it is a fragment of a `config.json` or a
/// definition for a hook directory.
fn stages(definition: &Value) -> Vec<(String, Hook)> {
    let hook = |value: &Value| serde_json::from_value(value.clone()).expect("a hook as OCI defines it");
    match definition.get("hooks") {
        Some(hooks) => {
            let _: Hooks = serde_json::from_value(hooks.clone()).expect("hooks as OCI defines them");
            let stages = hooks.as_object().expect("hooks by stage").iter();
            let each = |(stage, hooks): (&String, &Value)| {
                let hooks = hooks.as_array().expect("a list of hooks").clone();
                hooks.iter().map(|value| (stage.clone(), hook(value))).collect::<Vec<_>>()
            };
            stages.flat_map(each).collect()
        }
        None => {
            let stages = definition["stages"].as_array().expect("stages");
            let name = |stage: &Value| stage.as_str().expect("a stage's name").to_owned();
            stages.iter().map(|stage| (name(stage), hook(&definition["hook"]))).collect()
        }
    }
}

#[test]
fn every_hook_file_attaches_at_birth_and_detaches_at_death() {
    let files = files();
    assert!(files.len() >= 2, "runc.json and podman.json");
    for (name, definition) in files {
        let stages = stages(&definition);
        let named: Vec<&str> = stages.iter().map(|(stage, _)| stage.as_str()).collect();
        assert!(named.iter().all(|stage| STAGES.contains(stage)), "{name}: {named:?}");
        assert!(named.contains(&"poststop"), "{name} never detaches: {named:?}");
        // At both stages of birth the hook would run twice for one container.
        assert_eq!(named.len(), 2, "{name}: {named:?}");
        for (stage, hook) in &stages {
            assert!(hook.path().is_absolute(), "{name}, {stage}: {}", hook.path().display());
            let first = hook.args().as_ref().and_then(|args| args.first());
            assert_eq!(first.map(String::as_str), Some("netns"), "{name}, {stage}: args[0] is the name");
            let timeout = hook.timeout().expect("a timeout");
            assert!(timeout > 30, "{name}, {stage}: the wait for the lock alone may take 30 s");
        }
    }
}

#[test]
fn a_hook_directory_file_is_for_annotated_containers_only() {
    for (name, definition) in files().iter().filter(|(_, definition)| definition.get("when").is_some()) {
        assert_eq!(definition["version"], "1.0.0", "{name}");
        let when = definition["when"].as_object().expect("when");
        let annotations = when["annotations"].as_object().expect("annotations");
        assert_eq!(when.len(), 1, "{name}: conditions are ANDed");
        // The pattern is searched for anywhere in the key, unless it is anchored.
        assert!(annotations.keys().eq(["^org\\.netns\\."]), "{name}: {annotations:?}");
    }
}

#[test]
fn the_hooks_readme_tells_where_each_file_goes() {
    let text = read(&root().join("hooks/README.md"));
    for (name, _) in files() {
        assert!(text.contains(&format!("`{name}`")), "hooks/README.md does not mention {name}");
    }
}

/// What `netns --help` prints.
pub fn help() -> String {
    help_of("")
}

/// What `netns help` prints of a command, or of none.
pub fn help_of(command: &str) -> String {
    let words = ["help", command].into_iter().filter(|word| !word.is_empty());
    let output = run(std::process::Command::new(NETNS).args(words), "");
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The long options in a help text.
pub fn options(help: &str) -> BTreeSet<&str> {
    let words = help.split(|c: char| c.is_whitespace() || ",[]=`".contains(c));
    words.filter(|word| word.starts_with("--") && word.len() > 2).collect()
}

/// The commands in a help text: the first word of each line between the two headings that is
/// not the rest of the line before.
pub fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with("   "));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

/// The README and every page of `docs/`, each with its path from the root.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).expect("docs").map(|page| page.expect("page").path());
    let pages = docs.chain([root().join("README.md")]);
    pages.map(|path| (path.strip_prefix(root()).expect("in the root").to_owned(), read(&path))).collect()
}

#[test]
fn every_link_in_the_documentation_leads_somewhere_and_every_page_is_one_link_from_the_readme() {
    let pages = pages();
    let readme = &pages.last().expect("README.md").1;
    for (path, text) in &pages {
        let link = format!("]({})", path.display());
        assert!(path.ends_with("README.md") || readme.contains(&link), "README.md has no link to {link}");
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
        {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.starts_with("http") {
                continue;
            }
            let here = root().join(path);
            let file = if file.is_empty() { here } else { here.parent().expect("directory").join(file) };
            assert!(file.exists(), "{}: {target} leads nowhere", path.display());
            let headings =
                || read(&file).lines().filter(|line| line.starts_with('#')).map(slug).collect::<Vec<_>>();
            assert!(
                anchor.is_empty() || headings().iter().any(|heading| heading == anchor),
                "{}: {target}: there is no such heading",
                path.display()
            );
        }
    }
}

/// A heading as part of an address.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_documentation_mentions_every_command_and_its_options() {
    let docs: String = pages().into_iter().map(|(_, text)| text).collect();
    let help = help();
    let commands = commands(&help);
    assert!(commands.contains(&"ls") && commands.contains(&"rm"), "{help}");
    for command in commands {
        assert!(docs.contains(&format!("netns {command}")), "nothing mentions {command}");
        let output = run(std::process::Command::new(NETNS).args([command, "--help"]), "");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        for option in options(&text) {
            assert!(docs.contains(option), "nothing mentions {option} of {command}");
        }
    }
}

#[test]
fn the_page_of_options_gives_each_in_all_its_forms() {
    let (page, help) = (read(&root().join("docs/options.md")), help_of("options"));
    let options = options(&help);
    assert!(options.contains("--bridge") && options.contains("--publish"), "{help}");
    for option in options.iter().filter(|option| **option != "--help") {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{option}")));
        let row = row.unwrap_or_else(|| panic!("docs/options.md has no row for {option}"));
        let name = option.trim_start_matches('-');
        let variable = format!("NETNS_{}", name.replace('-', "_").to_uppercase());
        assert!(help.contains(&variable), "{option} has no environment variable {variable}");
        assert!(row.contains(&variable), "the row of {option} lacks {variable}");
        let key = format!("org.netns.{name}");
        let refused = ["state-dir", "config", "debug", "log", "firewall"].contains(&name);
        assert_eq!(row.contains(&key), !refused, "the row of {option}, about {key}");
    }
}
