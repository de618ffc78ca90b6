//! `iptables-restore`, which makes every change: any number of them at once, one transaction a
//! table.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;

use super::commands::{Command, Verb, program};
use super::saved::denials;
use crate::error::{Error, Kind, Result};
use crate::firewall::programs::{MAX_TEXT, Running, find};
use crate::model::rule::{Change, Family};

/// How long it waits for the xtables lock (legacy only), in seconds.
pub(super) const LOCK_WAIT: &str = "--wait=5";

/// The last line of its input. It repeats comments, and by this one that it has read everything:
/// it takes an input that it cannot read for an empty one, and ends with 0.
const LAST: &str = "# all read\n";

/// The most that is read of what it repeats, in bytes; besides it names the chains it empties.
const MAX_REPEATED: u64 = 1 << 20;

/// The order in which tables are changed, each in a transaction of its own: the guard first.
pub(super) const TABLES: [&str; 3] = ["raw", "nat", "filter"];

/// A line of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) table: &'static str,
    pub(super) line: String,
    /// The command as logs and errors show it.
    pub(super) shown: String,
}

/// Its input, and for each line the command that it stands for.
#[derive(Debug)]
pub(super) struct Script {
    change: Change,
    text: String,
    lines: Vec<Option<String>>,
    transactions: u64,
}

impl Script {
    /// The orders, by table.
    pub(super) fn new(change: Change, mut orders: Vec<Order>) -> Self {
        let place = |order: &Order| TABLES.iter().position(|table| *table == order.table);
        orders.sort_by_key(place);
        let mut script = Self { change, text: String::new(), lines: Vec::new(), transactions: 0 };
        for table in orders.chunk_by(|a, b| a.table == b.table) {
            script.push(&format!("*{}", table[0].table), None);
            table.iter().for_each(|order| script.push(&order.line, Some(order.shown.clone())));
            script.push("COMMIT", None);
            script.transactions += 1;
        }
        script
    }

    /// Removes what is there. A chain can go when nothing is in it and nothing leads to it.
    pub(super) fn removal(commands: Vec<Command>) -> Self {
        let (chains, rules): (Vec<_>, Vec<_>) = commands.iter().partition(|it| it.verb == Verb::NewChain);
        let order = |command: &Command| command.order(Change::Remove);
        Self::new(Change::Remove, rules.into_iter().chain(chains).map(order).collect())
    }

    /// The same, where what is inserted comes behind what denies at the beginning of its chain;
    /// `saved` is what `iptables-save` prints.
    pub(super) fn behind_denials(mut self, saved: impl FnOnce() -> Result<String>) -> Result<Self> {
        if !self.text.contains("\n-I ") {
            return Ok(self);
        }
        let (saved, mut table) = (saved()?, "");
        let mut text = String::with_capacity(self.text.len());
        for line in self.text.lines() {
            table = line.strip_prefix('*').unwrap_or(table);
            match line.strip_prefix("-I ").and_then(|rest| rest.split_once(' ')) {
                Some((chain, spec)) => {
                    text += &format!("-I {chain} {} {spec}\n", 1 + denials(&saved, table, chain));
                }
                None => text += &format!("{line}\n"),
            }
        }
        self.text = text;
        Ok(self)
    }

    fn push(&mut self, line: &str, shown: Option<String>) {
        self.text.push_str(line);
        self.text.push('\n');
        self.lines.push(shown);
    }

    /// Whether there is nothing to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Each command.
    pub(super) fn shown(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flatten().map(String::as_str)
    }

    /// All of it.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// An `iptables-restore` that has been started and told nothing yet. Dropped like this it ends
/// without having changed anything.
#[derive(Debug)]
pub(super) struct Waiting {
    running: Running,
    legacy: bool,
}

impl Waiting {
    /// Starts one `iptables-restore --noflush`, which then waits for its orders: half of its
    /// time it spends with starting, and that it can do while the orders are still being made.
    ///
    /// # Errors
    /// The program is not installed or cannot be started.
    pub(super) fn start(family: Family) -> Result<Self> {
        Self::start_program(find(&format!("{}-restore", program(family)))?)
    }

    /// As [`Self::start`], with the program of a variant.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start_program(program: PathBuf) -> Result<Self> {
        let name = program.clone();
        let args = ["--noflush", "--verbose", LOCK_WAIT];
        let running = Running::start(program, &args, Stdio::piped(), Stdio::piped())?;
        let real = name.canonicalize().unwrap_or_default();
        let legacy = real.file_name().is_some_and(|name| name.to_string_lossy().contains("legacy"));
        Ok(Self { running, legacy })
    }

    /// Gives it its orders.
    pub(super) fn order(mut self, script: Script) -> Restore {
        let told = self.running.tell(format!("{}{LAST}", script.text).as_bytes());
        Restore { running: self.running, legacy: self.legacy, script, told }
    }
}

/// An `iptables-restore` at work.
#[derive(Debug)]
pub(super) struct Restore {
    running: Running,
    legacy: bool,
    script: Script,
    /// Whether it has got all of its orders: one that has died early says why itself.
    told: io::Result<()>,
}

impl Restore {
    /// Waits for it where its orders only ask, and says which is the first that is denied.
    ///
    /// # Errors
    /// It failed for another reason.
    pub(super) fn refused(self) -> Result<Option<usize>> {
        let program = self.running.program().to_owned();
        let ended = self.running.finish(MAX_TEXT)?;
        if ended.status.success() {
            return Ok(None);
        }
        let said = ended.said();
        let line =
            line_number(&said).filter(|line| self.script.lines.get(line - 1).is_some_and(Option::is_some));
        let line = line.ok_or_else(|| Error::new(program, said))?;
        Ok(Some(self.script.lines.iter().take(line - 1).flatten().count()))
    }

    /// Waits for it, and says how many transactions of nftables it has made: one for each table,
    /// and none where it is the variant that has tables of its own.
    ///
    /// # Errors
    /// It failed: the command that it failed on, and what it said. Of the kind
    /// [`Kind::TimedOut`] if it did not end in time; of [`Kind::Busy`] if it has not begun, since
    /// another program kept the xtables lock, or it could not read its orders.
    pub(super) fn finish(self) -> Result<u64> {
        let Self { running, legacy, script, told } = self;
        let verb = if script.change == Change::Remove { "undo " } else { "" };
        let operation = format!("{verb}{} --noflush", running.program());
        let ended = running.finish(MAX_REPEATED)?;
        if ended.status.success() {
            told.map_err(|cause| Error::new(&operation, format!("give it its orders: {cause}")))?;
            if !ended.printed.ends_with(LAST.as_bytes()) {
                let cause = "it says that all is done, but has not read its orders";
                return Err(Error::new(operation, cause).of(Kind::Busy));
            }
            return Ok(if legacy { 0 } else { script.transactions });
        }
        let said = ended.said();
        if said.contains("xtables lock") {
            return Err(Error::new(operation, said).of(Kind::Busy));
        }
        let culprit = line_number(&said).and_then(|n| script.lines.into_iter().nth(n - 1)).flatten();
        Err(Error::new(culprit.unwrap_or(operation), said))
    }
}

/// The first `line N` in what iptables-restore said.
fn line_number(said: &str) -> Option<usize> {
    let (_, rest) = said.split_once("line ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::iptables::commands;
    use crate::firewall::iptables::present::tests::{network, published};

    fn scripts() -> (String, String) {
        let rules = [network(), published("a", "8080:80")].concat();
        let commands: Vec<Command> = rules.iter().flat_map(commands).collect();
        let orders = |change| commands.iter().map(move |command| command.order(change));
        let added = Script::new(Change::Add, orders(Change::Add).collect());
        let removed = Script::new(Change::Remove, orders(Change::Remove).rev().collect());
        (added.text, removed.text)
    }

    #[test]
    fn what_is_removed_is_what_was_added_backwards() {
        let (added, removed) = scripts();
        let tables = |text: &str| text.lines().filter(|line| line.starts_with('*')).count();
        assert_eq!((tables(&added), tables(&removed)), (3, 3));
        for line in added.lines().filter(|line| line.starts_with("-A") || line.starts_with("-I")) {
            assert!(removed.contains(&line.replacen(&line[..2], "-D", 1)), "{line}");
        }
        for line in added.lines().filter(|line| line.starts_with("-N")) {
            assert!(removed.contains(&line.replacen("-N", "-X", 1)), "{line}");
        }
        assert!(!added.contains("-D") && !added.contains("\n:"), "adding deletes nothing: {added}");
    }

    #[test]
    fn the_line_that_failed_is_found() {
        assert_eq!(line_number("iptables-restore v1.8.9 (nf_tables): line 3: RULE_APPEND"), Some(3));
        assert_eq!(line_number("iptables-restore: line 12 failed"), Some(12));
        assert_eq!(line_number("iptables-restore: no line"), None);
    }

    fn run(shell: &str, lines: usize) -> Result<u64> {
        let running =
            Running::start("/bin/sh".into(), &["-c", shell], Stdio::piped(), Stdio::piped()).unwrap();
        let order = |n| Order { table: "nat", line: "-A X -j Y".repeat(100), shown: format!("command {n}") };
        let script = Script::new(Change::Remove, (1..=lines).map(order).collect());
        Waiting { running, legacy: false }.order(script).finish()
    }

    #[test]
    fn a_failure_names_the_command_and_what_the_program_said() {
        assert_eq!(run("grep '^#'", 1), Ok(1));
        let error = |shell, lines| run(shell, lines).unwrap_err().to_string();
        assert_eq!(error("echo 'line 3: no luck' >&2; exit 1", 2), "command 2: line 3: no luck");
        assert_eq!(error("exit 7", 9999), "undo /bin/sh --noflush: exit status: 7");
    }

    #[test]
    fn orders_that_are_not_read_are_an_error() {
        let error = run("cat >/dev/null", 1).unwrap_err().to_string();
        assert!(error.ends_with("it says that all is done, but has not read its orders"), "{error}");
        let error = run("exec <&-; exit 0", 9999).unwrap_err().to_string();
        assert!(error.starts_with("undo /bin/sh --noflush: give it its orders: "), "{error}");
    }
}
