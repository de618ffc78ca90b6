//! The rules of one container as they stand in the tables, with what has passed them.

use std::process::Stdio;

use super::programs::{LOCK_WAIT, find, one_line, process};
use super::{container, cut};
use crate::error::{Doing, Error, Result};

/// A rule in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The command that would make it.
    pub rule: String,
    /// Packets that matched. In the table `nat` it is the first packet of a connection that
    /// passes: they are connections.
    pub packets: u64,
    /// Their size, with the network layer's headers.
    pub bytes: u64,
}

/// The rules that carry the comment of the container `owner`, in the order of their chains.
///
/// # Errors
/// iptables is missing or fails.
pub fn counters_of(owner: &str) -> Result<Vec<Counted>> {
    let program = find("iptables")?;
    let operation = || "iptables -t nat -S -v";
    let mut listing = process(&program);
    // The library that lists rules has no word for counters but one that brings in a whole
    // engine for regular expressions.
    listing.args(["-t", "nat", "-S", "-v", LOCK_WAIT]).stdin(Stdio::null()).stdout(Stdio::piped());
    let output = listing.output().doing(operation)?;
    if !output.status.success() {
        return Err(Error::new(operation(), one_line(&output.stderr, output.status)));
    }
    let mark = format!("\"{}\"", cut(&container(owner)));
    let listed = String::from_utf8_lossy(&output.stdout);
    Ok(listed.lines().filter(|rule| rule.contains(&mark)).map(parse).collect())
}

/// Takes `-c PACKETS BYTES` out of a rule.
fn parse(line: &str) -> Counted {
    let rule = |spec: &str| format!("iptables -t nat {spec}");
    for (at, flag) in line.match_indices(" -c ") {
        let mut words = line[at + flag.len()..].splitn(3, ' ');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        if let (Some(packets), Some(bytes)) = (number(), number()) {
            let rest = words.next().map_or_else(String::new, |rest| format!(" {rest}"));
            return Counted { rule: rule(&format!("{}{rest}", &line[..at])), packets, bytes };
        }
    }
    Counted { rule: rule(line), packets: 0, bytes: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_and_the_rule_is_as_it_was_made() {
        let line = "-A NETNS-tcp-31 -p tcp --dport 80 -m comment --comment \"netns container -c\" -c 3 180 -j DNAT --to-destination 172.19.0.2:80";
        let counted = parse(line);
        assert_eq!((counted.packets, counted.bytes), (3, 180));
        assert_eq!(counted.rule, format!("iptables -t nat {}", line.replace(" -c 3 180", "")));
    }
}
