//! What is there of ours beside what should be: missing, left, unowned.

use std::collections::HashSet;

use super::commands::{Command, USER, Verb, commands};
use super::rebuild::with_kept;
use super::saved::Identity;
use crate::firewall::owner::{OF_ALL, container_in};
use crate::model::rule::{Family, Rule};

/// The commands of those of `rules` that are for a family.
pub(super) fn wanted(family: Family, rules: &[Rule]) -> Vec<Command> {
    rules.iter().filter(|rule| rule.family() == family).flat_map(commands).collect()
}

/// What of `rules` is not in what is `saved`.
pub(super) fn missing(family: Family, rules: &[Rule], saved: &[Command]) -> Vec<Command> {
    let there: HashSet<Identity> = saved.iter().map(Command::identity).collect();
    let wanted = wanted(family, rules).into_iter();
    wanted.filter(|command| !there.contains(&command.identity())).collect()
}

/// What is left of `rules` in what is `saved`: with a chain of theirs goes all that is in it,
/// and all that leads to it, unless another container's rule is in it, whom no record tells of,
/// or it is the administrator's and in use.
pub(super) fn left(rules: &[Rule], saved: Vec<Command>) -> Vec<Command> {
    let ours: Vec<Command> = rules.iter().flat_map(commands).collect();
    let known: HashSet<Identity> = ours.iter().map(Command::identity).collect();
    let of_another = |command: &&Command| {
        let container = command.comment().is_some_and(|comment| container_in(&comment).is_some());
        container && !command.is_users() && !known.contains(&command.identity())
    };
    let staying: HashSet<_> = saved.iter().filter(of_another).map(Command::owned_place).collect();
    let chains = ours.iter().filter(|command| command.verb == Verb::NewChain).map(Command::owned_place);
    let is_users = |place: &(_, String)| place.1 == USER && saved.iter().any(Command::is_users);
    let going: HashSet<_> = chains.filter(|place| !staying.contains(place) && !is_users(place)).collect();
    let goes = |command: &Command| {
        let target = command.target().map(|target| (command.table, target));
        let stays = target.as_ref().is_some_and(|target| staying.contains(target))
            || command.verb == Verb::NewChain && !going.contains(&command.owned_place());
        let leads_there = || target.is_some_and(|target| going.contains(&target));
        !stays
            && (going.contains(&command.owned_place())
                || known.contains(&command.identity())
                || leads_there())
    };
    let goes: Vec<bool> = saved.iter().map(goes).collect();
    saved.into_iter().zip(goes).filter_map(|(command, goes)| goes.then_some(command)).collect()
}

/// What is of ours in what is `saved` and belongs to nobody in `rules`: rules of containers and
/// networks that are not among them, chains that none of them uses with all that is in them, and
/// what leads to those.
///
/// Rules of the containers that `keep` knows are theirs.
pub(super) fn unowned(
    family: Family,
    rules: &[Rule],
    saved: Vec<Command>,
    keep: &dyn Fn(&str) -> bool,
) -> Vec<Command> {
    let wanted = with_kept(family, rules, &saved, keep);
    let used: HashSet<(&str, &str)> = wanted.iter().map(Command::place).collect();
    let owners: HashSet<String> = wanted.iter().filter_map(Command::comment).collect();
    let is_unused = |table, chain: &str| !used.contains(&(table, chain));
    let is_unowned = |command: &Command| {
        let leads_nowhere =
            || command.leads_to_ours() && command.target().is_some_and(|to| is_unused(command.table, &to));
        let owner = || command.comment().filter(|owner| owner != OF_ALL);
        if command.is_in_ours() && is_unused(command.table, &command.chain) || leads_nowhere() {
            return true;
        }
        command.is_in_ours() && owner().is_some_and(|owner| !owners.contains(&owner))
    };
    saved.into_iter().filter(is_unowned).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::firewall::iptables::saved::parse;
    use crate::model::peers::Peers;
    use crate::model::publish::Publish;
    use crate::model::rule::{Backend, Passage};

    /// The rules of a container `owner` with this port.
    pub(in crate::firewall::iptables) fn published(owner: &str, port: &str) -> Vec<Rule> {
        let publish: Publish = port.parse().unwrap();
        let mapping = publish.at(publish.host.unwrap(), false);
        let block = Rule::block_of(&mapping, "172.19.0.2".parse().unwrap());
        let to = "172.19.0.2".parse().unwrap();
        block
            .into_iter()
            .chain([Rule::Publish { owner: owner.to_owned(), mapping, to, backend: Backend::Iptables }])
            .collect()
    }

    /// All that is shared, with one network.
    pub(in crate::firewall::iptables) fn network() -> Vec<Rule> {
        let (bridge, subnet) = ("netns0".parse().unwrap(), "172.19.0.0/16".parse().unwrap());
        vec![
            Rule::Base { family: Family::Ipv4, backend: Backend::Iptables },
            Rule::Network {
                bridge,
                subnet,
                passage: Passage::default(),
                peers: Peers::default(),
                backend: Backend::Iptables,
            },
        ]
    }

    /// As `iptables-save` prints these rules, with `others` lines added to the table nat.
    pub(in crate::firewall::iptables) fn saved(rules: &[Rule], others: &[&str]) -> Vec<Command> {
        let commands = wanted(Family::Ipv4, rules);
        let mut text = String::new();
        for table in ["raw", "nat", "filter"] {
            let here = || commands.iter().filter(|command| command.table == table);
            let rules = || here().filter(|command| command.verb != Verb::NewChain);
            let chains = here().filter(|command| command.verb == Verb::NewChain);
            text += &format!("*{table}\n");
            text.extend(chains.map(|command| format!(":{} - [0:0]\n", command.chain)));
            text.extend(rules().map(|command| format!("-A {} {}\n", command.chain, command.spec)));
            if table == "nat" {
                text.extend(others.iter().map(|line| format!("{line}\n")));
            }
            text += "COMMIT\n";
        }
        parse(Family::Ipv4, &text)
    }

    fn all(parts: &[&[Rule]]) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for rule in parts.concat() {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        rules
    }

    fn texts(commands: &[impl ToString]) -> Vec<String> {
        commands.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_not_there_is_missing() {
        let rules = all(&[&network(), &published("a", "8080:80")]);
        let there = saved(&rules, &[]);
        assert_eq!(missing(Family::Ipv4, &rules, &there), []);
        let without: Vec<Command> =
            there.into_iter().filter(|command| command.chain != "PREROUTING").collect();
        assert_eq!(
            texts(&missing(Family::Ipv4, &rules, &without)),
            [
                "iptables -t raw -I PREROUTING -m comment --comment \"netns\" -j NETNS-GUARD",
                "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -m comment --comment \"netns\" -j NETNS-PUBLISH",
            ]
        );
        assert_eq!(missing(Family::Ipv6, &rules, &[]), [], "of another family nothing is wanted");
    }

    #[test]
    fn what_is_left_goes_with_its_chain_and_what_leads_there() {
        let (a, b) = (published("a", "8080:80"), published("b", "9999:80"));
        let guest = "-A NETNS-tcp-31 -s 192.0.2.1/32 -j RETURN";
        let jump = "-A OUTPUT -d 192.0.2.1/32 -j NETNS-tcp-31";
        let there = saved(&all(&[&network(), &a, &b]), &[guest, jump, "-A OUTPUT -j NETNS-tcp-39"]);
        let left = texts(&left(&a, there));
        assert_eq!(left.len(), 5, "{left:#?}");
        assert!(left.iter().all(|command| command.contains("NETNS-tcp-31")), "{left:#?}");
    }

    #[test]
    fn rules_of_unknown_containers_and_networks_and_unused_chains_are_unowned() {
        let kept = all(&[&network(), &published("kept", "8081:80")]);
        let lost = [&published("lost", "8080:80")[..], &published("lost", "9000:80")].concat();
        let guest = "-A NETNS-PUBLISH -s 192.0.2.1/32 -j RETURN";
        let old =
            "-A NETNS-MASQUERADE -s 10.1.0.0/16 -m comment --comment \"netns network old0\" -j MASQUERADE";
        let foreign = "-A PREROUTING -p tcp -m comment --comment \"netns container lost\" -j DNAT --to-destination 172.19.0.9";
        let there = || saved(&all(&[&kept, &lost]), &[guest, old, foreign]);
        let found = texts(&unowned(Family::Ipv4, &kept, there(), &|_| false));
        let mine = "-m comment --comment \"netns container lost\" -j DNAT --to-destination 172.19.0.2:80";
        let expected = [
            "-N NETNS-tcp-35".to_owned(),
            format!("-A NETNS-tcp-31 -p tcp -m tcp --dport 8080 {mine}"),
            "-A NETNS-PUBLISH -p tcp -m tcp --dport 8960:9215 -m comment --comment \"netns\" -j NETNS-tcp-35"
                .to_owned(),
            format!("-A NETNS-tcp-35 -p tcp -m tcp --dport 9000 {mine}"),
            old.to_owned(),
        ];
        assert_eq!(found, expected.map(|command| format!("iptables -t nat {command}")));
        assert_eq!(unowned(Family::Ipv4, &all(&[&kept, &lost]), saved(&kept, &[guest]), &|_| false), []);
        let living = unowned(Family::Ipv4, &kept, there(), &|owner| owner == "lost");
        assert_eq!(texts(&living), [format!("iptables -t nat {old}")]);
        let nothing_wanted = unowned(Family::Ipv4, &[], there(), &|_| false);
        assert_eq!(nothing_wanted.len(), there().len(), "jumps in others' chains too");
    }
}
