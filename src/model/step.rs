//! One reversible change of the machine, and its text in the dialect of `ip(8)` and `sysctl(8)`.
//! (A rule's text is that of the firewall that takes it.)

mod text;
mod traits;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

pub use self::traits::{Scope, Traits};
use super::device::MovedDevice;
use super::link::{Bridge, Ifb, Veth};
use super::mount::BindMounts;
use super::network::NetworkName;
use super::parent::{Child, Vlan};
use super::rate::TokenBucket;
use super::route::RouteSpec;
use super::rule::{Backend, Family, Rule};
use super::sandbox::Netns;
use super::value::{Iface, Mac};

/// One reversible change of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Rules of the firewall.
    Firewall(Rule),
    /// A kernel parameter.
    Sysctl {
        /// Where.
        netns: Netns,
        /// Below `/proc/sys`, with slashes.
        key: String,
        /// What it is set to.
        value: String,
        /// What it was, and is set to again; `None` where it goes with its device.
        before: Option<String>,
    },
    /// A new bridge.
    AddBridge(Bridge),
    /// A new veth pair.
    AddVeth(Veth),
    /// A new link for a VLAN.
    AddVlan(Vlan),
    /// A new interface on a link of the host.
    AddChild(Child),
    /// The text that `ip link` shows beside a link of the host.
    SetAlias {
        /// The link.
        link: Iface,
        /// At most 255 bytes.
        alias: String,
    },
    /// A port of a bridge may send a packet back out of the port that it came in by.
    Hairpin {
        /// The host's link.
        link: Iface,
    },
    /// A port of a bridge neither sends to other isolated ports nor gets anything from them.
    Isolate {
        /// The host's link.
        link: Iface,
    },
    /// A new link that what a container sends waits on.
    AddIfb(Ifb),
    /// A link of the host sends no faster than this.
    SetRate {
        /// The link.
        link: Iface,
        /// How fast.
        bucket: TokenBucket,
    },
    /// What comes in by a link of the host passes another first.
    Redirect {
        /// The link.
        link: Iface,
        /// The other.
        to: Iface,
    },
    /// A bridge of ours that somebody has renamed gets its name again.
    Rename {
        /// What it is called now.
        link: Iface,
        /// What it is to be called.
        name: Iface,
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
        netns: Netns,
        /// The link.
        link: Iface,
    },
    /// An address for a link.
    AddAddress {
        /// Where.
        netns: Netns,
        /// The link.
        link: Iface,
        /// With its prefix length; IPv4 gets the subnet's broadcast address too.
        address: IpNetwork,
        /// Whether it is IPv6's and nobody need be asked whether he has it: it can be used at once.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        nodad: bool,
    },
    /// A container's route.
    AddRoute {
        /// Where.
        netns: Netns,
        /// Which.
        route: RouteSpec,
        /// The link that it leaves by, if it leads anywhere.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<Iface>,
        /// The number of its table; `None` means the main one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<u8>,
    },
    /// A route of the host to one container whose MTU is less than its network's.
    AddHostRoute {
        /// The container's address.
        address: IpAddr,
        /// The bridge.
        link: Iface,
        /// In bytes.
        mtu: u32,
    },
    /// Where the host sends what is for an address, whatever anybody on the bridge says by ARP.
    AddNeighbour {
        /// The container's address.
        address: IpAddr,
        /// That of its interface.
        mac: Mac,
        /// The bridge.
        link: Iface,
    },
    /// By which port a bridge sends what is for an address, whoever else sends from it.
    PinPort {
        /// The address of the container's interface.
        mac: Mac,
        /// The host's link; one that is gone meanwhile needs none.
        link: Iface,
    },
    /// A name for the container's network namespace, as `ip netns` shows it.
    NameNetns {
        /// The container's id.
        name: String,
        /// Where.
        netns: Netns,
        /// The inode of the namespace: another that has the name meanwhile is not ours.
        inode: u64,
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
    /// The directory of the files that a network's containers have mounted.
    MakeNames {
        /// With everything in it.
        dir: PathBuf,
        /// By which containers reach the host.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<IpAddr>,
    },
    /// The `hosts` file of those who are on several networks, or who call others besides.
    JoinNames {
        /// The directory that it is in.
        dir: PathBuf,
        /// The networks, sorted.
        networks: Vec<NetworkName>,
        /// Lines besides those of the networks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lines: Vec<String>,
    },
    /// A line of a network's `hosts` file.
    AddHost {
        /// The file.
        path: PathBuf,
        /// Where in it: see [`crate::model::hosts`].
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
        /// Whether it is the one for everybody on the network, which goes with the directory.
        shared: bool,
    },
    /// Files of ours over those of the container.
    Mount(BindMounts),
    /// A device of the host moves into the container.
    MoveDevice(Box<MovedDevice>),
    /// What is sent from an address by a default route takes that of another table.
    AddSourceRule {
        /// Where.
        netns: Netns,
        /// The address.
        source: IpAddr,
        /// The table's number.
        table: u8,
    },
}

/// The first table of default routes for what is sent from one interface's addresses, inside a
/// container: each interface has its own.
pub const SOURCE_TABLE: u8 = 172;

/// What the shared name of [`Step::JoinNames`] begins with, before its directory's.
pub const JOINED: &str = "names-";

/// Where `ip-netns(8)` keeps names.
pub const NETNS_DIRECTORY: &str = "/run/netns";

impl Step {
    /// An address of a network's: a lease, or the gateway's.
    pub fn own_address(netns: Netns, link: Iface, address: IpNetwork) -> Self {
        Self::AddAddress { netns, link, address, nodad: address.is_ipv6() }
    }

    /// What several networks or containers call a step that they share, as a file's name;
    /// `None` for one that is not shared, or only by those in one network namespace.
    pub fn shared_name(&self) -> Option<String> {
        match self {
            Self::Firewall(Rule::Base { family, backend: Backend::Iptables }) => {
                Some(format!("firewall-{family}"))
            }
            Self::Firewall(Rule::Base { family, backend }) => Some(format!("{backend}-{family}")),
            Self::Firewall(Rule::OnlyOurs { family, bridged, backend }) => {
                let who = if *backend == Backend::Iptables { "firewall" } else { "nftables" };
                let family = if *family == Family::Ipv4 { "" } else { "-ipv6" };
                Some(format!("{who}-only{family}{}", if *bridged { "-bridged" } else { "" }))
            }
            Self::Firewall(Rule::Block { family, protocol, block }) => {
                Some(format!("publish-{family}-{protocol}-{block}"))
            }
            Self::Sysctl { key, before: Some(_), .. } => Some(key.replace('/', ":")),
            Self::AddVlan(vlan) => Some(format!("vlan-{}", vlan.name)),
            Self::JoinNames { dir, .. } => Some(format!("{JOINED}{}", dir.file_name()?.to_str()?)),
            _ => None,
        }
    }

    /// The rule, if it is one.
    pub fn rule(&self) -> Option<&Rule> {
        if let Self::Firewall(rule) = self { Some(rule) } else { None }
    }

    /// Whether what it made outlives the kernel: a file on a disk.
    pub fn outlives_a_boot(&self) -> bool {
        matches!(
            self,
            Self::WriteFile { .. }
                | Self::AddHost { .. }
                | Self::WriteResolver { .. }
                | Self::MakeNames { .. }
                | Self::JoinNames { .. }
        )
    }

    /// The file of the name that the step gives a namespace.
    pub fn name_file(&self) -> Option<PathBuf> {
        match self {
            Self::NameNetns { name, .. } => Some(Path::new(NETNS_DIRECTORY).join(name)),
            _ => None,
        }
    }
}
