//! The programs of iptables: `iptables-restore` for every change, any number of rules at once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, ExitStatus, Stdio};

use super::{Command, commands, container, cut};
use crate::error::{Doing, Error, Result};
use crate::firewall::{Change, Rule};

/// Where the programs are looked for: engines run hooks without a `PATH`.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin", "/usr/local/bin"];

/// How long `iptables-restore` waits for the xtables lock (legacy only), in seconds.
pub(super) const LOCK_WAIT: &str = "--wait=5";

/// The order in which tables are changed, each in a transaction of its own: the guard first.
pub(super) const TABLES: [&str; 3] = ["raw", "nat", "filter"];

/// The input of `iptables-restore`, and for each of its lines the command it belongs to.
fn script(change: Change, commands: &[Command]) -> (String, Vec<Option<Command>>) {
    let (mut text, mut owners) = (String::new(), Vec::new());
    let mut line = |line: &str, owner: Option<&Command>| {
        text.push_str(line);
        text.push('\n');
        owners.push(owner.cloned());
    };
    for table in TABLES {
        let mut here = commands.iter().filter(|command| command.table == table).peekable();
        if here.peek().is_none() {
            continue;
        }
        line(&format!("*{table}"), None);
        for command in here {
            match change {
                Change::Add => line(&command.add(), Some(command)),
                Change::Remove => line(&command.remove(), Some(command)),
            }
        }
        line("COMMIT", None);
    }
    (text, owners)
}

/// An `iptables-restore` that has been started and told nothing yet. Dropped like this it ends
/// without having changed anything.
#[derive(Debug)]
pub struct Waiting {
    program: PathBuf,
    child: Child,
}

impl Waiting {
    /// Starts one `iptables-restore --noflush`, which then waits for its orders: half of its
    /// time it spends with starting, and that it can do while the orders are still being made.
    ///
    /// # Errors
    /// The program is not installed or cannot be started.
    pub fn start() -> Result<Self> {
        let program = find("iptables-restore")?;
        let child = process(&program)
            .args(["--noflush", LOCK_WAIT])
            .stdin(Stdio::piped())
            .spawn()
            .doing(|| format!("run {}", program.display()))?;
        Ok(Self { program, child })
    }

    /// Tells it to add or remove all the rules.
    pub fn order(self, change: Change, rules: &[&Rule]) -> Restore {
        let mut all: Vec<Command> = rules.iter().flat_map(|rule| commands(rule)).collect();
        if change == Change::Remove {
            all.reverse();
        }
        self.order_commands(change, &all)
    }

    /// As [`Self::order`], with commands.
    pub(super) fn order_commands(mut self, change: Change, commands: &[Command]) -> Restore {
        let (text, owners) = script(change, commands);
        let transactions = text.lines().filter(|line| *line == "COMMIT").count() as u64;
        if let Some(mut stdin) = self.child.stdin.take() {
            // A program that has died early says why on its standard error.
            let _ = stdin.write_all(text.as_bytes());
        }
        Restore { program: self.program, child: self.child, owners, change, transactions }
    }

    /// Ends it, as nobody has orders for it.
    pub fn dismiss(mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// An `iptables-restore` at work.
#[derive(Debug)]
pub struct Restore {
    program: PathBuf,
    child: Child,
    owners: Vec<Option<Command>>,
    change: Change,
    transactions: u64,
}

impl Restore {
    /// Waits for it, and says how many transactions it has made: one for each table.
    ///
    /// # Errors
    /// It failed: the command that it failed on, and what it said.
    pub fn finish(self) -> Result<u64> {
        let program = self.program.display();
        let output = self.child.wait_with_output().doing(|| format!("wait for {program}"))?;
        if output.status.success() {
            return Ok(self.transactions);
        }
        let said = one_line(&output.stderr, output.status);
        let culprit = line_number(&said).and_then(|n| self.owners.get(n - 1)).and_then(Option::as_ref);
        let verb = if self.change == Change::Remove { "undo " } else { "" };
        let operation =
            culprit.map_or_else(|| format!("{verb}{program} --noflush"), |c| format!("{verb}{c}"));
        Err(Error::new(operation, said))
    }
}

/// The first `line N` in what iptables-restore said.
fn line_number(said: &str) -> Option<usize> {
    let (_, rest) = said.split_once("line ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|n| *n > 0)
}

pub(super) fn one_line(said: &[u8], status: ExitStatus) -> String {
    let said = String::from_utf8_lossy(said);
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { status.to_string() } else { line }
}

/// The rules that carry the comment of the container `owner`, as `iptables -S` prints them.
///
/// # Errors
/// iptables is missing or fails.
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
    let listed = tables.list_table("nat").map_err(|cause| Error::new("iptables -t nat -S", cause))?;
    let rules = listed.into_iter().filter(|rule| rule.contains(&mark));
    Ok(rules.map(|rule| format!("iptables -t nat {rule}")).collect())
}

pub(super) fn process(program: &Path) -> Process {
    let mut process = Process::new(program);
    process
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .current_dir("/")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    process
}

pub(super) fn find(name: &str) -> Result<PathBuf> {
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

    #[test]
    fn what_is_removed_is_what_was_added_backwards() {
        let (bridge, subnet) = ("netns0".parse().unwrap(), "172.19.0.0/16".parse().unwrap());
        let mut all: Vec<Command> =
            [Rule::Base, Rule::Network { bridge, subnet }].iter().flat_map(commands).collect();
        let (added, _) = script(Change::Add, &all);
        all.reverse();
        let (removed, _) = script(Change::Remove, &all);
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
        assert_eq!(line_number("iptables-restore v1.8.9 (nf_tables): line 3: RULE_APPEND"), Some(3));
        assert_eq!(line_number("iptables-restore: line 12 failed"), Some(12));
        assert_eq!(line_number("iptables-restore: no line"), None);
    }
}
