//! What should be in our table, beside what is there.

use std::collections::HashSet;

use super::element::{Element, command};
use super::shown;
use super::statics::{Static, TABLE, statics};
use super::table::{Change, Found, Table, delete, delete_rule, delete_table};
use crate::firewall::nft_word;
use crate::firewall::owner::{OF_ALL, container_in};
use crate::model::rule::{Family, Rule};

/// What should be in the table of a family.
pub(super) struct Wanted {
    pub(super) family: Family,
    pub(super) statics: Vec<Static>,
    pub(super) elements: Vec<Element>,
}

impl Wanted {
    pub(super) fn of<'a>(family: Family, rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        let mut wanted = Self { family, statics: Vec::new(), elements: Vec::new() };
        for rule in rules.into_iter().filter(|rule| rule.family() == family) {
            wanted.statics.extend(statics(rule));
            wanted.elements.extend(Element::all(rule));
        }
        // Those of one map are sent together.
        wanted.elements.sort_by_cached_key(Element::map);
        wanted
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statics.is_empty() && self.elements.is_empty()
    }

    /// Whether the owner of a static rule has any here in its chain.
    pub(super) fn owns(&self, rule: &Found) -> bool {
        self.statics.iter().any(|wanted| wanted.chain == rule.chain && wanted.comment == rule.comment)
    }

    /// Those static rules of whose kind, which is an owner and a chain, too few are there.
    pub(super) fn missing_statics(&self, table: &Table) -> Vec<&Static> {
        let is_missing = |rule: &&Static| {
            let needed =
                self.statics.iter().filter(|it| (it.chain, &it.comment) == (rule.chain, &rule.comment));
            let there = table.rules.iter().filter(|it| it.chain == rule.chain && it.comment == rule.comment);
            there.count() < needed.count()
        };
        self.statics.iter().filter(is_missing).collect()
    }

    /// Whether all static rules are there, and none of ours besides.
    pub(super) fn has_its_statics(&self, table: &Table) -> bool {
        self.missing_statics(table).is_empty() && table.rules.len() == self.statics.len()
    }

    pub(super) fn missing_elements(&self, table: &Table) -> Vec<Element> {
        let there: HashSet<&Element> = table.elements.iter().map(|(element, _)| element).collect();
        self.elements.iter().filter(|element| !there.contains(element)).cloned().collect()
    }

    /// The commands that add what is missing.
    pub(super) fn missing(&self, table: &Table) -> Vec<String> {
        let statics = self.missing_statics(table).into_iter().map(|rule| shown(&rule.to_string()));
        let elements = self.missing_elements(table);
        let elements = elements.chunks(1).filter_map(|one| command(self.family, one));
        statics.chain(elements.map(|text| shown(&text))).collect()
    }

    /// What is there of ours and of nobody here or whom `keep` knows: for each the change that
    /// removes it, and the command that would add it.
    pub(super) fn unowned(&self, table: &Table, keep: &dyn Fn(&str) -> bool) -> Vec<(Change, String)> {
        let family = self.family;
        let known: HashSet<&Element> = self.elements.iter().collect();
        let elements = || table.elements.iter().map(|(element, _)| element);
        let is_kept = |element: &Element| container_in(&element.comment).is_some_and(keep);
        let nobody = self.is_empty() && !elements().any(is_kept);
        if nobody && !table.has_users {
            return vec![(delete_table(family), shown(&format!("add table {} {TABLE}", nft_word(family))))];
        }
        let of_others = |rule: &&Found| (nobody || rule.comment != OF_ALL) && !self.owns(rule);
        let rules = table.rules.iter().filter(of_others).map(|rule| {
            let Found { chain, comment, .. } = rule;
            let text = format!("add rule {} {TABLE} {chain} … comment \"{comment}\"", nft_word(family));
            (delete_rule(family, rule), shown(&text))
        });
        // Without a comment of ours it is somebody else's.
        let ours = elements().filter(|element| container_in(&element.comment).is_some());
        let strange = ours.filter(|element| !known.contains(element) && !is_kept(element));
        let mut strange: Vec<Element> = strange.cloned().collect();
        strange.sort_by(|a, b| (&a.comment, a.map(), a.key()).cmp(&(&b.comment, b.map(), b.key())));
        let whole = strange.chunk_by(|a, b| (&a.comment, a.map()) == (&b.comment, b.map()));
        let elements = whole.flat_map(|whole| {
            let text = command(family, whole).map(|text| shown(&text)).unwrap_or_default();
            delete(family, whole).into_iter().map(move |change| (change, text.clone()))
        });
        rules.chain(elements).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::peers::Peers;
    use crate::model::publish::Publish;
    use crate::model::rule::{Backend, Passage};

    const BACKEND: Backend = Backend::Nftables;

    fn publish(owner: &str, ports: &str, to: &str) -> Rule {
        let publish: Publish = ports.parse().unwrap();
        let mapping = publish.at(publish.host.unwrap(), false);
        Rule::Publish { owner: owner.to_owned(), mapping, to: to.parse().unwrap(), backend: BACKEND }
    }

    fn network(bridge: &str, subnet: &str) -> Rule {
        let (bridge, subnet) = (bridge.parse().unwrap(), subnet.parse().unwrap());
        Rule::Network {
            bridge,
            subnet,
            passage: Passage::default(),
            peers: Peers::default(),
            backend: BACKEND,
        }
    }

    #[test]
    fn an_element_is_told_to_the_kernel_and_read_back() {
        for (ports, to) in [
            ("8080:80", "172.19.0.2"),
            ("10.0.0.1:53:53/udp", "172.19.0.2"),
            ("8000-9299:80-1379/sctp", "172.19.0.2"),
            ("53:54/udp", "fd00:8::2"),
            ("8080-8085:80-85,from=10.0.0.0/8,from=192.0.2.7", "172.19.0.2"),
            ("10.0.0.1:53:54/udp,from=0.0.0.0/1", "172.19.0.2"),
            ("172.19.0.2:53:53/udp", "172.19.0.2"),
            ("172.19.0.2:8000-8099:8000-8099", "172.19.0.2"),
            ("172.19.0.2:80:80,from=10.0.0.0/8", "172.19.0.2"),
        ] {
            let rule = publish("web", ports, to);
            let (family, elements) = (rule.family(), Element::all(&rule));
            let map = elements[0].map();
            let requests = super::super::element::requests(&elements, true);
            assert!(requests.iter().all(|(request, _)| request.len() < 1 << 16), "{ports}");
            let read =
                requests.iter().flat_map(|(request, _)| super::super::element::listed(family, map, request));
            assert_eq!(read.map(|(element, _)| element).collect::<Vec<_>>(), elements, "{ports}");
        }
    }

    #[test]
    fn every_form_of_publish_is_elements_of_one_map() {
        let mine = "comment \"netns container web\"";
        for (ports, command) in [
            ("8080:80", format!("publish {{ tcp . 8080 {mine} : 172.19.0.2 . 80 }}")),
            ("10.0.0.1:53:54/udp", format!("publish_on {{ 10.0.0.1 . udp . 53 {mine} : 172.19.0.2 . 54 }}")),
            (
                "8080:80,from=10.0.0.0/8",
                format!("publish_from {{ 10.0.0.0/8 . 0.0.0.0/0 . tcp . 8080 {mine} : 172.19.0.2 . 80 }}"),
            ),
            ("172.19.0.2:80:80", format!("open {{ 172.19.0.2 . tcp . 80 {mine} }}")),
            (
                "8000-8001:80-81",
                format!(
                    "publish {{ tcp . 8000 {mine} : 172.19.0.2 . 80, tcp . 8001 {mine} : 172.19.0.2 . 81 }}"
                ),
            ),
        ] {
            let lines = super::super::lines(&publish("web", ports, "172.19.0.2"));
            assert_eq!(lines, [format!("nft 'add element ip netns {command}'")]);
        }
        let long = super::super::lines(&publish(&"x".repeat(255), "80:80", "172.19.0.2"));
        assert!(long[0].contains(&format!("\"netns container {}\"", "x".repeat(112))), "{long:?}");
    }

    #[test]
    fn what_is_missing_and_what_is_unowned_is_known_by_its_owner() {
        let base = Rule::Base { family: Family::Ipv4, backend: BACKEND };
        let rules = [base, network("netns0", "172.19.0.0/16"), publish("a", "8080:80", "172.19.0.2")];
        let wanted = Wanted::of(Family::Ipv4, &rules);
        let mut table = Table::default();
        assert_eq!(wanted.missing(&table).len(), 16 + 9 + 1);
        table.rules = wanted.statics.iter().map(Found::of).collect();
        table.elements = wanted.elements.iter().map(|element| (element.clone(), None)).collect();
        assert_eq!((wanted.missing(&table), wanted.unowned(&table, &|_| false)), (vec![], vec![]));
        let old = Wanted::of(Family::Ipv4, &[network("old0", "10.1.0.0/16")]);
        table.rules.extend(old.statics.iter().map(Found::of));
        let lost = publish("lost", "9000-9001:80-81", "172.19.0.9");
        table.elements.extend(Element::all(&lost).into_iter().map(|element| (element, None)));
        assert!(!wanted.has_its_statics(&table));
        let unowned = |keep: &dyn Fn(&str) -> bool| wanted.unowned(&table, keep).len();
        assert_eq!((unowned(&|_| false), unowned(&|owner| owner == "lost")), (9 + 1, 9));
        let nothing = Wanted::of(Family::Ipv4, &[]);
        let texts = |keep: &dyn Fn(&str) -> bool| nothing.unowned(&table, keep).into_iter().map(|it| it.1);
        assert_eq!(texts(&|_| false).collect::<Vec<_>>(), ["nft 'add table ip netns'"]);
        assert_eq!(texts(&|owner| owner == "lost").count(), 19, "the table is still in use");
    }
}
