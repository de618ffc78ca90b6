//! How what is there of ours becomes what should be: by one script, which leaves alone what is
//! right and everything of others', with one transaction for each table that differs.

use std::collections::{HashMap, HashSet};

use super::commands::{Command, USER, Verb, program};
use super::present::wanted;
use super::restore::{Order, Script};
use super::saved::Identity;
use crate::firewall::owner::container_in;
use crate::model::rule::{Change, Family, Rule};

/// What should be there where nothing may go: `rules`, and all that is there besides.
pub(super) fn with_all(family: Family, rules: &[Rule], saved: &[Command]) -> Vec<Command> {
    let mut target = wanted(family, rules);
    let unknown: Vec<Command> = unknown(&target, saved).cloned().collect();
    target.extend(unknown);
    target
}

/// What should be there: `rules`, the rules that are there of containers that `keep` knows with
/// what leads to them, what others have added to chains of ours that stay, and the
/// administrator's chain with what is in it.
pub(super) fn with_kept(
    family: Family,
    rules: &[Rule],
    saved: &[Command],
    keep: &dyn Fn(&str) -> bool,
) -> Vec<Command> {
    let mut target = wanted(family, rules);
    let (mut kept, mut others): (Vec<&Command>, Vec<&Command>) =
        unknown(&target, saved).partition(|command| {
            command.is_users()
                || command.comment().is_some_and(|comment| container_in(&comment).is_some_and(keep))
        });
    // What leads to a rule that stays: its chain, the jump to that, the jump's chain.
    let mut seen = 0;
    while seen < kept.len() {
        let (table, chain) = kept[seen].place();
        // The administrator's chain stays without ours that leads there.
        let chain = if kept[seen].is_users() { USER } else { chain };
        let leads_there = |command: &Command| {
            let is_chain = command.verb == Verb::NewChain && command.chain == chain;
            let is_jump = || command.comment().is_some() && command.target().is_some_and(|to| to == chain);
            let jumps = || chain != USER && is_jump();
            command.table == table && (is_chain || jumps())
        };
        kept.extend(others.extract_if(.., |command| leads_there(command)));
        seen += 1;
    }
    target.extend(kept.into_iter().cloned());
    let chains: HashSet<_> = target.iter().map(|command| (command.table, command.chain.clone())).collect();
    others.retain(|command| {
        let stays = |chain: String| chains.contains(&(command.table, chain.into()));
        let to_ours = command.leads_to_ours().then(|| command.target()).flatten();
        let foreign = command.verb != Verb::NewChain && command.comment().is_none();
        foreign && to_ours.is_none_or(stays) && (!command.is_in_ours() || stays(command.chain.to_string()))
    });
    target.extend(others.into_iter().cloned());
    target
}

/// What is there and is not in `target`.
fn unknown<'a>(target: &[Command], saved: &'a [Command]) -> impl Iterator<Item = &'a Command> {
    let known: HashSet<Identity> = target.iter().map(Command::identity).collect();
    saved.iter().filter(move |command| !known.contains(&command.identity()))
}

/// The script that makes `target` of what is `saved`. A chain of ours in which anything differs
/// is made anew as a whole, since the order of its rules matters; in others' chains only what
/// differs comes or goes; chains of ours that are no more go last.
pub(super) fn rebuild(saved: &[Command], target: &[Command]) -> Script {
    let (now, then) = (chains(saved), chains(target));
    let differs = |command: &&Command| now.get(&command.place()) != then.get(&command.place());
    let changed = || target.iter().filter(|command| command.is_in_ours()).filter(differs);
    let mut seen = HashSet::new();
    let emptied = changed().filter(|command| seen.insert(command.place()));
    let rules = changed().filter(|command| command.verb != Verb::NewChain);
    let is_stale =
        |command: &&Command| command.verb == Verb::NewChain && !then.contains_key(&command.place());
    let stale = || saved.iter().filter(is_stale);
    let flush = |command: &Command, line: String| {
        let shown = format!("{} -t {} -F {}", program(command.family), command.table, command.chain);
        Order { table: command.table, line, shown }
    };
    let (add, remove) = (|it: &Command| it.order(Change::Add), |it: &Command| it.order(Change::Remove));
    let orders = (emptied.map(|it| flush(it, format!(":{} - [0:0]", it.chain))))
        .chain(jumps_without(saved, target).map(remove))
        .chain(rules.map(add))
        .chain(jumps_without(target, saved).map(add))
        .chain(stale().map(|it| flush(it, format!("-F {}", it.chain))))
        .chain(stale().map(remove));
    Script::new(Change::Add, orders.collect())
}

/// The chains of ours, and what is in each, in whatever order.
fn chains(commands: &[Command]) -> HashMap<(&str, &str), Vec<Identity>> {
    let mut chains: HashMap<_, Vec<Identity>> = HashMap::new();
    for command in commands.iter().filter(|command| command.is_in_ours()) {
        chains.entry(command.place()).or_default().push(command.identity());
    }
    chains.values_mut().for_each(|rules| rules.sort_unstable());
    chains
}

/// Those rules in others' chains that are not among `others` as often.
fn jumps_without<'a>(commands: &'a [Command], others: &[Command]) -> impl Iterator<Item = &'a Command> {
    let in_theirs = |command: &&Command| !command.is_in_ours();
    let mut known: HashMap<Identity, usize> = HashMap::new();
    for command in others.iter().filter(in_theirs) {
        *known.entry(command.identity()).or_default() += 1;
    }
    commands.iter().filter(in_theirs).filter(move |command| {
        let left = known.get_mut(&command.identity());
        left.is_none_or(|left| std::mem::replace(left, left.saturating_sub(1)) == 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::iptables::present::tests::{network, published, saved};
    use crate::firewall::iptables::saved::parse;

    fn keep_none(_: &str) -> bool {
        false
    }

    fn script_of(rules: &[Rule], saved: &[Command], keep: &dyn Fn(&str) -> bool) -> String {
        let target = with_kept(Family::Ipv4, rules, saved, keep);
        rebuild(saved, &target).text().to_owned()
    }

    #[test]
    fn what_is_as_it_should_be_is_left_alone_in_whatever_order() {
        let rules = [network(), published("a", "8080:80")].concat();
        let mut there = saved(&rules, &["-A NETNS-PUBLISH -s 192.0.2.1/32 -j RETURN"]);
        there.reverse();
        assert_eq!(script_of(&rules, &there, &keep_none), "");
    }

    #[test]
    fn a_rebuild_is_one_transaction_a_table_and_takes_only_what_is_ours() {
        let rules = [network(), published("a", "8080:80")].concat();
        let old = [network(), published("gone", "9000:80"), published("kept", "8081:80")].concat();
        let others = [
            "-A PREROUTING -m addrtype --dst-type LOCAL -m comment --comment netns -j NETNS-PUBLISH",
            "-A OUTPUT -d 192.0.2.1/32 -j NETNS-tcp-35",
            "-A OUTPUT -d 192.0.2.1/32 -j NETNS-PUBLISH",
            "-A NETNS-PUBLISH -s 192.0.2.1/32 -j RETURN",
            "-A NETNS-PUBLISH -s 192.0.2.2/32 -j NETNS-tcp-35",
        ];
        let mut there = saved(&old, &others);
        there.retain(|command| command.chain != "FORWARD");
        let expected = r#"*nat
:NETNS-PUBLISH - [0:0]
:NETNS-tcp-31 - [0:0]
-D PREROUTING -m addrtype --dst-type LOCAL -m comment --comment netns -j NETNS-PUBLISH
-D OUTPUT -d 192.0.2.1/32 -j NETNS-tcp-35
-A NETNS-PUBLISH -p tcp -m tcp --dport 7936:8191 -m comment --comment "netns" -j NETNS-tcp-31
-A NETNS-tcp-31 -p tcp -m tcp --dport 8080 -m comment --comment "netns container a" -j DNAT --to-destination 172.19.0.2:80
-A NETNS-tcp-31 -p tcp -m tcp --dport 8081 -m comment --comment "netns container kept" -j DNAT --to-destination 172.19.0.2:80
-A NETNS-PUBLISH -s 192.0.2.1/32 -j RETURN
-F NETNS-tcp-35
-X NETNS-tcp-35
COMMIT
*filter
-I FORWARD -m comment --comment "netns" -j NETNS-FORWARD
COMMIT
"#;
        assert_eq!(script_of(&rules, &there, &|id| id == "kept"), expected);
    }

    #[test]
    fn a_container_that_is_kept_keeps_all_that_leads_to_it() {
        let there = saved(&[network(), published("kept", "8081:80")].concat(), &[]);
        let nat: Vec<Command> = there.iter().filter(|command| command.table == "nat").cloned().collect();
        let expected = "*nat\n-D POSTROUTING -m comment --comment \"netns\" -j NETNS-MASQUERADE\n\
            -F NETNS-MASQUERADE\n-X NETNS-MASQUERADE\nCOMMIT\n";
        assert_eq!(script_of(&[], &nat, &|id| id == "kept"), expected);
        let all = rebuild(&there, &[]);
        assert_eq!(all.text().matches("\n-X ").count(), 12, "{}", all.text());
        assert_eq!(all.text().matches("\n-D ").count(), 5, "{}", all.text());
    }

    #[test]
    fn what_is_in_the_administrators_chain_is_never_touched() {
        let (rules, ours) = (network(), "-m comment --comment \"netns container a\"");
        let user =
            [format!("-A NETNS-USER -s 192.0.2.1/32 {ours} -j DROP"), "-A INPUT -j NETNS-USER".to_owned()];
        for user in &user {
            let there = [saved(&rules, &[]), parse(Family::Ipv4, &format!("*filter\n{user}\n"))].concat();
            assert_eq!(script_of(&rules, &there, &keep_none), "");
            let without: Vec<Command> =
                there.iter().filter(|it| it.chain != "NETNS-FORWARD").cloned().collect();
            let made = script_of(&rules, &without, &keep_none);
            assert!(made.contains(":NETNS-FORWARD") && !made.contains(":NETNS-USER"), "{made}");
            let removed = script_of(&[], &there, &keep_none);
            assert!(removed.contains("-X NETNS-FORWARD") && !removed.contains("NETNS-USER"), "{removed}");
        }
        assert!(script_of(&[], &saved(&rules, &[]), &keep_none).contains("-X NETNS-USER"), "it is empty");
    }

    #[test]
    fn what_is_restored_removes_nothing_of_those_who_are_unknown() {
        let rules = network();
        let pending = [network(), published("pending", "8081:80")].concat();
        let mut there = saved(&pending, &[]);
        there.retain(|command| !command.spec.contains("RETURN"));
        let target = with_all(Family::Ipv4, &rules, &there);
        let mine = "-m comment --comment \"netns\"";
        let network = "-m comment --comment \"netns network netns0\"";
        let expected = format!(
            "*raw\n:NETNS-GUARD - [0:0]\n-A NETNS-GUARD -i lo {mine} -j RETURN\n\
             -A NETNS-GUARD -d 127.0.0.0/8 {mine} -j DROP\n-A NETNS-GUARD -s 127.0.0.0/8 {mine} -j DROP\n\
             -A NETNS-GUARD -d 172.19.0.0/16 ! -i netns0 {network} -j DROP\nCOMMIT\n"
        );
        assert_eq!(rebuild(&there, &target).text(), expected);
    }
}
