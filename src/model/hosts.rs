//! Who is called what: the lines of a `hosts` file, and the form of that file. Pure.
//!
//! One file a bridge, which all its containers have mounted, so that coming and going costs the
//! same however many are up. It is a row of slots of one size. A container's lines stand in
//! slots of its own, and nothing else ever moves:
//!
//! - a slot never crosses a page, and so no reader ever sees a part of one that is being
//!   appended;
//! - a slot becomes free by one byte, the `#` that makes a comment of it, and is filled again
//!   behind that `#` before the first byte says that it is a line.
//!
//! The file is neither renamed nor replaced while it is mounted: that would be another file.

use std::net::IpAddr;

use super::dns::{HostEntry, HostName, Names, Told};

/// The size of a slot in bytes; a divisor of the page size.
pub const SLOT: usize = 128;

/// What containers call the host, as podman and docker have it.
const HOST: [&str; 2] = ["host.containers.internal", "host.docker.internal"];
/// The most that is taken over of an engine's `hosts` file, in other hosts.
const MAX_TOLD: usize = 64;

/// The first slot of a file, which is nobody's: this host, and the one at `gateway`.
pub fn header(gateway: Option<IpAddr>) -> Vec<u8> {
    let loopback = "127.0.0.1 localhost\n::1 localhost";
    let [podman, docker] = HOST;
    // An address of IPv6 leaves no room for the names that nobody has asked for since long.
    slot(&match gateway {
        Some(ip @ IpAddr::V6(_)) => format!("{loopback}\n{ip} {podman} {docker}"),
        Some(ip) => format!("{loopback} ip6-localhost ip6-loopback\n{ip} {podman} {docker}"),
        None => format!("{loopback} ip6-localhost ip6-loopback"),
    })
}

/// Whether one of these is what containers call the host.
pub fn names_the_host(lines: &[String]) -> bool {
    lines.iter().flat_map(|line| line.split(' ')).any(|word| HOST.contains(&word))
}

/// What an engine's `hosts` file tells of the container that is called `hostname`: its other names
/// stand on the line with that one. Every engine writes the lines about this host and about
/// groups, and they are left out.
pub fn told(text: &str, hostname: Option<&str>) -> Told {
    let mut told = Told::default();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|address| address.parse::<IpAddr>().ok()) else { continue };
        let words: Vec<&str> = words.collect();
        let names = words.iter().filter_map(|name| name.parse::<HostName>().ok());
        if hostname.is_some_and(|hostname| words.contains(&hostname)) {
            told.names.extend(names);
        } else if is_of_a_host(address) {
            told.hosts.extend(names.map(|name| HostEntry { name, address }));
        }
    }
    told.hosts.truncate(MAX_TOLD);
    told
}

/// Whether another host can have an address; `fe00::`, which no host has, stands in the files of
/// Debian and of docker.
fn is_of_a_host(address: IpAddr) -> bool {
    let is_group = address.is_multicast() || matches!(address, IpAddr::V6(ip) if ip.segments()[0] == 0xfe00);
    !(is_group || address.is_loopback() || address.is_unspecified())
}

/// A slot that is free.
pub fn blank() -> Vec<u8> {
    slot("#")
}

/// A slot with these lines; what does not fit is cut off, which [`lines`] excludes.
pub fn slot(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(SLOT - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// What a container is called: its hostname, which as the first of a line is the one that is told of
/// an address; its id and the short form of that; its aliases. Names that cannot be one, or that it
/// may not have, are left out.
pub fn of(id: &str, hostname: Option<&str>, asked: &Names) -> Vec<HostName> {
    let own = [hostname, Some(id), short(id)].into_iter().flatten();
    let own = own.filter_map(|name| name.parse().ok()).filter(|name| asked.allows(name));
    let mut names: Vec<HostName> = Vec::new();
    for name in own.chain(asked.aliases.iter().cloned()) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The short form of an id as engines make them.
pub fn short(id: &str) -> Option<&str> {
    (id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| &id[..12])
}

/// The lines that give `address` these names, each of which fits a slot.
pub fn lines(address: IpAddr, names: &[HostName]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut().filter(|line| line.len() + 1 + name.as_str().len() < SLOT) {
            Some(line) => line.push_str(&format!(" {name}")),
            None => lines.push(format!("{address} {name}")),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(aliases: &[&str]) -> Names {
        Names { aliases: aliases.iter().map(|name| name.parse().unwrap()).collect(), ..Names::default() }
    }

    fn called(id: &str, hostname: Option<&str>, asked: &Names) -> Vec<String> {
        of(id, hostname, asked).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_container_is_called_by_its_id_its_hostname_and_its_aliases() {
        assert_eq!(called("web", Some("www"), &asked(&["db", "web"])), ["www", "web", "db"]);
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(called(&id, Some("0123456789ab"), &asked(&[])), ["0123456789ab", id.as_str()]);
    }

    #[test]
    fn a_hostile_id_or_hostname_enters_no_line() {
        let long = "x".repeat(200);
        for name in ["localhost", "1.2.3.4", "a+b", "a\n6.6.6.6 web", "", "a b", &long] {
            assert_eq!(called(name, Some(name), &asked(&[])), [""; 0], "{name:?}");
        }
    }

    #[test]
    fn an_engines_file_tells_of_a_container_and_of_other_hosts() {
        let text = "127.0.0.1\tlocalhost 4f4f\n::1 localhost ip6-localhost\nfe00::0 ip6-localnet\n\
                    ff02::1 ip6-allnodes\n127.0.1.1 laptop\n10.0.0.5 nas nas.lan # a comment\n\
                    10.0.0.6 localhost\n10.88.0.7 4f4f web\nwrong line\n";
        let told = told(text, Some("4f4f"));
        let names: Vec<&str> = told.names.iter().map(HostName::as_str).collect();
        let hosts: Vec<String> = told.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["4f4f", "4f4f", "web"]);
        assert_eq!(hosts, ["nas:10.0.0.5", "nas.lan:10.0.0.5"]);
    }

    #[test]
    fn where_names_are_bounded_a_hostname_is_too() {
        let bounded = Names { allowed: Some(vec!["*.lan".parse().unwrap()]), ..asked(&[]) };
        assert_eq!(called("web", Some("example.com"), &bounded), ["web"]);
        assert_eq!(called("a.lan", Some("b"), &bounded), ["b", "a.lan"]);
    }

    #[test]
    fn each_line_fits_its_slot_and_no_name_is_lost() {
        let names: Vec<HostName> =
            (0..40).map(|n| format!("n{n}{}", "x".repeat(n)).parse().unwrap()).collect();
        let lines = lines("172.19.255.254".parse().unwrap(), &names);
        let read: Vec<&str> = lines.iter().flat_map(|line| line.split(' ').skip(1)).collect();
        assert_eq!(read, names.iter().map(HostName::as_str).collect::<Vec<_>>());
        for line in &lines {
            assert!(line.len() < SLOT && line.starts_with("172.19.255.254 "), "{line}");
            assert_eq!(String::from_utf8(slot(line)).unwrap().trim_end(), line);
        }
        let longest: HostName = "x".repeat(64).parse::<HostName>().unwrap();
        assert_eq!(
            super::lines("fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap(), &[longest]).len(),
            1
        );
    }

    #[test]
    fn a_slot_crosses_no_page() {
        assert_eq!(4096 % SLOT, 0);
        let longest = ["255.255.255.255", "fd00:1111:2222:3333:4444:5555:6666:7777"];
        let longest = longest.map(|ip| header(Some(ip.parse().unwrap())));
        for header in &longest {
            let text = String::from_utf8(header.clone()).unwrap();
            assert!(text.trim_end().ends_with(" host.containers.internal host.docker.internal"), "{text}");
        }
        for slot in longest.into_iter().chain([header(None), blank()]) {
            assert_eq!((slot.len(), slot.last()), (SLOT, Some(&b'\n')));
        }
    }
}
