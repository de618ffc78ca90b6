//! Every option, declared once. A field of [`Options`] is a flag, an environment variable, a key
//! of the configuration file and, unless only the administrator may set it, an annotation.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::setting::{Setting, Value};
use crate::error::{Error, Kind};
use crate::model::dns::{Domain, HostEntry, HostName, ResolverOption, Server};
use crate::model::host_device::HostDevice;
use crate::model::place::Place;
use crate::model::publish::PublishList;
use crate::model::rate::Rate;
use crate::model::route::RouteSpec;
use crate::model::rule::Backend;
use crate::model::value::{Gateway, Iface, Mac, Mtu};

/// Whether an annotation may set an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Annotation {
    /// Unless the policy denies it.
    Allowed,
    /// Only if the policy allows it.
    ByPolicy,
    /// Only the administrator may set it.
    Never,
}

/// What is known of one option beside its flag. Files, annotations and what the hook is told are
/// read by this and not by clap: making a parser takes longer than everything else in the hook.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) ident: &'static str,
    pub(super) annotation: Annotation,
    /// What its flag says without a value, if it may stand so.
    pub(super) alone: Option<&'static str>,
    /// Sets it from text.
    pub(super) set: fn(&mut Options, &str) -> Result<(), String>,
    arguments: fn(&Options, &str) -> Vec<String>,
}

macro_rules! options {
    ($($(#[$attribute:meta])* $field:ident: $kind:ty => $annotation:ident,)+) => {
        /// The options of one source; what it does not say is `None` or empty.
        #[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
        pub struct Options {
            $($(#[$attribute])* #[arg(long, global = true)] pub $field: $kind,)+
        }

        /// Every option, in the order of the help.
        pub(super) const FIELDS: &[Field] = &[$(Field {
            ident: stringify!($field),
            annotation: Annotation::$annotation,
            alone: <$kind as Setting>::ALONE,
            set: |options, text| options.$field.set(text),
            arguments: |options, name| options.$field.arguments(name),
        }),+];

        impl Options {
            /// These, and where they say nothing those `below`.
            #[must_use]
            pub fn over(self, below: Self) -> Self {
                Self { $($field: self.$field.over(below.$field)),+ }
            }
        }
    };
}

options! {
    /// Networks by name, in the grammar of [`crate::model::place`].
    #[arg(env = "NETNS_NETWORK", value_name = "SPEC", value_delimiter = Place::DELIMITER)]
    #[arg(help = "Attach to a network that the configuration file defines: NAME[:KEY=VALUE,...], \
                  with the keys ip, iface, mac, metric, alias, mtu, route, publish, rate-in, rate-out, and \
                  no-default-route; \
                  the first is eth0")]
    network: Vec<Place> => Allowed,

    /// Bridge to create or reuse [default: netns0]
    #[arg(env = "NETNS_BRIDGE", value_name = "NAME")]
    bridge: Option<Iface> => ByPolicy,

    /// The bridge's address: the containers' gateway and subnet [default: its own, else 172.19.0.1/16]
    #[arg(env = "NETNS_IP", value_name = "CIDR", value_delimiter = Gateway::DELIMITER)]
    ip: Vec<Gateway> => ByPolicy,

    /// Interface inside the container [default: eth0]
    #[arg(env = "NETNS_IFACE", value_name = "NAME")]
    iface: Option<Iface> => ByPolicy,

    /// MTU of bridge and veth in bytes [default: that of the default route's link, else 1500]
    #[arg(env = "NETNS_MTU", value_name = "N")]
    mtu: Option<Mtu> => ByPolicy,

    /// Who takes the rules: iptables or nftables [default: who has the network's, else iptables]
    #[arg(env = "NETNS_FIREWALL", value_name = "NAME")]
    firewall: Option<Backend> => Never,

    /// The container's address [default: leased from the subnet]
    #[arg(env = "NETNS_STATIC_IP", value_name = "ADDR", value_delimiter = IpAddr::DELIMITER)]
    static_ip: Vec<IpAddr> => Allowed,

    /// Link-layer address of the interface inside [default: from the container's address]
    #[arg(env = "NETNS_MAC", value_name = "MAC")]
    mac: Option<Mac> => Allowed,

    /// Route of the container: CIDR [via ADDR] [metric N], or blackhole, unreachable, prohibit for via
    #[arg(env = "NETNS_ROUTE", value_name = "ROUTE", value_delimiter = RouteSpec::DELIMITER)]
    route: Vec<RouteSpec> => ByPolicy,

    /// No default route for the container
    #[arg(env = "NETNS_NO_DEFAULT_ROUTE", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_default_route: Option<bool> => Allowed,

    /// How fast the container receives at most on each network: 100mbit, or with a burst 100mbit,32kb
    #[arg(env = "NETNS_RATE_IN", value_name = "RATE[,BURST]")]
    rate_in: Option<Rate> => Allowed,

    /// How fast the container sends at most on each network
    #[arg(env = "NETNS_RATE_OUT", value_name = "RATE[,BURST]")]
    rate_out: Option<Rate> => Allowed,

    /// Ports to publish, in the grammar of [`crate::model::publish`].
    #[arg(env = "NETNS_PUBLISH", value_name = "SPEC", short = 'p')]
    #[arg(help = "Publish a port: [[host-ip:][host-port]:]container-port[/tcp|udp|sctp][,from=CIDR]; \
                  ranges as 80-90")]
    publish: Vec<PublishList> => Allowed,

    /// Devices of the host to move in, in the grammar of [`crate::model::host_device`].
    #[arg(env = "NETNS_NIC", value_name = "SPEC", value_delimiter = HostDevice::DELIMITER)]
    #[arg(help = "Move an interface of the host in: \
                  NIC[=name][,ip=CIDR][,gateway=ADDR][,mac=MAC][,mtu=N][,force]")]
    nic: Vec<HostDevice> => ByPolicy,

    /// No bridge, veth pair, lease or masquerade: only the interfaces of --nic
    #[arg(env = "NETNS_NO_BRIDGE", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    no_bridge: Option<bool> => ByPolicy,

    /// File for the leased address; relative to the bundle [default: .ip]
    #[arg(env = "NETNS_IPFILE", value_name = "PATH")]
    ipfile: Option<String> => Allowed,

    /// Show the container's network namespace in `ip netns`, under the container's id
    #[arg(env = "NETNS_NAME_NETNS", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    name_netns: Option<bool> => ByPolicy,

    /// Name server in the container's resolv.conf [default: those of the host]
    #[arg(env = "NETNS_DNS", value_name = "ADDR", value_delimiter = Server::DELIMITER)]
    dns: Vec<Server> => Allowed,

    /// Search domain in the container's resolv.conf, "." for none [default: those of the host]
    #[arg(env = "NETNS_DNS_SEARCH", value_name = "DOMAIN", value_delimiter = Domain::DELIMITER)]
    dns_search: Vec<Domain> => Allowed,

    /// Option in the container's resolv.conf, as ndots:2 [default: those of the host]
    #[arg(env = "NETNS_DNS_OPTION", value_name = "OPT", value_delimiter = ResolverOption::DELIMITER)]
    dns_option: Vec<ResolverOption> => Allowed,

    /// Name of the container for its neighbours, beside its id and its hostname
    #[arg(env = "NETNS_ALIAS", value_name = "NAME", value_delimiter = HostName::DELIMITER)]
    alias: Vec<HostName> => Allowed,

    /// The hosts file with the neighbours' names also where the engine mounts one of its own, as docker and podman do
    #[arg(env = "NETNS_NAMES", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    names: Option<bool> => Allowed,

    /// Another host in the container's hosts file, as NAME:ADDR
    #[arg(env = "NETNS_ADD_HOST", value_name = "NAME:ADDR", value_delimiter = HostEntry::DELIMITER)]
    add_host: Vec<HostEntry> => Allowed,

    /// Leave the container's resolv.conf and hosts alone
    #[arg(env = "NETNS_NO_DNS", value_name = "BOOL", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    no_dns: Option<bool> => Allowed,

    /// Directory of leases and records [default: /run/netns-hook]
    #[arg(env = "NETNS_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf> => Never,

    /// Log each step, as ip(8) and the firewall would be told it, before it is taken
    #[arg(env = "NETNS_DEBUG", short, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_possible_values = true)]
    debug: Option<bool> => Never,

    /// Append what goes to standard error to this file as well
    #[arg(env = "NETNS_LOG", value_name = "FILE")]
    log: Option<PathBuf> => Never,
}

impl Options {
    /// The flags that say the same.
    pub fn arguments(&self) -> Vec<String> {
        FIELDS.iter().flat_map(|field| (field.arguments)(self, &field.name())).collect()
    }
}

impl Field {
    /// The option's name.
    pub(super) fn name(&self) -> String {
        self.ident.replace('_', "-")
    }

    /// Whether the option says anything.
    pub(super) fn is_set(&self, options: &Options) -> bool {
        !(self.arguments)(options, "").is_empty()
    }
}

/// The option of this name.
///
/// # Errors
/// There is none: the nearest that there is.
pub(super) fn find(name: &str) -> Result<&'static Field, Option<String>> {
    let named = FIELDS.iter().find(|field| field.name() == name);
    named.ok_or_else(|| nearest(name, FIELDS.iter().map(Field::name)))
}

/// The one of `known` that `name` is most likely a misspelling of.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    // A stranger may have chosen the name, and comparing takes memory in proportion to its length.
    let comparable = known.filter(|known| name.len() <= 2 * known.len());
    let compared = comparable.map(|known| (strsim::damerau_levenshtein(&known, name), known));
    let nearest = compared.min_by_key(|(distance, _)| *distance);
    nearest.filter(|(distance, known)| *distance <= known.len() / 2).map(|(_, known)| known)
}

/// The error for a name that nothing has; `nearest` is what was probably meant.
pub(super) fn unknown(operation: &str, what: &str, nearest: Option<String>) -> Error {
    let error = Error::new(operation, format!("unknown {what}")).of(Kind::Input);
    match nearest {
        Some(nearest) => error.hint(format!("did you mean {nearest}?")),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::{Command, FromArgMatches};

    use super::*;
    use crate::config::{annotations, file};

    /// The option set to a value that it takes, and that value.
    fn sample(field: &Field) -> (Options, &'static str) {
        let values = [
            "true",
            "10.7.0.1",
            "10.7.0.1/24",
            "1400",
            "ndots:2",
            "nftables",
            "02:00:00:00:00:07",
            "nas:10.7.0.1",
        ];
        let mut set = values.into_iter().filter_map(|value| {
            let mut options = Options::default();
            (field.set)(&mut options, value).ok().map(|()| (options, value))
        });
        set.next().unwrap()
    }

    fn command() -> Command {
        Options::augment_args(Command::new("netns"))
    }

    #[test]
    fn every_option_is_a_flag_a_variable_a_key_of_the_file_and_an_annotation() {
        let annotated = FIELDS.iter().filter(|field| field.annotation != Annotation::Never);
        let names: Vec<String> = annotated.map(|field| format!("'{}'", field.name())).collect();
        let text = format!("[policy]\noptions = [{}]", names.join(", "));
        let policy = file::parse(&text, Path::new("/f")).unwrap().policy;
        for field in FIELDS {
            let (name, (options, value)) = (field.name(), sample(field));
            assert_ne!(options, Options::default(), "{name}");

            let command = command();
            let flag = command.get_arguments().find(|arg| arg.get_long() == Some(&name)).unwrap();
            let variable = format!("NETNS_{}", field.ident.to_ascii_uppercase());
            assert_eq!(flag.get_env().unwrap().to_str(), Some(variable.as_str()));
            assert!(flag.is_global_set(), "{name}");

            let text = format!("{name} = '{value}'");
            assert_eq!(file::parse(&text, Path::new("/f")).unwrap().options, options, "{name}");

            let annotated = annotations(&[(format!("org.netns.{name}"), value.to_owned())].into(), &policy);
            match field.annotation {
                Annotation::Never => assert_eq!(annotated.unwrap_err().kind(), Kind::Denied, "{name}"),
                _ => assert_eq!(annotated.unwrap(), options, "{name}"),
            }
        }
    }

    #[test]
    fn the_arguments_of_options_are_flags_that_say_the_same() {
        let everything = FIELDS.iter().map(|field| sample(field).0).reduce(Options::over).unwrap();
        for options in FIELDS.iter().map(|field| sample(field).0).chain([everything, Options::default()]) {
            let arguments = std::iter::once("netns".to_owned()).chain(options.arguments());
            let matches = command().try_get_matches_from(arguments).unwrap();
            assert_eq!(Options::from_arg_matches(&matches).unwrap(), options);
        }
        let no =
            Options { no_bridge: Some(false), nic: vec!["a,mtu=68".parse().unwrap()], ..Options::default() };
        assert_eq!(no.arguments(), ["--nic=a,mtu=68", "--no-bridge=false"]);
    }

    #[test]
    fn a_layer_answers_where_those_above_say_nothing() {
        for field in FIELDS {
            let (options, name) = (sample(field).0, field.name());
            assert_eq!(Options::default().over(options.clone()), options, "{name}");
            assert_eq!(options.clone().over(Options::default()), options, "{name}");
        }
    }

    #[test]
    fn a_list_is_bounded_and_adds_up() {
        for (name, value, most) in [
            ("publish", "80", "1024 ports or ranges"),
            ("nic", "ens6", "64 interfaces"),
            ("dns", "10.0.0.1", "3"),
            ("alias", "web", "16"),
            ("dns-search", ".", "16"),
            ("dns-option", "rotate", "16"),
        ] {
            let (mut options, set) = (Options::default(), find(name).unwrap().set);
            let fits: usize = most.split(' ').next().unwrap().parse().unwrap();
            for _ in 0..fits {
                set(&mut options, value).unwrap();
            }
            assert_eq!(set(&mut options, value), Err(format!("more than {most}")));
        }
    }

    #[test]
    fn a_suggestion_is_near_and_a_long_name_is_compared_with_nothing() {
        assert_eq!(find("publsh").unwrap_err().as_deref(), Some("publish"));
        assert_eq!(find("static_ip").unwrap_err().as_deref(), Some("static-ip"));
        for name in ["", "x", "zzzzzzzz", &"bridge".repeat(1 << 20)] {
            assert_eq!(find(name).unwrap_err(), None);
        }
    }
}
