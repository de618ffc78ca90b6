//! The rules of one container as they stand in the tables, with what has passed them.

use std::fs;
use std::sync::mpsc;
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid};

use super::commands::{MAX_COMMENT, PREFIX, commands, program};
use super::restore::TABLES;
use super::saved::words;
use crate::error::{Doing, Error, Kind, Result};
use crate::firewall::owner::of_container;
use crate::firewall::programs::{DEADLINE, find};
use crate::firewall::{Counted, Passed};
use crate::model::rule::{Family, Rule};

/// The rules of a family that carry the comment of the container `owner`, in the order of their
/// tables and chains; of the tables that `rules` are in.
///
/// # Errors
/// iptables is missing or fails.
pub(in crate::firewall) fn counters_of(owner: &str, family: Family, rules: &[&Rule]) -> Result<Vec<Counted>> {
    let commands: Vec<_> = rules.iter().flat_map(|rule| commands(rule)).collect();
    let is_needed = |table: &&str| commands.iter().any(|command| command.table == *table);
    let comment = of_container(owner, MAX_COMMENT);
    let mut counted = Vec::new();
    for table in TABLES.into_iter().filter(is_needed) {
        let listing = format!("{} -t {table}", program(family));
        let is_theirs = |line: &&String| {
            let words = words(line);
            let is_ours = words.get(1).is_some_and(|chain| chain.starts_with(PREFIX));
            is_ours && words.windows(2).any(|pair| pair[0] == "--comment" && pair[1] == comment)
        };
        let listed = list(program(family), table, &listing)?;
        counted.extend(listed.iter().filter(is_theirs).map(|line| parse(&listing, line)));
    }
    Ok(counted)
}

/// What `iptables -S -v` prints of a table. The library that runs it knows no deadline, and so is in a
/// thread.
fn list(program: &str, table: &'static str, listing: &str) -> Result<Vec<String>> {
    let operation = || format!("{listing} -S -v");
    let tables = iptables::IPTables {
        // The library wants a name that lives for ever; this process does not, so it may leak.
        cmd: Box::leak(find(program)?.to_string_lossy().into_owned().into_boxed_str()),
        has_check: true,
        has_wait: true,
        is_numeric: false,
    };
    let (started, thread) = mpsc::channel();
    let (sender, listed) = mpsc::channel();
    let list = move || {
        let _ = started.send(gettid());
        // Where a chain may stand, an option may, too. The library has another word that takes
        // options, but that brings in a whole engine for regular expressions.
        let _ = sender.send(tables.list(table, "-v").map_err(|cause| cause.to_string()));
    };
    thread::Builder::new().spawn(list).doing(operation)?;
    let Ok(listed) = listed.recv_timeout(DEADLINE) else {
        thread.try_iter().for_each(end_children_of);
        let cause = format!("it had not ended after {} s and was killed", DEADLINE.as_secs());
        return Err(Error::new(operation(), cause).of(Kind::Busy));
    };
    let listed = listed.doing(operation)?;
    // Policies are always there.
    if !listed.iter().any(|line| line.starts_with("-P ")) {
        return Err(Error::new(operation(), "it lists nothing"));
    }
    Ok(listed)
}

/// Kills the programs that a thread has started.
fn end_children_of(thread: Pid) {
    let children = fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
        let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
    }
}

/// Takes `-c PACKETS BYTES` out of a rule of the table that was listed.
fn parse(listing: &str, line: &str) -> Counted {
    let rule = |spec: &str| format!("{listing} {spec}");
    for (at, flag) in line.match_indices(" -c ") {
        let mut words = line[at + flag.len()..].splitn(3, ' ');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        if let (Some(packets), Some(bytes)) = (number(), number()) {
            let after = words.next().map_or_else(String::new, |after| format!(" {after}"));
            let rule = rule(&format!("{}{after}", &line[..at]));
            return Counted { rule, passed: Some(Passed { packets, bytes }) };
        }
    }
    Counted { rule: rule(line), passed: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_the_rule_is_as_it_was_made() {
        let line = "-A NETNS-tcp-31 -p tcp --dport 80 -m comment --comment \"netns container -c\" -c 3 180 -j DNAT --to-destination 172.19.0.2:80";
        let counted = parse("iptables -t nat", line);
        assert_eq!(counted.passed, Some(Passed { packets: 3, bytes: 180 }));
        assert_eq!(counted.rule, format!("iptables -t nat {}", line.replace(" -c 3 180", "")));
    }
}
