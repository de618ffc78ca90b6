//! One reversible change, and its text in the dialect of `ip(8)`, `sysctl(8)` and `iptables(8)`.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::names::Covering;
use crate::config::value::Iface;
use crate::firewall::{Rule, iptables};
use crate::kernel::named;
use crate::link::bridge::Bridge;
use crate::link::physical::Physical;
use crate::link::veth::Veth;

/// One reversible change of the machine.
///
/// `pid` is a process in whose network namespace the step is taken; without one it is the
/// host's. 0 is no process: the namespace was given by its path, which the text calls `$NETNS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Rules of the firewall.
    Firewall(Rule),
    /// A kernel parameter.
    Sysctl {
        /// Where.
        pid: Option<i32>,
        /// Below `/proc/sys`, with slashes.
        key: String,
        /// What it is set to.
        value: String,
        /// What it was, and is set to again; `None` where it goes with its device.
        before: Option<String>,
    },
    /// A new bridge.
    AddBridge(Bridge),
    /// A new cable.
    AddVeth(Veth),
    /// The text that `ip link` shows beside a link.
    SetAlias {
        /// The host's link.
        link: Iface,
        /// At most 255 bytes.
        alias: String,
    },
    /// A port of a bridge may send a packet back out of the port that it came in by.
    Hairpin {
        /// The host's link.
        link: Iface,
    },
    /// A link of the host becomes a port of a bridge.
    SetMaster {
        /// The link; one that is gone meanwhile needs no bridge.
        link: Iface,
        /// The bridge.
        bridge: Iface,
    },
    /// Another MTU for a link of the host.
    SetMtu {
        /// The link.
        link: Iface,
        /// In bytes.
        mtu: u32,
        /// What it was.
        before: u32,
    },
    /// A link comes up.
    SetUp {
        /// Where.
        pid: Option<i32>,
        /// The link.
        link: Iface,
    },
    /// An address for a link.
    AddAddress {
        /// Where.
        pid: Option<i32>,
        /// The link.
        link: Iface,
        /// With its prefix length; IPv4 gets the subnet's broadcast address too.
        address: IpNetwork,
    },
    /// A container's default route.
    AddRoute {
        /// Where.
        pid: i32,
        /// The next hop.
        gateway: IpAddr,
        /// The link that it leaves by.
        link: Iface,
    },
    /// A name for the container's network namespace, as `ip netns` shows it.
    NameNetns {
        /// The container's id.
        name: String,
        /// Where.
        pid: i32,
        /// The inode of the namespace: another that has the name meanwhile is not ours.
        netns: u64,
    },
    /// A file for other hooks.
    WriteFile {
        /// The directory that symbolic links may lead to: the bundle, or the administrator's.
        base: PathBuf,
        /// Relative to `base`; no symbolic link is followed from here on.
        path: PathBuf,
        /// All of it.
        contents: String,
    },
    /// The directory of the files that a bridge's containers have mounted.
    KeepNames {
        /// With everything in it.
        dir: PathBuf,
    },
    /// A line of a bridge's `hosts` file.
    AddHost {
        /// The file.
        path: PathBuf,
        /// Where in it: see [`crate::names`].
        slot: u32,
        /// An address and names.
        line: String,
    },
    /// A `resolv.conf`.
    WriteResolver {
        /// The file.
        path: PathBuf,
        /// All of it.
        contents: String,
        /// Whether it is the one for everybody on the bridge, which goes with the directory.
        shared: bool,
    },
    /// Files of ours over those of the container.
    Cover(Covering),
    /// An interface of the host moves into the container.
    MoveNic(Box<Physical>),
    /// A way out for what is sent from one address, in a table of its own.
    AddSourceRoute {
        /// Where.
        pid: i32,
        /// The next hop.
        gateway: IpAddr,
        /// The link that it leaves by.
        link: Iface,
    },
    /// What is sent from an address, and for which only the default route is left, takes the
    /// way of [`Self::AddSourceRoute`].
    AddSourceRule {
        /// Where.
        pid: i32,
        /// The address.
        source: IpAddr,
    },
}

/// The table of [`Step::AddSourceRoute`], inside a container.
pub const SOURCE_TABLE: u8 = 172;

impl Step {
    /// Whether several records can hold the very same step: what networks share, what
    /// containers share, and what the containers of a pod share, the cable and a bundle's file.
    pub fn may_be_shared(&self) -> bool {
        match self {
            Self::Firewall(rule) => !matches!(rule, Rule::Publish { .. }),
            Self::Sysctl { before, .. } => before.is_some(),
            Self::AddVeth(_) | Self::NameNetns { .. } | Self::WriteFile { .. } | Self::MoveNic(_) => true,
            _ => false,
        }
    }

    /// Whether the step is about a container's own names and files.
    pub(super) fn is_of_names(&self) -> bool {
        matches!(self, Self::AddHost { .. } | Self::WriteResolver { .. } | Self::Cover(_))
    }

    /// The file of the name that the step gives a namespace.
    pub fn name_file(&self) -> Option<PathBuf> {
        match self {
            Self::NameNetns { name, .. } => Some(named::path(name)),
            _ => None,
        }
    }

    /// Whether the step has an undoing of its own. What is done to an end of a cable goes with
    /// the cable, and a container's loopback is the container's own: runtimes bring it up too.
    pub fn is_undone(&self) -> bool {
        match self {
            Self::Sysctl { before, .. } => before.is_some(),
            Self::SetUp { pid, .. } | Self::AddAddress { pid, .. } => pid.is_none(),
            Self::SetAlias { .. } | Self::SetMaster { .. } | Self::Hairpin { .. } | Self::AddRoute { .. } => {
                false
            }
            Self::WriteResolver { shared, .. } => !shared,
            Self::Cover(covering) => covering.runs,
            Self::AddSourceRoute { .. } | Self::AddSourceRule { .. } => false,
            _ => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firewall(rule) => {
                let lines: Vec<String> = iptables::commands(rule).iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Sysctl { pid, key, value, .. } => write!(f, "{}sysctl -w {key}={value}", inside(*pid)),
            Self::AddBridge(bridge) => bridge.fmt(f),
            Self::AddVeth(veth) => veth.fmt(f),
            Self::SetAlias { link, alias } => write!(f, "ip link set {link} alias {alias}"),
            Self::SetMaster { link, bridge } => write!(f, "ip link set {link} master {bridge}"),
            Self::Hairpin { link } => write!(f, "ip link set {link} type bridge_slave hairpin on"),
            Self::SetMtu { link, mtu, .. } => write!(f, "ip link set {link} mtu {mtu}"),
            Self::SetUp { pid, link } => write!(f, "{}ip link set {link} up", inside(*pid)),
            Self::AddAddress { pid, link, address } => {
                let broadcast = if address.is_ipv4() { " brd +" } else { "" };
                write!(f, "{}ip addr add {address}{broadcast} dev {link}", inside(*pid))
            }
            Self::AddRoute { pid, gateway, link } => {
                write!(f, "{}ip route add default via {gateway} dev {link}", inside(Some(*pid)))
            }
            Self::NameNetns { name, pid: 0, .. } => {
                write!(f, "mount --bind $NETNS {}", named::path(name).display())
            }
            Self::NameNetns { name, pid, .. } => write!(f, "ip netns attach {name} {pid}"),
            Self::WriteFile { base, path, contents } => {
                write!(f, "echo -n {contents} > {}", base.join(path).display())
            }
            Self::KeepNames { dir } => write!(f, "mkdir -p {}", dir.display()),
            Self::AddHost { path, line, .. } => write!(f, "echo {line} >> {}", path.display()),
            Self::WriteResolver { path, contents, .. } => {
                write!(f, "printf '{}' > {}", contents.replace('\n', "\\n"), path.display())
            }
            Self::Cover(covering) => covering.fmt(f),
            Self::MoveNic(nic) => nic.fmt(f),
            Self::AddSourceRoute { pid, gateway, link } => {
                let inside = inside(Some(*pid));
                write!(f, "{inside}ip route add default via {gateway} dev {link} table {SOURCE_TABLE}")
            }
            Self::AddSourceRule { pid, source } => {
                let inside = inside(Some(*pid));
                write!(f, "{inside}ip rule add from {source} lookup {SOURCE_TABLE} && ")?;
                write!(f, "{inside}ip rule add lookup main suppress_prefixlength 0")
            }
        }
    }
}

fn inside(pid: Option<i32>) -> String {
    match pid {
        None => String::new(),
        Some(0) => "nsenter --net=$NETNS ".to_owned(),
        Some(pid) => format!("nsenter -t {pid} -n "),
    }
}
