//! A step's text.

use std::fmt;
use std::path::Path;

use super::{NETNS_DIRECTORY, Step};
use crate::model::network::NetworkName;
use crate::model::sandbox::Netns;
use crate::model::value::Iface;

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firewall(rule) => write!(f, "firewall {rule:?}"),
            Self::Sysctl { netns, key, value, .. } => write!(f, "{netns}sysctl -w {key}={value}"),
            Self::AddBridge(bridge) => bridge.fmt(f),
            Self::AddVeth(veth) => veth.fmt(f),
            Self::AddVlan(vlan) => vlan.fmt(f),
            Self::AddChild(child) => child.fmt(f),
            Self::SetAlias { link, alias } => write!(f, "ip link set {link} alias {alias}"),
            Self::Rename { link, name } => write!(f, "ip link set {link} name {name}"),
            Self::SetMaster { link, bridge } => write!(f, "ip link set {link} master {bridge}"),
            Self::Hairpin { link } => write!(f, "ip link set {link} type bridge_slave hairpin on"),
            Self::Isolate { link } => write!(f, "ip link set {link} type bridge_slave isolated on"),
            Self::AddIfb(ifb) => ifb.fmt(f),
            Self::SetRate { link, bucket } => write!(f, "tc qdisc replace dev {link} root {bucket}"),
            Self::Redirect { link, to } => redirect(link, to, f),
            Self::SetMtu { link, mtu, .. } => write!(f, "ip link set {link} mtu {mtu}"),
            Self::SetUp { netns, link } => write!(f, "{netns}ip link set {link} up"),
            Self::AddAddress { netns, link, address, nodad } => {
                let broadcast = if address.is_ipv4() { " brd +" } else { "" };
                let nodad = if *nodad { " nodad" } else { "" };
                write!(f, "{netns}ip addr add {address}{broadcast} dev {link}{nodad}")
            }
            Self::AddRoute { netns, route, link, table } => {
                write!(f, "{netns}ip route add {route}")?;
                link.iter().try_for_each(|link| write!(f, " dev {link}"))?;
                table.map_or(Ok(()), |table| write!(f, " table {table}"))
            }
            Self::AddHostRoute { address, link, mtu } => {
                write!(f, "ip route add {address} dev {link} mtu {mtu}")
            }
            Self::AddNeighbour { address, mac, link } => {
                write!(f, "ip neigh replace {address} lladdr {mac} dev {link} nud permanent")
            }
            Self::PinPort { mac, link } => {
                write!(f, "bridge fdb replace {mac} dev {link} master static sticky")
            }
            Self::NameNetns { name, netns: Netns::Pid(pid), .. } => write!(f, "ip netns attach {name} {pid}"),
            Self::NameNetns { name, .. } => write!(f, "mount --bind $NETNS {NETNS_DIRECTORY}/{name}"),
            Self::WriteFile { base, path, contents } => {
                write!(f, "echo -n {contents} > {}", base.join(path).display())
            }
            Self::MakeNames { dir, .. } => write!(f, "mkdir -p {}", dir.display()),
            Self::JoinNames { dir, networks, lines } => joined(f, dir, networks, lines),
            Self::AddHost { path, line, .. } => write!(f, "echo {line} >> {}", path.display()),
            Self::WriteResolver { path, contents, .. } => {
                write!(f, "printf '{}' > {}", contents.replace('\n', "\\n"), path.display())
            }
            Self::Mount(mounts) => mounts.fmt(f),
            Self::MoveDevice(device) => device.fmt(f),
            Self::AddSourceRule { netns, source, table } => {
                write!(f, "{netns}ip rule add from {source} lookup {table} && ")?;
                write!(f, "{netns}ip rule add lookup main suppress_prefixlength 0")
            }
        }
    }
}

fn redirect(link: &Iface, to: &Iface, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "tc qdisc replace dev {link} handle ffff: ingress && ")?;
    write!(f, "tc filter replace dev {link} ingress pref 1 handle 800::800 protocol all ")?;
    write!(f, "u32 match u32 0 0 action mirred egress redirect dev {to}")
}

fn joined(f: &mut fmt::Formatter<'_>, dir: &Path, networks: &[NetworkName], lines: &[String]) -> fmt::Result {
    let file = |name: &NetworkName| dir.with_file_name(name.as_str()).join("hosts");
    let from = networks.iter().map(|name| file(name).display().to_string()).collect::<Vec<_>>();
    let to = dir.join("hosts").display().to_string();
    write!(f, "cat {} > {to}", from.join(" "))?;
    lines.iter().try_for_each(|line| write!(f, " && echo {line} >> {to}"))
}
