//! One layer of options: the flags as clap parses them, and the same by name for the
//! configuration file and the annotations.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::names::{Domain, HostName, MAX_SERVERS, MAX_WORDS, ResolverOption, Server};
use super::nic::Nic;
use super::publish::Publish;
use super::value::{Gateway, Iface, Mtu};
use crate::error::{Error, is_obeyed};

/// The options of one source; what it does not say is `None` or empty.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
#[command(next_help_heading = "Options")]
pub struct Options {
    /// Bridge to create or reuse [default: netns0]
    #[arg(long, global = true, env = "NETNS_BRIDGE", value_name = "NAME")]
    pub bridge: Option<Iface>,
    /// The bridge's address: the containers' gateway and subnet [default: 172.19.0.1/16]
    #[arg(long, global = true, env = "NETNS_IP", value_name = "CIDR")]
    pub ip: Option<Gateway>,
    /// Interface inside the container [default: eth0]
    #[arg(long, global = true, env = "NETNS_IFACE", value_name = "NAME")]
    pub iface: Option<Iface>,
    /// MTU of bridge and veth in bytes [default: that of the default route's link, else 1500]
    #[arg(long, global = true, env = "NETNS_MTU", value_name = "N")]
    pub mtu: Option<Mtu>,
    /// The container's address [default: leased from the subnet]
    #[arg(long, global = true, env = "NETNS_STATIC_IP", value_name = "ADDR")]
    pub static_ip: Option<IpAddr>,
    /// Ports to publish, in the grammar of [`super::publish`].
    #[arg(
        long,
        short = 'p',
        global = true,
        env = "NETNS_PUBLISH",
        value_name = "SPEC",
        value_delimiter = ',',
        help = "Publish a port: [[host-ip:][host-port]:]container-port[/tcp|udp|sctp]; ranges as 80-90"
    )]
    pub publish: Vec<Publish>,
    /// Interfaces of the host to move in, in the grammar of [`super::nic`].
    #[arg(
        long,
        global = true,
        env = "NETNS_NIC",
        value_name = "SPEC",
        value_delimiter = ';',
        help = "Move an interface of the host in: NIC[=name][,ip=CIDR][,gateway=ADDR][,mac=MAC][,mtu=N][,force]"
    )]
    pub nic: Vec<Nic>,
    /// No bridge, cable, lease or masquerade: only the interfaces of --nic
    #[arg(
        long,
        global = true,
        env = "NETNS_NO_BRIDGE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "YES",
        hide_possible_values = true,
        value_parser = BoolishValueParser::new()
    )]
    pub no_bridge: Option<bool>,
    /// File for the leased address; relative to the bundle [default: .ip]
    #[arg(long, global = true, env = "NETNS_IPFILE", value_name = "PATH")]
    pub ipfile: Option<String>,
    /// Show the container's network namespace in `ip netns`, under the container's id
    #[arg(
        long,
        global = true,
        env = "NETNS_NAME_NETNS",
        value_parser = BoolishValueParser::new(),
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub name_netns: Option<bool>,
    /// Name server in the container's resolv.conf [default: those of the host]
    #[arg(long, global = true, env = "NETNS_DNS", value_name = "ADDR", value_delimiter = ',')]
    pub dns: Vec<Server>,
    /// Search domain in the container's resolv.conf, "." for none [default: those of the host]
    #[arg(long, global = true, env = "NETNS_DNS_SEARCH", value_name = "DOMAIN", value_delimiter = ',')]
    pub dns_search: Vec<Domain>,
    /// Option in the container's resolv.conf, as ndots:2 [default: those of the host]
    #[arg(long, global = true, env = "NETNS_DNS_OPTION", value_name = "OPT", value_delimiter = ',')]
    pub dns_option: Vec<ResolverOption>,
    /// Name of the container for its neighbours, beside its id and its hostname
    #[arg(long, global = true, env = "NETNS_ALIAS", value_name = "NAME", value_delimiter = ',')]
    pub alias: Vec<HostName>,
    /// Leave the container's resolv.conf and hosts alone
    #[arg(
        long,
        global = true,
        env = "NETNS_NO_DNS",
        value_parser = BoolishValueParser::new(),
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_dns: Option<bool>,
    /// Directory of leases and records [default: /run/netns-hook]
    #[arg(long, global = true, env = "NETNS_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Log each step, as ip(8) and iptables(8) would be told it, before it is taken
    #[arg(short, long, global = true, env = "NETNS_DEBUG", value_parser = BoolishValueParser::new())]
    pub debug: bool,
    /// Append what goes to standard error to this file as well
    #[arg(long, global = true, env = "NETNS_LOG", value_name = "FILE")]
    pub log: Option<PathBuf>,
}

/// The names of all options that a file may set.
pub(super) const NAMES: [&str; 18] = [
    "bridge",
    "ip",
    "iface",
    "mtu",
    "static-ip",
    "publish",
    "nic",
    "no-bridge",
    "ipfile",
    "dns",
    "dns-search",
    "dns-option",
    "alias",
    "no-dns",
    "name-netns",
    "state-dir",
    "debug",
    "log",
];
/// Those that an annotation may not set.
pub(super) const ADMINISTRATORS: [&str; 4] = ["state-dir", "config", "debug", "log"];

/// The most ports or ranges that one container may ask for. Each is compared with all others
/// while other containers wait for the lock: 60,000 of them, which fit a state document, would
/// hold it for minutes.
const MAX_PUBLISH: usize = 1024;

/// The most interfaces of the host that one container may ask for, for the same reason.
const MAX_NICS: usize = 64;

/// Why [`Options::set`] refused.
#[derive(Debug)]
pub(super) enum Problem {
    /// No option has this name; the nearest that one has.
    Unknown(Option<&'static str>),
    /// The value does not parse.
    Value(String),
}

impl Options {
    /// Sets one option by name from text; a list may be given with commas, and adds up.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        match name {
            "bridge" => self.bridge = Some(parse(value)?),
            "ip" => self.ip = Some(parse(value)?),
            "iface" => self.iface = Some(parse(value)?),
            "mtu" => self.mtu = Some(parse(value)?),
            "static-ip" => self.static_ip = Some(parse(value)?),
            "publish" => {
                for spec in value.split(',') {
                    self.publish.push(parse(spec.trim())?);
                }
                if self.publish.len() > MAX_PUBLISH {
                    return Err(Problem::Value(format!("more than {MAX_PUBLISH} ports or ranges")));
                }
            }
            "nic" => {
                for spec in value.split(';') {
                    self.nic.push(parse(spec.trim())?);
                }
                if self.nic.len() > MAX_NICS {
                    return Err(Problem::Value(format!("more than {MAX_NICS} interfaces")));
                }
            }
            "no-bridge" => self.no_bridge = Some(parse(value)?),
            "ipfile" if value.contains(is_obeyed) => {
                return Err(Problem::Value("there are control characters in it".to_owned()));
            }
            "ipfile" => self.ipfile = Some(value.to_owned()),
            "dns" => add(&mut self.dns, value, MAX_SERVERS)?,
            "dns-search" => add(&mut self.dns_search, value, MAX_WORDS)?,
            "dns-option" => add(&mut self.dns_option, value, MAX_WORDS)?,
            "alias" => add(&mut self.alias, value, MAX_WORDS)?,
            "no-dns" => self.no_dns = Some(parse(value)?),
            "name-netns" => self.name_netns = Some(parse(value)?),
            "state-dir" => self.state_dir = Some(value.into()),
            "debug" => self.debug = parse(value)?,
            "log" => self.log = Some(value.into()),
            _ => return Err(Problem::Unknown(nearest(name, &NAMES))),
        }
        Ok(())
    }

    /// The flags that say the same.
    pub fn arguments(&self) -> Vec<String> {
        let text = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let single = [
            ("bridge", self.bridge.as_ref().map(ToString::to_string)),
            ("ip", self.ip.map(|Gateway(ip)| ip.to_string())),
            ("iface", self.iface.as_ref().map(ToString::to_string)),
            ("mtu", self.mtu.map(|Mtu(mtu)| mtu.to_string())),
            ("static-ip", self.static_ip.map(|ip| ip.to_string())),
            ("ipfile", self.ipfile.clone()),
            ("name-netns", self.name_netns.map(|yes| yes.to_string())),
            ("state-dir", text(&self.state_dir)),
            ("log", text(&self.log)),
            ("no-dns", self.no_dns.map(|yes| yes.to_string())),
            ("debug", self.debug.then(String::new)),
            ("no-bridge", self.no_bridge.map(|yes| if yes { String::new() } else { yes.to_string() })),
        ];
        let single = single.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let publish = self.publish.iter().map(|publish| ("publish", publish.to_string()));
        let servers = self.dns.iter().map(|server| ("dns", server.to_string()));
        let search = self.dns_search.iter().map(|domain| ("dns-search", domain.to_string()));
        let options = self.dns_option.iter().map(|option| ("dns-option", option.to_string()));
        let aliases = self.alias.iter().map(|alias| ("alias", alias.to_string()));
        let names = servers.chain(search).chain(options).chain(aliases);
        let nic = self.nic.iter().map(|nic| ("nic", nic.to_string()));
        let argument = |(name, value): (&str, String)| match value.as_str() {
            "" => format!("--{name}"),
            value => format!("--{name}={value}"),
        };
        single.chain(publish).chain(nic).chain(names).map(argument).collect()
    }
}

impl Problem {
    /// The error for the option that `operation` describes; `prefix` goes before the name that
    /// it suggests.
    pub(super) fn into_error(self, operation: String, prefix: &str) -> Error {
        match self {
            Self::Value(cause) => Error::new(operation, cause),
            Self::Unknown(None) => Error::new(operation, "unknown option"),
            Self::Unknown(Some(name)) => {
                Error::new(operation, "unknown option").hint(format!("did you mean {prefix}{name}?"))
            }
        }
    }
}

/// Adds the values of a list, which may be given with commas.
fn add<T: std::str::FromStr<Err: std::fmt::Display>>(
    list: &mut Vec<T>,
    value: &str,
    most: usize,
) -> Result<(), Problem> {
    for one in value.split(',') {
        list.push(parse(one.trim())?);
    }
    if list.len() > most { Err(Problem::Value(format!("more than {most}"))) } else { Ok(()) }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(value: &str) -> Result<T, Problem> {
    value.parse().map_err(|cause: T::Err| Problem::Value(cause.to_string()))
}

/// The one of `known` that `name` is most likely a misspelling of.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(known, name);
    known.iter().copied().min_by_key(distance).filter(|known| distance(known) <= known.len() / 2)
}
