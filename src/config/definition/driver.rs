//! The driver of a network: a bridge, or interfaces on a link of the host, with the keys of each.

use super::read::{Mistake, Told, Value, flag, parsed, text, word};
use crate::model::network::NetworkSpec;
use crate::model::parent::{ChildKind, IpvlanMode, MacvlanMode, Parent, Vlan};
use crate::model::value::Iface;

/// The keys that are about the host's side of a bridge.
const OF_BRIDGES: [&str; 10] = [
    "bridge",
    "mode",
    "mode-ipv4",
    "mode-ipv6",
    "isolate",
    "inter-container",
    "firewall",
    "subnet-from",
    "trusted-interfaces",
    "no-masquerade-to",
];

const DRIVERS: [(&str, Kind); 3] =
    [("bridge", Kind::Bridge), ("macvlan", Kind::Macvlan), ("ipvlan", Kind::Ipvlan)];
const MACVLAN_MODES: [(&str, MacvlanMode); 4] = [
    ("bridge", MacvlanMode::Bridge),
    ("private", MacvlanMode::Private),
    ("vepa", MacvlanMode::Vepa),
    ("passthru", MacvlanMode::Passthru),
];
const IPVLAN_MODES: [(&str, IpvlanMode); 3] =
    [("l2", IpvlanMode::L2), ("l3", IpvlanMode::L3), ("l3s", IpvlanMode::L3s)];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Bridge,
    Macvlan,
    Ipvlan,
}

/// What a definition says of its driver.
#[derive(Debug, Default)]
pub(super) struct Driver {
    kind: Kind,
    /// Where the driver stands.
    at: usize,
    /// Where each key stands that is not for every driver.
    keys: Vec<(usize, String)>,
    parent: Option<Iface>,
    vlan: Option<u16>,
    macvlan: MacvlanMode,
    ipvlan: IpvlanMode,
    host_access: bool,
    router_advertisements: bool,
}

impl Driver {
    /// Reads a key, if it is one of the driver's; whether it is.
    pub(super) fn set(&mut self, key: &str, at: usize, value: &Value<'_>) -> Told<bool> {
        match key {
            "driver" => (self.kind, self.at) = (word(value, &DRIVERS)?, value.span().start),
            "parent" => self.parent = Some(parsed(value)?),
            "vlan" => self.vlan = Some(vlan(value)?),
            "macvlan-mode" => self.macvlan = word(value, &MACVLAN_MODES)?,
            "ipvlan-mode" => self.ipvlan = word(value, &IPVLAN_MODES)?,
            "host-access" => self.host_access = flag(value)?,
            "router-advertisements" => self.router_advertisements = flag(value)?,
            other if OF_BRIDGES.contains(&other) => {
                self.keys.push((at, key.to_owned()));
                return Ok(false);
            }
            _ => return Ok(false),
        }
        self.keys.push((at, key.to_owned()));
        Ok(true)
    }

    fn find(&self, key: &str) -> usize {
        self.keys.iter().find(|(_, known)| known == key).map_or(self.at, |(at, _)| *at)
    }

    /// Refuses the first key that another driver has.
    fn check_keys(&self) -> Told<()> {
        let others = |key: &str| match self.kind {
            Kind::Bridge => key != "driver" && !OF_BRIDGES.contains(&key),
            Kind::Macvlan => key == "ipvlan-mode" || OF_BRIDGES.contains(&key),
            Kind::Ipvlan => key == "macvlan-mode" || key == "host-access" || OF_BRIDGES.contains(&key),
        };
        let Some((at, key)) = self.keys.iter().find(|(_, key)| others(key)) else { return Ok(()) };
        let mistake = |cause: String, hint: &str| Err(Mistake::at(*at, cause).hint(hint));
        match (self.kind, key.as_str()) {
            (Kind::Bridge, key) => {
                let hint = "write driver = \"macvlan\" (or \"ipvlan\"), or leave the key out";
                mistake(format!("{key} is for networks on a parent, and this one is on a bridge"), hint)
            }
            (_, "host-access") => {
                mistake("host-access takes macvlan".to_owned(), "the host is reached by a router, or not")
            }
            (_, key @ ("macvlan-mode" | "ipvlan-mode")) => {
                let right = if self.kind == Kind::Macvlan { "macvlan-mode" } else { "ipvlan-mode" };
                mistake(format!("{key} is that of another driver"), &format!("write {right}"))
            }
            (_, key) => {
                let cause = format!(
                    "{key} is for networks on a bridge: on a parent the host sees no packet to change"
                );
                mistake(cause, "leave it out, or write driver = \"bridge\"")
            }
        }
    }

    /// On which link of the host the network is, if it is on one.
    pub(super) fn parent(&self, spec: &NetworkSpec, has_subnets: bool) -> Told<Option<Parent>> {
        self.check_keys()?;
        let kind = match self.kind {
            Kind::Bridge => return Ok(None),
            Kind::Macvlan => ChildKind::Macvlan(self.macvlan),
            Kind::Ipvlan => ChildKind::Ipvlan(self.ipvlan),
        };
        let driver = kind.driver();
        let Some(link) = self.parent.clone() else {
            let mistake = Mistake::at(self.at, format!("{driver} takes a parent"));
            return Err(mistake.hint("write parent = \"ens6\", the host's link that leads to the wire"));
        };
        if !has_subnets {
            let mistake = Mistake::at(self.at, format!("{driver} takes the subnets of its wire"));
            return Err(mistake.hint("write subnets = [\"ROUTER/PREFIX\"], and lease-ranges of what is free"));
        }
        if self.host_access && kind != ChildKind::Macvlan(MacvlanMode::Bridge) {
            let cause = format!("in {kind} nobody reaches the host's interface");
            let mistake = Mistake::at(self.find("host-access"), cause);
            return Err(mistake.hint("write macvlan-mode = \"bridge\""));
        }
        let vlan = self.vlan.map(|id| {
            let name = format!("{link}.{id}").parse();
            let name = name.map_err(|cause| {
                Mistake::at(self.find("vlan"), cause).hint("rename the parent, or make the link by hand")
            });
            Ok(Vlan { name: name?, parent: link.clone(), id })
        });
        let (host_access, router_advertisements) = (self.host_access, self.router_advertisements);
        let parent = Parent { link, vlan: vlan.transpose()?, kind, host_access, router_advertisements };
        if host_access && [&parent.link, parent.lower()].contains(&&spec.bridge) {
            let mistake =
                Mistake::at(self.find("host-access"), "the host's interface is called as the network");
            return Err(mistake.hint("give the network another name than its parent's"));
        }
        Ok(Some(parent))
    }
}

fn vlan(value: &Value<'_>) -> Told<u16> {
    let id = text(value)?.parse().ok().filter(|id| (1..=4094).contains(id));
    id.ok_or_else(|| Mistake::at(value.span().start, "a VLAN has a number from 1 to 4094"))
}
