//! What a `resolv.conf(5)` says, read and written. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;

use super::dns::{Domain, Names, ResolverOption, Server};

/// Name servers, search domains and options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// In the order in which they are asked.
    pub servers: Vec<Server>,
    /// Domains that short names are looked for in.
    pub search: Vec<Domain>,
    /// As `ndots:2`.
    pub options: Vec<ResolverOption>,
    /// The first of the host's that no container reaches; it is in no file.
    pub unreached: Option<Server>,
}

impl Resolver {
    /// What containers can use of the host's file. A loopback server is the host's own and not
    /// a container's, and so is one on a link of the host. What is malformed, or no resolver
    /// heeds, is left out.
    pub fn of_host(text: &str) -> Self {
        let on_a_link = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let reachable = |Server(ip): &Server| !ip.is_loopback() && !on_a_link(ip);
        let servers = servers_in(text).filter(reachable).collect();
        let unreached = servers_in(text).find(|server| !reachable(server));
        let mut found = Self { servers, unreached, ..Self::default() };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // The last of these lines is the one that counts.
                Some("search" | "domain") => {
                    found.search = words.filter_map(|word| word.parse().ok()).collect()
                }
                Some("options") => found.options.extend(words.filter_map(|word| word.parse().ok())),
                _ => {}
            }
        }
        found
    }

    /// The same without the servers that a container without an address of their family reaches
    /// not.
    pub fn reached_from(&self, addresses: &[IpNetwork]) -> Self {
        let reached = |Server(ip): &&Server| addresses.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
        Self { servers: self.servers.iter().filter(reached).cloned().collect(), ..self.clone() }
    }

    /// The same with what a container asks for in its place.
    pub fn with(&self, asked: &Names) -> Self {
        fn or<T: Clone>(asked: &[T], host: &[T]) -> Vec<T> {
            if asked.is_empty() { host.to_vec() } else { asked.to_vec() }
        }
        Self {
            servers: or(&asked.servers, &self.servers),
            search: or(&asked.search, &self.search),
            options: or(&asked.options, &self.options),
            unreached: self.unreached,
        }
    }

    /// The file's text; `None` without a server, for which resolvers would ask 127.0.0.1.
    pub fn text(&self) -> Option<String> {
        (!self.servers.is_empty()).then(|| self.to_string())
    }
}

/// The name servers in a `resolv.conf`, whoever reaches them.
pub fn servers_in<T: FromStr>(text: &str) -> impl Iterator<Item = T> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        if words.next() == Some("nameserver") { words.next()?.parse().ok() } else { None }
    })
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Server(ip) in &self.servers {
            writeln!(f, "nameserver {ip}")?;
        }
        let domains = self.search.iter().filter(|domain| !domain.is_root()).map(ToString::to_string);
        let options = self.options.iter().map(ToString::to_string);
        for (keyword, words) in [("search", domains.collect::<Vec<_>>()), ("options", options.collect())] {
            if !words.is_empty() {
                writeln!(f, "{keyword} {}", words.join(" "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_gets_of_the_hosts_file_what_it_can_use() {
        let text = "# by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.53 # not read\nnameserver fe80::1%eth0\n\
                    nameserver ::1\nnameserver fd00::53\ndomain old.example\nsearch corp.example lan\noptions ndots:2 $x\n\
                    sortlist 10.0.0.0\nnameserver\n";
        let of = |addresses: &[&str]| {
            let addresses: Vec<IpNetwork> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            Resolver::of_host(text).reached_from(&addresses).text().unwrap()
        };
        let rest = "search corp.example lan\noptions ndots:2\n";
        let (four, six) = ("nameserver 10.0.0.53\n", "nameserver fd00::53\n");
        assert_eq!(of(&["172.19.0.2/16"]), format!("{four}{rest}"));
        assert_eq!(of(&["172.19.0.2/16", "fd00:19::2/64"]), format!("{four}{six}{rest}"));
        assert_eq!(of(&["fd00:19::2/64"]), format!("{six}{rest}"));
        assert_eq!(Resolver::of_host("nameserver 127.0.0.53\nsearch lan\n").text(), None);
    }

    #[test]
    fn what_is_asked_for_takes_the_place_of_the_hosts() {
        let host = Resolver::of_host("nameserver 10.0.0.53\nsearch lan\noptions edns0\n");
        let asked = |servers: &[&str], search: &[&str], options: &[&str]| Names {
            servers: servers.iter().map(|text| text.parse().unwrap()).collect(),
            search: search.iter().map(|text| text.parse().unwrap()).collect(),
            options: options.iter().map(|text| text.parse().unwrap()).collect(),
            ..Names::default()
        };
        let text = |asked: Names| host.with(&asked).text().unwrap();
        assert_eq!(text(asked(&["1.1.1.1"], &[], &[])), "nameserver 1.1.1.1\nsearch lan\noptions edns0\n");
        assert_eq!(text(asked(&[], &["."], &["ndots:5"])), "nameserver 10.0.0.53\noptions ndots:5\n");
    }
}
