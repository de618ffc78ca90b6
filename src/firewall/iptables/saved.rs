//! What `iptables-save` prints: its words, and what of it is ours.

use std::process::Stdio;

use super::commands::{Command, PREFIX, Verb, program};
use super::otherwise::in_our_words;
use super::restore::TABLES;
use crate::error::Result;
use crate::firewall::owner::is_ours;
use crate::firewall::programs::{MAX_TEXT, Running, find};
use crate::model::rule::{Family, Rule};

/// The words of a line, which are quoted where there is a space or a quote in them.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut characters) = (Vec::new(), None, false, line.chars());
    while let Some(c) = characters.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_with(String::new);
            }
            '\\' if quoted => word.get_or_insert_with(String::new).extend(characters.next()),
            ' ' | '\t' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_with(String::new).push(c),
        }
    }
    words.extend(word);
    words
}

/// What a command makes, in a form that is the same whichever program wrote it.
pub(super) type Identity = (&'static str, String, bool, Vec<Vec<String>>);

impl Command {
    /// Its table and chain, whether it is the chain itself, and its options with their values in
    /// an order that depends on nothing but themselves: versions of iptables print matches in
    /// different orders and quote differently, and whether a rule was inserted or appended is of
    /// no matter once it is there.
    pub(super) fn identity(&self) -> Identity {
        let mut options = self.options();
        options.sort_unstable();
        (self.table, self.chain.clone().into_owned(), self.verb == Verb::NewChain, options)
    }

    /// The chain or target that it sends packets to.
    pub(super) fn target(&self) -> Option<String> {
        self.value_of(&["-j", "-g"])
    }

    /// Whether it sends packets to a chain of ours.
    pub(super) fn leads_to_ours(&self) -> bool {
        self.target().is_some_and(|target| target.starts_with(PREFIX))
    }

    /// Its comment, if that is one of ours.
    pub(super) fn comment(&self) -> Option<String> {
        self.value_of(&["--comment"]).filter(|comment| is_ours(comment))
    }

    pub(super) fn value_of(&self, names: &[&str]) -> Option<String> {
        let mut options = self.options().into_iter();
        let option = options.find(|option| option.first().is_some_and(|name| names.contains(&name.as_str())));
        option.and_then(|option| option.into_iter().nth(1))
    }

    /// Each option with its values and the `!` before it.
    fn options(&self) -> Vec<Vec<String>> {
        let mut options: Vec<Vec<String>> = Vec::new();
        for word in words(&self.spec) {
            let begins = word == "!" || word.starts_with('-');
            match options.last_mut() {
                // What a comment begins with is of no matter.
                Some(last) if !begins || ["!", "--comment"].contains(&last[last.len() - 1].as_str()) => {
                    last.push(word);
                }
                _ => options.push(vec![word]),
            }
        }
        options
    }
}

/// The families that any of `rules` is for.
pub(super) fn families(rules: &[Rule]) -> impl Iterator<Item = Family> {
    let any = |family: &Family| rules.iter().any(|rule| rule.family() == *family);
    Family::ALL.into_iter().filter(any)
}

/// What is of ours in the tables of both families, whichever are wanted.
///
/// # Errors
/// The tables of a family that is wanted cannot be read.
pub(super) fn everything(rules: &[Rule]) -> Result<Vec<(Family, Vec<Command>)>> {
    let mut all = Vec::new();
    for family in Family::ALL {
        match known(family, rules) {
            Ok(saved) => all.push((family, saved)),
            Err(error) if families(rules).any(|wanted| wanted == family) => return Err(error),
            // A host without its program, or without IPv6, has no rules of ours for it.
            Err(_) => {}
        }
    }
    Ok(all)
}

/// As [`read`], with `rules` in our words whatever the program's are.
///
/// # Errors
/// The tables cannot be read.
pub(super) fn known(family: Family, rules: &[Rule]) -> Result<Vec<Command>> {
    in_our_words(family, rules, read(family)?)
}

/// What is of ours in a family's tables: see [`parse`].
///
/// # Errors
/// The tables cannot be read.
pub(super) fn read(family: Family) -> Result<Vec<Command>> {
    Ok(parse(family, &print(family)?))
}

/// What `iptables-save` prints of a family.
///
/// # Errors
/// The tables cannot be read.
pub(super) fn print(family: Family) -> Result<String> {
    let program = find(&format!("{}-save", program(family)))?;
    Running::start(program, &[], Stdio::null(), Stdio::piped())?.print(MAX_TEXT)
}

/// How many rules at the beginning of a chain drop or reject some packets, and not all: an
/// administrator means them to come before everything else.
pub(super) fn denials(text: &str, table: &str, chain: &str) -> usize {
    let table =
        text.split("\n*").find(|part| part.trim_start_matches('*').starts_with(&format!("{table}\n")));
    let start = format!("-A {chain} ");
    let rules = table.into_iter().flat_map(str::lines).filter_map(|line| line.strip_prefix(&start));
    let denies = |rule: &&str| ["DROP", "REJECT"].iter().any(|to| rule.contains(&format!(" -j {to}")));
    rules.take_while(denies).count()
}

/// The chains of ours, all that is in them, and what leads to them from others' chains, as the
/// commands that would make it. Others' rules are not among them.
pub(super) fn parse(family: Family, text: &str) -> Vec<Command> {
    let (mut table, mut all) = (None, Vec::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = TABLES.into_iter().find(|table| *table == name);
        }
        let Some(table) = table.filter(|_| line.contains(PREFIX)) else { continue };
        let command = |verb, chain: &str, spec: &str| Command {
            family,
            table,
            verb,
            chain: chain.to_owned().into(),
            spec: spec.to_owned(),
        };
        let mut words = line.splitn(3, ' ');
        let found = match (words.next(), words.next(), words.next()) {
            (Some("-A"), Some(chain), spec) => command(Verb::Append, chain, spec.unwrap_or_default()),
            (Some(first), ..) if first.starts_with(':') => command(Verb::NewChain, &first[1..], ""),
            _ => continue,
        };
        if found.is_in_ours() || found.leads_to_ours() {
            all.push(found);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::iptables::commands;
    use crate::model::rule::Backend;

    const SAVED: &str = "# Generated by iptables-save\n*raw\n:PREROUTING ACCEPT [0:0]\n\
        :NETNS-GUARD - [0:0]\n-A PREROUTING -m comment --comment \"to NETNS-GUARD\" -j ACCEPT\n\
        -A NETNS-GUARD -m comment --comment netns -i lo -j RETURN\n-A NETNS-GUARD\nCOMMIT\n\
        *mangle\n:NETNS-GUARD - [0:0]\nCOMMIT\n";

    fn parse_one(spec: &str) -> Command {
        parse(Family::Ipv4, &format!("*raw\n-A NETNS-GUARD {spec}\n")).remove(0)
    }

    #[test]
    fn a_line_is_split_as_a_shell_would() {
        for (line, expected) in [
            ("-m comment --comment \"a b\" -j Y", &["-m", "comment", "--comment", "a b", "-j", "Y"][..]),
            (r#"--comment "a \"b\" \\" ""  x"#, &["--comment", r#"a "b" \"#, "", "x"]),
            ("one\ttwo\"three four", &["one", "twothree four"]),
            ("", &[]),
        ] {
            assert_eq!(words(line), expected, "{line}");
        }
    }

    #[test]
    fn only_what_is_ours_is_read_and_is_known_again_in_another_order() {
        let saved = parse(Family::Ipv4, SAVED);
        assert_eq!(saved.len(), 3, "a chain and its rules; others' rules and tables are not ours");
        let known: Vec<Identity> = saved.iter().map(Command::identity).collect();
        let mut ours = commands(&Rule::Base { family: Family::Ipv4, backend: Backend::Iptables });
        ours.retain(|command| known.contains(&command.identity()));
        let text: Vec<String> = ours.iter().map(ToString::to_string).collect();
        let rule = "iptables -t raw -A NETNS-GUARD -i lo -m comment --comment \"netns\" -j RETURN";
        assert_eq!(text, ["iptables -t raw -N NETNS-GUARD", rule]);
    }

    #[test]
    fn rules_of_the_same_words_with_another_meaning_differ() {
        let rule = |spec| parse_one(spec).identity();
        assert_eq!(rule("-s 10.0.0.1 ! -i a -j DROP"), rule("! -i a -s 10.0.0.1 -j DROP"));
        assert_ne!(rule("-s 10.0.0.1 ! -i a -j DROP"), rule("! -s 10.0.0.1 -i a -j DROP"));
        assert_ne!(rule("-s 10.0.0.1 -d 10.0.0.2"), rule("-s 10.0.0.2 -d 10.0.0.1"));
    }

    #[test]
    fn what_denies_at_the_beginning_of_a_chain_is_counted_up_to_what_does_not_or_denies_all() {
        let of = |rules: &str| {
            let text =
                format!("*raw\n-A FORWARD -s 1.1.1.1 -j DROP\nCOMMIT\n*filter\n:FORWARD\n{rules}COMMIT\n");
            [denials(&text, "filter", "FORWARD"), denials(&text, "raw", "FORWARD")]
        };
        let deny = "-A FORWARD -s 192.0.2.0/24 -j DROP\n-A INPUT -j DROP\n-A FORWARD -i a -j REJECT --reject-with x\n";
        assert_eq!(of(""), [0, 1]);
        assert_eq!(of(deny), [2, 1]);
        assert_eq!(of(&format!("{deny}-A FORWARD -j DROP\n{deny}")), [2, 1]);
        assert_eq!(of(&format!("-A FORWARD -j ACCEPT\n{deny}")), [0, 1]);
    }

    #[test]
    fn a_target_in_a_comment_is_none() {
        let rule = parse_one("-m comment --comment \"-j NETNS-FORWARD\" -j DROP");
        assert_eq!((rule.target().as_deref(), rule.comment()), (Some("DROP"), None));
        let rule = parse_one("-m comment --comment -j -g NETNS-FORWARD");
        assert!(rule.leads_to_ours());
        let rule = parse_one("-m comment --comment \"netns container a\" -j DROP");
        assert_eq!(rule.comment().as_deref(), Some("netns container a"));
    }
}
