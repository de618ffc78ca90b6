//! What annotations may ask for: the `[policy]` table of the configuration file.
//!
//! Annotations come from whoever may create containers. On a machine where that is root alone
//! there is nothing to bound, so without the table everything is allowed; nor does it bound
//! flags and the environment, which stand in hook definitions that only root writes. Each key
//! bounds one thing, and a key that is absent bounds nothing. What is denied is an error, and
//! nothing is done: an answer from a lower layer would not be what the container asked for.
//!
//! A strict example, for a machine whose network is not administered by those who create
//! containers:
//!
//! ```toml
#![doc = include_str!("../../examples/netns-hook.toml")]
//! ```

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use toml::{Table, Value};

use super::names::{Allowed, HostName};
use super::nic::Nic;
use super::options::{ADMINISTRATORS, NAMES, Options, nearest};
use super::publish::{DYNAMIC, Ports, Publish};
use super::value::{Iface, Mtu};
use crate::error::{Error, Result};

/// Bounds on annotations; `None` is no bound, and an empty list allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    options: Option<Vec<String>>,
    publish_ports: Option<Vec<Ports>>,
    publish_addresses: Option<Vec<IpNetwork>>,
    static_ips: Option<Vec<IpNetwork>>,
    bridges: Option<Vec<Iface>>,
    ips: Option<Vec<IpNetwork>>,
    ifaces: Option<Vec<Iface>>,
    mtus: Option<Vec<String>>,
    aliases: Option<Vec<Allowed>>,
    nics: Option<Vec<Nic>>,
}

/// Why not, unless it is allowed.
type Verdict = std::result::Result<(), String>;

/// The keys of the table.
const KEYS: [&str; 10] = [
    "options",
    "publish-ports",
    "publish-addresses",
    "static-ips",
    "bridges",
    "ips",
    "ifaces",
    "mtus",
    "aliases",
    "nics",
];

impl Policy {
    /// Reads the table; `operation` words what is being done with one of its keys.
    ///
    /// # Errors
    /// An unknown key, with the nearest known one, or a value that does not parse.
    pub(super) fn parse(table: &Table, operation: impl Fn(&str) -> String) -> Result<Self> {
        let mut policy = Self::default();
        for (key, value) in table {
            policy.set(key, value, &operation(key))?;
        }
        Ok(policy)
    }

    fn set(&mut self, key: &str, value: &Value, operation: &str) -> Result<()> {
        match key {
            "options" => {
                let names: Vec<String> = list(value, operation)?;
                names.iter().try_for_each(|name| check_option(name, operation))?;
                self.options = Some(names);
            }
            "publish-ports" => self.publish_ports = Some(list(value, operation)?),
            "publish-addresses" => self.publish_addresses = Some(list(value, operation)?),
            "static-ips" => self.static_ips = Some(list(value, operation)?),
            "bridges" => self.bridges = Some(list(value, operation)?),
            "ips" => self.ips = Some(list(value, operation)?),
            "ifaces" => self.ifaces = Some(list(value, operation)?),
            "aliases" => self.aliases = Some(list(value, operation)?),
            "mtus" => {
                let ranges: Vec<String> = list(value, operation)?;
                for range in &ranges {
                    mtus(range).map_err(|cause| Error::new(operation, cause))?;
                }
                self.mtus = Some(ranges);
            }
            "nics" => {
                let nics: Vec<Nic> = list(value, operation)?;
                if let Some(nic) = nics.iter().find(|nic| !nic.is_only_a_name()) {
                    return Err(Error::new(operation, format!("'{nic}': it must be a name, or NAME,force")));
                }
                self.nics = Some(nics);
            }
            _ => return Err(unknown(operation, "key", nearest(key, &KEYS))),
        }
        Ok(())
    }

    /// Whether an annotation may set the option `name` as it is set in `options`.
    ///
    /// # Errors
    /// It may not: the key that denies it, and what that allows.
    pub(super) fn check(&self, name: &str, options: &Options) -> Verdict {
        bound("options", self.options.as_ref(), Some(name), |allowed, name| allowed == name)?;
        let same = |allowed: &Iface, wanted: &Iface| allowed == wanted;
        match name {
            "publish" => options.publish.iter().try_for_each(|publish| self.check_publish(publish)),
            "static-ip" => {
                let wanted = options.static_ip;
                bound("static-ips", self.static_ips.as_ref(), wanted, |allowed, ip| allowed.contains(*ip))
            }
            "bridge" => bound("bridges", self.bridges.as_ref(), options.bridge.as_ref(), |a, b| same(a, b)),
            "iface" => bound("ifaces", self.ifaces.as_ref(), options.iface.as_ref(), |a, b| same(a, b)),
            "ip" => {
                let wanted = options.ip.map(|gateway| gateway.0);
                bound("ips", self.ips.as_ref(), wanted, |allowed, wanted| {
                    allowed.prefix() <= wanted.prefix() && allowed.contains(wanted.ip())
                })
            }
            "alias" => options.alias.iter().try_for_each(|alias| {
                bound("aliases", self.aliases.as_ref(), Some(alias), |allowed, alias: &&HostName| {
                    allowed.allows(alias)
                })
            }),
            "mtu" => {
                let wanted = options.mtu.map(|Mtu(mtu)| mtu);
                bound("mtus", self.mtus.as_ref(), wanted, |allowed, mtu| {
                    mtus(allowed).is_ok_and(|range| range.contains(mtu))
                })
            }
            "nic" => options.nic.iter().try_for_each(|nic| self.check_nic(nic)),
            // A file in the bundle, whoever asks: see [`super::annotations`].
            _ => Ok(()),
        }
    }

    /// What aliases are bounded to; no bound if `None`.
    pub fn aliases(&self) -> Option<&Vec<Allowed>> {
        self.aliases.as_ref()
    }

    /// Forcing takes the host off the network: no annotation may, unless the policy says so.
    fn check_nic(&self, nic: &Nic) -> Verdict {
        if nic.force && self.nics.is_none() {
            return Err(format!("only the policy's nics may allow it, as [\"{},force\"]", nic.name));
        }
        bound("nics", self.nics.as_ref(), Some(nic), |allowed, wanted| {
            allowed.name == wanted.name && (allowed.force || !wanted.force)
        })
    }

    /// A port that no host port is asked for gets any of the dynamic ones. One that no address
    /// is asked for is published on all of them, for which 0.0.0.0 must be allowed.
    fn check_publish(&self, publish: &Publish) -> Verdict {
        let ports = publish.host.unwrap_or(DYNAMIC);
        bound("publish-ports", self.publish_ports.as_ref(), Some(ports), |allowed, wanted| {
            allowed.first <= wanted.first && wanted.last <= allowed.last
        })?;
        let address = publish.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        bound("publish-addresses", self.publish_addresses.as_ref(), Some(address), |allowed, wanted| {
            // All addresses are more than any subnet that 0.0.0.0 happens to be in.
            allowed.contains(*wanted) && (!wanted.is_unspecified() || allowed.ip().is_unspecified())
        })
    }
}

/// Denies `wanted` unless one of `allowed` is a bound that it keeps.
fn bound<A: Display, W: Display>(
    key: &str,
    allowed: Option<&Vec<A>>,
    wanted: Option<W>,
    keeps: impl Fn(&A, &W) -> bool,
) -> Verdict {
    match (allowed, wanted) {
        (Some(allowed), Some(wanted)) if !allowed.iter().any(|allowed| keeps(allowed, &wanted)) => {
            let allowed: Vec<String> = allowed.iter().map(shown).collect();
            let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            Err(format!("the policy's {key} allows {allowed}, and not {wanted}"))
        }
        _ => Ok(()),
    }
}

/// A single address without the `/32` that it is read as.
fn shown(allowed: &impl Display) -> String {
    let text = allowed.to_string();
    match text.strip_suffix("/32") {
        Some(address) if !address.contains(':') => address.to_owned(),
        _ => text,
    }
}

fn list<T: FromStr<Err: Display>>(value: &Value, operation: &str) -> Result<Vec<T>> {
    let form = || Error::new(operation, "it must be a list of strings, as [\"one\", \"two\"]");
    let values = value.as_array().ok_or_else(form)?.iter();
    values
        .map(|value| {
            let text = value.as_str().ok_or_else(form)?;
            text.parse().map_err(|cause: T::Err| Error::new(operation, format!("'{text}': {cause}")))
        })
        .collect()
}

/// An annotation that could not be set anyway is a misunderstanding.
fn check_option(name: &str, operation: &str) -> Result<()> {
    if ADMINISTRATORS.contains(&name) {
        return Err(Error::new(operation, format!("no annotation may set {name}")));
    }
    if NAMES.contains(&name) {
        return Ok(());
    }
    Err(unknown(operation, &format!("option '{name}'"), nearest(name, &NAMES)))
}

fn unknown(operation: &str, what: &str, nearest: Option<&str>) -> Error {
    let error = Error::new(operation, format!("unknown {what}"));
    match nearest {
        Some(nearest) => error.hint(format!("did you mean {nearest}?")),
        None => error,
    }
}

fn mtus(text: &str) -> Result<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Mtu(first), Mtu(last)) = (first.parse()?, last.parse()?);
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;
    use proptest::prelude::*;
    use std::path::Path;

    fn policy(text: &str) -> Result<Policy> {
        Ok(file::parse(&format!("[policy]\n{text}"), Path::new("/f"))?.policy)
    }

    /// What the policy says to an annotation; empty if it is allowed.
    fn said(text: &str, name: &str, value: &str) -> String {
        let annotations = [(format!("org.netns.{name}"), value.to_owned())].into();
        let answer = crate::config::annotations(&annotations, &policy(text).unwrap());
        answer.map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn without_a_policy_everything_is_allowed() {
        for (name, value) in [("publish", "22:22"), ("bridge", "br0"), ("static-ip", "10.0.0.1")] {
            assert_eq!(said("", name, value), "");
        }
    }

    #[test]
    fn a_denial_names_the_rule_and_what_it_allows() {
        for (text, name, value, cause) in [
            (
                "publish-ports = ['8000-8999']",
                "publish",
                "22:22",
                "publish-ports allows 8000-8999, and not 22",
            ),
            ("publish-ports = []", "publish", "80:80", "publish-ports allows nothing, and not 80"),
            (
                "publish-addresses = ['127.0.0.1', '10.0.0.0/8']",
                "publish",
                "80:80",
                "publish-addresses allows 127.0.0.1, 10.0.0.0/8, and not 0.0.0.0",
            ),
            ("static-ips = ['172.19.9.0/24']", "static-ip", "172.19.8.1", "static-ips allows 172.19.9.0/24"),
            ("bridges = ['netns0']", "bridge", "br0", "bridges allows netns0, and not br0"),
            ("ifaces = ['eth0', 'net0']", "iface", "lo", "ifaces allows eth0, net0, and not lo"),
            ("mtus = ['1280-1500', '9000']", "mtu", "1501", "mtus allows 1280-1500, 9000, and not 1501"),
            ("ips = ['10.0.0.0/8']", "ip", "192.168.0.1/24", "ips allows 10.0.0.0/8"),
            (
                "aliases = ['db', '*.lan']",
                "alias",
                "github.com",
                "aliases allows db, *.lan, and not github.com",
            ),
            ("options = ['publish', 'mtu']", "bridge", "br0", "options allows publish, mtu, and not bridge"),
        ] {
            let said = said(text, name, value);
            let expected = format!("use annotation org.netns.{name}={value}: the policy's {cause}");
            assert!(said.starts_with(&expected), "{said}");
        }
    }

    #[test]
    fn what_keeps_the_bounds_is_allowed() {
        for (text, name, value) in [
            ("publish-ports = ['8000-8999', '53']", "publish", "8000-8999:80-1079,53:53/udp"),
            ("publish-addresses = ['127.0.0.0/8']", "publish", "127.0.0.9:80:80"),
            ("publish-addresses = ['0.0.0.0']", "publish", "80:80"),
            ("publish-ports = ['49152-65535']", "publish", "80"),
            ("static-ips = ['172.19.9.0/24']", "static-ip", "172.19.9.255"),
            ("ips = ['10.0.0.0/8']", "ip", "10.7.0.1/16"),
            ("mtus = ['1280-1500']", "mtu", "1280"),
            ("options = ['ipfile']", "ipfile", "net/ip"),
            ("aliases = ['db', '*.lan']", "alias", "db,a.b.lan"),
        ] {
            assert_eq!(said(text, name, value), "", "{text}");
        }
    }

    #[test]
    fn nothing_slips_between_the_bounds() {
        for (text, name, value) in [
            ("publish-ports = ['8000-8999']", "publish", "8000:80,8999-9000:81-82"),
            ("publish-ports = ['8000-8999']", "publish", "7000-9999:7000-9999"),
            ("publish-ports = ['8000-8999']", "publish", "80"),
            ("publish-ports = ['8000-8499', '8500-8999']", "publish", "8499-8500:1-2"),
            ("publish-addresses = ['10.0.0.1']", "publish", "0.0.0.0:80:80"),
            ("aliases = ['*.lan']", "alias", "a.lan,lan"),
            ("ips = ['10.0.0.0/8']", "ip", "10.0.0.1/7"),
            ("ips = ['10.0.0.0/16']", "ip", "10.0.0.1/8"),
        ] {
            assert_ne!(said(text, name, value), "", "{text} and {value}");
        }
    }

    #[test]
    fn a_mistake_in_the_policy_names_its_key() {
        for (text, problem) in [
            ("publish-port = ['1']", "unknown key\n  hint: did you mean publish-ports?"),
            ("options = ['publsh']", "unknown option 'publsh'\n  hint: did you mean publish?"),
            ("options = ['state-dir']", "no annotation may set state-dir"),
            ("publish-ports = '80'", "it must be a list of strings"),
            ("publish-ports = [80]", "it must be a list of strings"),
            ("publish-ports = ['90-80']", "'90-80': range 90-80 runs backwards"),
            ("static-ips = ['x']", "'x': "),
            ("mtus = ['1-2']", "mtu '1': "),
        ] {
            let error = policy(text).unwrap_err().to_string();
            let key = text.split(' ').next().unwrap_or_default();
            let operation = format!("use policy.{key} in configuration /f: ");
            assert!(error.starts_with(&operation) && error.contains(problem), "{error}");
        }
        let error = file::parse("policy = 'strict'", Path::new("/f")).unwrap_err().to_string();
        assert!(error.contains("use policy in configuration /f: it must be a table"), "{error}");
    }

    #[test]
    fn the_documented_example_is_strict_and_every_key_is_in_it() {
        let text = include_str!("../../examples/netns-hook.toml");
        let policy = file::parse(text, Path::new("/f")).unwrap().policy;
        assert!(KEYS.iter().all(|key| text.contains(&format!("\n{key} = "))), "{text}");
        let allowed = |name: &str, value: &str| {
            let annotations = [(format!("org.netns.{name}"), value.to_owned())].into();
            crate::config::annotations(&annotations, &policy).is_ok()
        };
        assert!(allowed("publish", "127.0.0.1:8000:80") && allowed("static-ip", "172.19.9.7"));
        for (name, value) in [
            ("publish", "22:22"),
            ("publish", "8000:80"),
            ("bridge", "br0"),
            ("mtu", "1400"),
            ("ip", "10.0.0.1/8"),
        ] {
            assert!(!allowed(name, value), "{name}={value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_allowed_is_allowed_port_by_port_and_address_by_address(
            ranges in proptest::collection::vec((1u16..100, 0u16..20), 0..4),
            nets in proptest::collection::vec((any::<[u8; 2]>(), 24u8..=32), 0..3),
            (first, count) in (1u16..100, 0u16..20), host in any::<[u8; 2]>(),
        ) {
            let ports = ranges.iter().map(|(first, more)| Ports { first: *first, last: first + more });
            let ip = |[a, b]: [u8; 2]| IpAddr::from([10, 0, a % 2, b]);
            let nets = nets.iter().map(|(host, prefix)| IpNetwork::new(ip(*host), *prefix).unwrap());
            let policy = Policy {
                publish_ports: Some(ports.collect()),
                publish_addresses: Some(nets.collect()),
                ..Policy::default()
            };
            let wanted = Ports { first, last: first + count };
            let text = format!("{}:{wanted}:{wanted}", ip(host));
            let allowed = policy.check_publish(&text.parse().unwrap()).is_ok();
            let by_port = (wanted.first..=wanted.last).all(|port| {
                policy.publish_ports.iter().flatten().any(|range| (range.first..=range.last).contains(&port))
            });
            let by_address = policy.publish_addresses.iter().flatten().any(|net| net.contains(ip(host)));
            prop_assert!(!allowed || (by_port && by_address));
            let without_address = policy.check_publish(&format!("{wanted}:{wanted}").parse().unwrap());
            prop_assert!(without_address.is_err(), "all addresses are more than some");
        }
    }
}
