//! What the options of names and name servers must look like, and what they come to.
//!
//! All of it ends up in files that resolvers read word by word and line by line.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::Error;

/// How many name servers resolvers ask (`MAXNS` of glibc and musl); more would be ignored.
pub const MAX_SERVERS: usize = 3;
/// The most search domains, resolver options or aliases of one container.
pub const MAX_WORDS: usize = 16;
/// The longest name in a `hosts` file of ours, in bytes: with an address it fits a line.
pub const MAX_NAME: usize = 80;
/// The longest domain that DNS can say, in bytes (RFC 1035).
const MAX_DOMAIN: usize = 253;

/// What begins or ends a name by which a host means itself, with the domains that distributions
/// write after it (`localhost.localdomain`) or the labels before it (RFC 6761).
const HOST_ITSELF: [&str; 5] = ["localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"];

/// A name that a `hosts` file may give to a container: labels of letters, digits, `-` and `_`,
/// and nothing that means this host (`localhost`) or that reads as an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

/// A domain to look for short names in; `.` alone means none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(String);

/// A word of the `options` line of `resolv.conf(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolverOption(String);

/// A name server's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server(pub IpAddr);

shown_as_written! { HostName Domain ResolverOption Server Allowed }

/// Another host by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// What it is called.
    pub name: HostName,
    /// Its address.
    pub address: IpAddr,
}

impl HostName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Domain {
    /// Whether it is `.`, which asks for no search domain at all.
    pub fn is_root(&self) -> bool {
        self.0 == "."
    }
}

fn refuse(kind: &str, text: &str, cause: impl fmt::Display) -> Error {
    let shown: String = text.chars().take(64).collect();
    Error::new(format!("{kind} '{shown}'"), cause)
}

/// A label may have 64 characters, one more than DNS allows: a container's id has.
fn are_labels(text: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_label = |label: &str| {
        (1..=64).contains(&label.len())
            && label.bytes().all(fine)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.split('.').all(is_label)
}

impl FromStr for HostName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let (lower, mut of_host) = (text.to_ascii_lowercase(), HOST_ITSELF.iter());
        let [first, last] =
            [lower.split('.').next(), lower.rsplit('.').next()].map(Option::unwrap_or_default);
        let cause = if text.len() > MAX_NAME {
            format!("it is longer than {MAX_NAME} characters")
        } else if !are_labels(text) {
            "only letters, digits, - and _ may be in a name, and dots between its parts".to_owned()
        } else if last.bytes().all(|b| b.is_ascii_digit()) {
            "it reads as an address".to_owned()
        } else if of_host.any(|name| [first, last].contains(name)) {
            "it means whoever asks".to_owned()
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(refuse("host name", text, cause))
    }
}

impl FromStr for Domain {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "." || (text.len() <= MAX_DOMAIN && are_labels(text.strip_suffix('.').unwrap_or(text))) {
            return Ok(Self(text.to_owned()));
        }
        Err(refuse("search domain", text, "it is no domain; \".\" asks for none"))
    }
}

impl FromStr for ResolverOption {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-:_".contains(&b);
        if (1..=32).contains(&text.len()) && text.bytes().all(fine) {
            return Ok(Self(text.to_owned()));
        }
        Err(refuse("resolver option", text, "it is none of resolv.conf(5), as ndots:2"))
    }
}

impl FromStr for Server {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let ip: IpAddr = text.parse().map_err(|cause| refuse("name server", text, cause))?;
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(refuse("name server", text, "nobody has this address"));
        }
        Ok(Self(ip))
    }
}

impl FromStr for HostEntry {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || refuse("host", text, "it must be NAME:ADDR, as nas:10.0.0.5");
        let (name, address) = text.split_once(':').ok_or_else(form)?;
        let address = address.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(address);
        Ok(Self { name: name.parse()?, address: address.parse().map_err(|_| form())? })
    }
}

impl fmt::Display for HostEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.address)
    }
}

/// What one container is to get of names, every question answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Name servers in place of the host's.
    pub servers: Vec<Server>,
    /// Search domains in place of the host's.
    pub search: Vec<Domain>,
    /// Resolver options in place of the host's.
    pub options: Vec<ResolverOption>,
    /// Names of the container beside its id and its hostname.
    pub aliases: Vec<HostName>,
    /// Other hosts that it calls by name.
    pub hosts: Vec<HostEntry>,
    /// Whether it has names also where its engine mounts a `hosts` file.
    pub covers: bool,
    /// Whether the container's files are left alone.
    pub hands_off: bool,
    /// If names with a dot are bounded, what they are bounded to.
    pub allowed: Option<Vec<Allowed>>,
}

impl Names {
    /// Whether anything is asked for that a `resolv.conf` says.
    pub fn asks_for_resolver(&self) -> bool {
        !(self.servers.is_empty() && self.search.is_empty() && self.options.is_empty())
    }

    /// Whether anything is asked for that a `hosts` file is good for.
    pub fn asks_for_hosts(&self) -> bool {
        self.asks_for_resolver() || self.covers || !(self.aliases.is_empty() && self.hosts.is_empty())
    }

    /// Takes over what the engine's own `hosts` file says, which ours covers.
    pub fn learn(&mut self, told: Told) {
        let names = told.names.into_iter().filter(|name| self.allows(name)).collect::<Vec<_>>();
        self.aliases.extend(names);
        self.hosts.extend(told.hosts);
    }

    /// Whether a container may be called so on its own account. Where aliases are bounded,
    /// nobody calls himself `example.com` by his hostname either.
    pub fn allows(&self, name: &HostName) -> bool {
        let allowed = |list: &Vec<Allowed>| list.iter().any(|allowed| allowed.allows(name));
        !name.0.contains('.') || self.allowed.as_ref().is_none_or(allowed)
    }
}

/// What an engine tells of a container's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// What it is called besides.
    pub names: Vec<HostName>,
    /// Other hosts.
    pub hosts: Vec<HostEntry>,
}

/// A name, or `*.domain` for all names below a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(String);

impl Allowed {
    /// Whether `name` is the name, or below the domain.
    pub fn allows(&self, name: &HostName) -> bool {
        let name = name.0.to_ascii_lowercase();
        match self.0.strip_prefix('*') {
            Some(domain) => name.ends_with(domain),
            None => name == self.0,
        }
    }
}

impl FromStr for Allowed {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let _: HostName = text.strip_prefix("*.").unwrap_or(text).parse()?;
        Ok(Self(text.to_ascii_lowercase()))
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_resolvers_read_and_nobody_else_has() {
        let long = "x".repeat(65);
        for name in [
            "",
            "a b",
            "a\tb",
            "a\nb",
            "a#b",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a",
            "a-",
            "a/b",
            "ä",
            &long,
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "localhost.localdomain",
            "Localhost4",
            "localhost6.localdomain6",
            "10.0.0.1",
            "1234",
            "a:b",
            "a+b",
        ] {
            assert!(name.parse::<HostName>().is_err(), "{name:?}");
        }
        for name in ["web", "web-1", "my_app_1", "db.example.com", &"a".repeat(64), "4711a"] {
            assert!(name.parse::<HostName>().is_ok(), "{name:?}");
        }
    }

    #[test]
    fn what_goes_into_a_resolv_conf_is_one_word_of_it() {
        for text in ["", "a b", "a\nnameserver 6.6.6.6", "#", ";x", "a..b"] {
            assert!(text.parse::<Domain>().is_err(), "{text:?}");
            assert!(text.parse::<ResolverOption>().is_err(), "{text:?}");
        }
        for text in ["0.0.0.0", "::", "224.0.0.1", "one.one", "1.1.1.1 ", ""] {
            assert!(text.parse::<Server>().is_err(), "{text:?}");
        }
        assert!(".".parse::<Domain>().unwrap().is_root());
        assert!("example.com.".parse::<Domain>().is_ok() && "ndots:2".parse::<ResolverOption>().is_ok());
        assert!("127.0.0.1".parse::<Server>().is_ok(), "a resolver in the container itself");
    }

    #[test]
    fn another_host_is_a_name_and_an_address() {
        for (text, shown) in [("nas:10.0.0.5", "nas:10.0.0.5"), ("a.lan:[fd00::5]", "a.lan:fd00::5")] {
            assert_eq!(text.parse::<HostEntry>().unwrap().to_string(), shown);
            assert_eq!(shown.parse::<HostEntry>().unwrap().to_string(), shown);
        }
        for text in ["", "nas", "nas:", ":10.0.0.5", "nas:host", "localhost:10.0.0.5", "a b:10.0.0.5"] {
            assert!(text.parse::<HostEntry>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_bound_is_a_name_or_a_domain() {
        let allows =
            |bound: &str, name: &str| bound.parse::<Allowed>().unwrap().allows(&name.parse().unwrap());
        assert!(allows("*.example.com", "a.Example.com") && allows("db", "DB"));
        assert!(!allows("*.example.com", "example.com") && !allows("*.example.com", "a.badexample.com"));
        assert!(!allows("db", "a.db") && "*".parse::<Allowed>().is_err());
    }
}
