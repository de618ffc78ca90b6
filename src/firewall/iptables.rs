//! The iptables backend: a [`Rule`] as `iptables(8)` commands, and one `iptables-restore` for
//! any number of them.
//!
//! Knows no configuration and no store. The layout:
//!
//! | table | from | chain of ours | what is in it |
//! |---|---|---|---|
//! | raw | `PREROUTING` | `NETNS-GUARD` | drops what comes from outside for a subnet of ours, or for 127.0.0.0/8 |
//! | nat | `PREROUTING`, `OUTPUT` | `NETNS-PUBLISH` | a DNAT for each published port or range |
//! | nat | `POSTROUTING` | `NETNS-MASQUERADE` | masquerade to the outside, hairpin and loopback |
//! | filter | `FORWARD`, first | `NETNS-FORWARD` | accepts what is ours before anyone's policy |
//!
//! Only appends and insertions when something comes: a deletion waits for an RCU grace period
//! (about 15 ms), an addition does not. For the same reason chains are made with `-N`: a
//! `:CHAIN` line would flush, and so delete, where the chain exists.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};

use super::{Change, Rule};
use crate::config::publish::Published;
use crate::error::{Doing, Error, Result};

/// Where the programs are looked for: engines run hooks without a `PATH`.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"];

/// How long `iptables-restore` waits for the xtables lock (legacy only), in seconds.
const LOCK_WAIT: &str = "--wait=5";

/// The order in which tables are changed, each in a transaction of its own: the guard first.
const TABLES: [&str; 3] = ["raw", "nat", "filter"];

/// The longest comment that the kernel keeps, in bytes (`XT_MAX_COMMENT_LEN` less its NUL).
const MAX_COMMENT: usize = 255;

/// One iptables command that adds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    table: &'static str,
    verb: Verb,
    chain: &'static str,
    /// Matches and target, quoted for a shell as well as for `iptables-restore`.
    spec: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    NewChain,
    Insert,
    Append,
}

impl Command {
    fn new(table: &'static str, verb: Verb, chain: &'static str, spec: impl Into<String>) -> Self {
        Self { table, verb, chain, spec: spec.into() }
    }

    /// The lines of `iptables-restore` that add it.
    fn add(&self) -> Vec<String> {
        let Self { chain, spec, .. } = self;
        vec![match self.verb {
            Verb::NewChain => format!("-N {chain}"),
            Verb::Insert => format!("-I {chain} {spec}"),
            Verb::Append => format!("-A {chain} {spec}"),
        }]
    }

    /// The lines that take it away. What strangers put into a chain of ours goes with it.
    fn remove(&self) -> Vec<String> {
        let Self { chain, spec, .. } = self;
        match self.verb {
            Verb::NewChain => vec![format!("-F {chain}"), format!("-X {chain}")],
            Verb::Insert | Verb::Append => vec![format!("-D {chain} {spec}")],
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iptables -t {} {}", self.table, self.add().join(" "))
    }
}

/// The commands that a rule stands for, in the order in which they are given.
pub fn commands(rule: &Rule) -> Vec<Command> {
    use Verb::{Append, Insert, NewChain};
    match rule {
        Rule::Base => {
            let mine = comment("netns");
            vec![
                Command::new("raw", NewChain, "NETNS-GUARD", ""),
                // The host's own packets to its own addresses, the gateway's among them.
                Command::new("raw", Append, "NETNS-GUARD", format!("-i lo {mine} -j RETURN")),
                Command::new("raw", Append, "NETNS-GUARD", format!("-d 127.0.0.0/8 {mine} -j DROP")),
                Command::new("raw", Insert, "PREROUTING", format!("{mine} -j NETNS-GUARD")),
                Command::new("nat", NewChain, "NETNS-PUBLISH", ""),
                Command::new("nat", NewChain, "NETNS-MASQUERADE", ""),
                Command::new(
                    "nat",
                    Append,
                    "PREROUTING",
                    format!("-m addrtype --dst-type LOCAL {mine} -j NETNS-PUBLISH"),
                ),
                Command::new(
                    "nat",
                    Append,
                    "OUTPUT",
                    format!("-m addrtype --dst-type LOCAL {mine} -j NETNS-PUBLISH"),
                ),
                Command::new("nat", Append, "POSTROUTING", format!("{mine} -j NETNS-MASQUERADE")),
                Command::new("filter", NewChain, "NETNS-FORWARD", ""),
                Command::new("filter", Insert, "FORWARD", format!("{mine} -j NETNS-FORWARD")),
            ]
        }
        Rule::Network { bridge, subnet } => {
            let mine = comment(&format!("netns network {bridge}"));
            let published = format!("-m conntrack --ctstate DNAT {mine}");
            vec![
                Command::new(
                    "raw",
                    Append,
                    "NETNS-GUARD",
                    format!("-d {subnet} ! -i {bridge} {mine} -j DROP"),
                ),
                Command::new(
                    "nat",
                    Append,
                    "NETNS-MASQUERADE",
                    format!("-s {subnet} ! -o {bridge} {mine} -j MASQUERADE"),
                ),
                // A container that calls a published port of a neighbour, or its own, by an
                // address of the host: the answer must come back through us.
                Command::new(
                    "nat",
                    Append,
                    "NETNS-MASQUERADE",
                    format!("-s {subnet} -o {bridge} {published} -j MASQUERADE"),
                ),
                // The host that calls a published port by 127.0.0.1: nobody could answer that.
                Command::new(
                    "nat",
                    Append,
                    "NETNS-MASQUERADE",
                    format!("-s 127.0.0.0/8 -o {bridge} {published} -j MASQUERADE"),
                ),
                Command::new(
                    "filter",
                    Append,
                    "NETNS-FORWARD",
                    format!("-s {subnet} -i {bridge} {mine} -j ACCEPT"),
                ),
                Command::new(
                    "filter",
                    Append,
                    "NETNS-FORWARD",
                    format!(
                        "-d {subnet} -o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT {mine} -j ACCEPT"
                    ),
                ),
            ]
        }
        Rule::Publish { owner, published, to } => {
            let mine = comment(&container(owner));
            let Published { host_ip, host, container: inside, protocol } = published;
            let address = host_ip.map_or_else(String::new, |ip| format!("-d {ip} "));
            let dport = range(host.first, host.last, ':');
            // A range keeps its ports, or shifts each by the same: one rule in both cases.
            let target = if host.first == host.last {
                format!("{to}:{}", inside.first)
            } else if host == inside {
                to.to_string()
            } else {
                format!("{to}:{}/{}", range(inside.first, inside.last, '-'), host.first)
            };
            vec![Command::new(
                "nat",
                Append,
                "NETNS-PUBLISH",
                format!("{address}-p {protocol} --dport {dport} {mine} -j DNAT --to-destination {target}"),
            )]
        }
    }
}

fn all_commands(rules: &[&Rule]) -> Vec<Command> {
    rules.iter().flat_map(|rule| commands(rule)).collect()
}

fn range(first: u16, last: u16, separator: char) -> String {
    if first == last { first.to_string() } else { format!("{first}{separator}{last}") }
}

/// Names the rule's owner.
fn comment(owner: &str) -> String {
    format!("-m comment --comment \"{}\"", cut(owner))
}

fn container(id: &str) -> String {
    format!("netns container {id}")
}

/// An id that does not fit a comment is cut: the rest of the rule still tells whose it is.
fn cut(owner: &str) -> &str {
    owner.get(..owner.len().min(MAX_COMMENT)).unwrap_or_default()
}

/// The input of `iptables-restore`, and for each of its lines the command it belongs to.
fn script(change: Change, mut all: Vec<Command>) -> (String, Vec<Option<Command>>) {
    if change == Change::Remove {
        all.reverse();
    }
    let (mut text, mut owners) = (String::new(), Vec::new());
    let mut line = |line: &str, owner: Option<&Command>| {
        text.push_str(line);
        text.push('\n');
        owners.push(owner.cloned());
    };
    for table in TABLES {
        let mut here = all.iter().filter(|command| command.table == table).peekable();
        if here.peek().is_none() {
            continue;
        }
        line(&format!("*{table}"), None);
        for command in here {
            let lines = if change == Change::Add { command.add() } else { command.remove() };
            for text in &lines {
                line(text, Some(command));
            }
        }
        line("COMMIT", None);
    }
    (text, owners)
}

/// A running `iptables-restore`.
#[derive(Debug)]
pub struct Restore {
    child: Child,
    owners: Vec<Option<Command>>,
    change: Change,
}

impl Restore {
    /// Starts one `iptables-restore --noflush` for all the rules.
    ///
    /// # Errors
    /// The program is not installed or cannot be started.
    pub fn start(change: Change, rules: &[&Rule]) -> Result<Self> {
        Self::run(change, all_commands(rules))
    }

    /// As [`Self::start`], for what is not there of rules that were to be added. What is there
    /// is left as it is: the rules of others may hang on it.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_missing(rules: &[&Rule]) -> Result<Self> {
        let mut missing = Vec::new();
        for command in all_commands(rules) {
            if !is_there(&command)? {
                missing.push(command);
            }
        }
        Self::run(Change::Add, missing)
    }

    fn run(change: Change, commands: Vec<Command>) -> Result<Self> {
        let (text, owners) = script(change, commands);
        let operation = || match owners.iter().flatten().next() {
            Some(command) => command.to_string(),
            None => "iptables-restore".to_owned(),
        };
        let program = find("iptables-restore").map_err(|error| Error::new(operation(), error))?;
        let mut child = process(&program)
            .args(["--noflush", LOCK_WAIT])
            .stdin(Stdio::piped())
            .spawn()
            .doing(|| format!("run {}", program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that has died early says why on its standard error.
            let _ = stdin.write_all(text.as_bytes());
        }
        Ok(Self { child, owners, change })
    }

    /// Waits for it.
    ///
    /// # Errors
    /// It failed: the command that it failed on, and what it said.
    pub fn finish(self) -> Result<()> {
        let output = self.child.wait_with_output().doing(|| "wait for iptables-restore")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let culprit = line_number(&said).and_then(|n| self.owners.get(n - 1)).and_then(Option::as_ref);
        let verb = if self.change == Change::Remove { "undo " } else { "" };
        let operation =
            culprit.map_or_else(|| format!("{verb}iptables-restore --noflush"), |c| format!("{verb}{c}"));
        let cause = said.split_whitespace().collect::<Vec<_>>().join(" ");
        let cause = if cause.is_empty() { output.status.to_string() } else { cause };
        Err(Error::new(operation, cause))
    }
}

/// The first `line N` in what iptables-restore said.
fn line_number(said: &str) -> Option<usize> {
    let (_, rest) = said.split_once("line ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|n| *n > 0)
}

/// Takes rules away one by one, passing over what is already gone: the slow way, for when
/// somebody has changed the tables behind our back and one transaction would fail as a whole.
///
/// # Errors
/// Everything that is still there and could not be removed.
pub fn remove_what_is_left(rules: &[&Rule]) -> Result<()> {
    let mut all = all_commands(rules);
    all.reverse();
    let mut failures = Vec::new();
    for command in all {
        match is_there(&command) {
            Ok(false) => {}
            Ok(true) => failures.extend(remove_one(&command).err()),
            Err(error) => failures.push(error),
        }
    }
    Error::merge(failures).map_or(Ok(()), Err)
}

fn is_there(command: &Command) -> Result<bool> {
    let check = match command.verb {
        // `-S CHAIN` fails when there is no such chain.
        Verb::NewChain => format!("-S {}", command.chain),
        Verb::Insert | Verb::Append => format!("-C {} {}", command.chain, command.spec),
    };
    Ok(run_iptables(command.table, &check)?.0)
}

fn remove_one(command: &Command) -> Result<()> {
    for line in command.remove() {
        let (fine, said) = run_iptables(command.table, &line)?;
        if !fine {
            return Err(Error::new(format!("undo {command}"), said));
        }
    }
    Ok(())
}

/// Runs `iptables` on one line of ours; whether it succeeded, and what it said.
fn run_iptables(table: &str, line: &str) -> Result<(bool, String)> {
    let program = find("iptables").doing(|| format!("iptables -t {table} {line}"))?;
    let output = process(&program)
        .args(["--wait", "5", "-t", table])
        .args(words(line))
        .stdin(Stdio::null())
        .output()
        .doing(|| format!("run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((output.status.success(), said))
}

/// The words of a line of ours: only comments are quoted, and no quote is ever in one.
fn words(line: &str) -> Vec<String> {
    line.split('"')
        .enumerate()
        .flat_map(|(i, part)| {
            if i % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            }
        })
        .collect()
}

/// The rules in our chains that carry `owner`'s comment, as `iptables -S` prints them.
///
/// # Errors
/// iptables is missing or fails; a chain that is not there has no rules.
pub fn rules_of(owner: &str) -> Result<Vec<String>> {
    let program = find("iptables")?;
    let tables = iptables::IPTables {
        // The library wants a name that lives for ever; this process does not, so it may leak.
        cmd: Box::leak(program.to_string_lossy().into_owned().into_boxed_str()),
        has_check: true,
        has_wait: true,
        is_numeric: false,
    };
    let mark = format!("\"{}\"", cut(&container(owner)));
    let listed = tables.list("nat", "NETNS-PUBLISH").unwrap_or_default();
    Ok(listed
        .into_iter()
        .filter(|rule| rule.contains(&mark))
        .map(|rule| format!("iptables -t nat {rule}"))
        .collect())
}

fn process(program: &Path) -> Process {
    let mut process = Process::new(program);
    process
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    process
}

fn find(name: &str) -> Result<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists()).ok_or_else(
        || {
            Error::new(format!("find {name}"), format!("it is in none of {}", DIRECTORIES.join(", ")))
                .hint("install iptables")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::publish::Publish;

    fn published(text: &str) -> Published {
        let Publish { host_ip, host, container, protocol } = text.parse().unwrap();
        Published { host_ip, host: host.unwrap(), container, protocol }
    }

    fn rule(text: &str) -> String {
        let rule = Rule::Publish {
            owner: "web".into(),
            published: published(text),
            to: "172.19.0.2".parse().unwrap(),
        };
        let commands = commands(&rule);
        assert_eq!(commands.len(), 1, "a range is one rule");
        commands[0].to_string().replace(" -m comment --comment \"netns container web\"", "")
    }

    #[test]
    fn every_form_of_publish_is_one_rule() {
        let start = "iptables -t nat -A NETNS-PUBLISH";
        for (text, meaning) in [
            ("8080:80", "-p tcp --dport 8080 -j DNAT --to-destination 172.19.0.2:80"),
            ("10.0.0.1:53:53/udp", "-d 10.0.0.1 -p udp --dport 53 -j DNAT --to-destination 172.19.0.2:53"),
            ("8000-8099:8000-8099", "-p tcp --dport 8000:8099 -j DNAT --to-destination 172.19.0.2"),
            ("8000-8099:80-179", "-p tcp --dport 8000:8099 -j DNAT --to-destination 172.19.0.2:80-179/8000"),
        ] {
            assert_eq!(rule(text), format!("{start} {meaning}"));
        }
    }

    #[test]
    fn what_is_removed_is_what_was_added_backwards() {
        let network =
            Rule::Network { bridge: "netns0".parse().unwrap(), subnet: "172.19.0.0/16".parse().unwrap() };
        let (added, _) = script(Change::Add, all_commands(&[&Rule::Base, &network]));
        let (removed, _) = script(Change::Remove, all_commands(&[&Rule::Base, &network]));
        for line in added.lines().filter(|line| line.starts_with("-A") || line.starts_with("-I")) {
            assert!(removed.contains(&line.replacen(&line[..2], "-D", 1)), "{line}");
        }
        for line in added.lines().filter(|line| line.starts_with("-N")) {
            assert!(removed.contains(&line.replacen("-N", "-X", 1)), "{line}");
        }
        assert!(!added.contains("-D") && !added.contains(':'), "adding deletes nothing: {added}");
    }

    #[test]
    fn the_line_that_failed_is_found() {
        assert_eq!(line_number("iptables-restore v1.8.9 (nf_tables): \nline 3: RULE_APPEND"), Some(3));
        assert_eq!(line_number("iptables-restore: line 12 failed"), Some(12));
        assert_eq!(line_number("iptables-restore: no line"), None);
    }

    #[test]
    fn a_comment_is_one_word() {
        assert_eq!(words("-A X -m comment --comment \"a b\" -j Y").len(), 8);
    }
}
