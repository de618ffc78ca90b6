//! Networks as the configuration file defines them, each once: `[network.NAME]`.
//!
//! A mistake is told with its line and column, and with what to write instead where that is known.

mod auto;
mod driver;
mod read;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use ipnetwork::IpNetwork;
use sha2::{Digest, Sha256};

pub(crate) use self::auto::free_ipv4;
use self::driver::Driver;
use self::read::{Mistake, Told, Value, all, array, flag, list, parsed, table, text, word};
use super::options::nearest;
use crate::error::{Error, Kind, Result};
use crate::model::dns::Server;
use crate::model::network::{Isolation, Mode, NetworkSpec};
use crate::model::range::LeaseRange;
use crate::model::route::{RouteSpec, Target};
use crate::model::rule::{Backend, Family};
use crate::model::value::{Gateway, Iface, Mtu, first_host, overlap, subnet};

/// The keys of a network.
const KEYS: [&str; 23] = [
    "driver",
    "bridge",
    "parent",
    "vlan",
    "macvlan-mode",
    "ipvlan-mode",
    "host-access",
    "router-advertisements",
    "subnets",
    "lease-ranges",
    "mode",
    "mode-ipv4",
    "mode-ipv6",
    "internal",
    "isolate",
    "inter-container",
    "mtu",
    "firewall",
    "routes",
    "dns",
    "subnet-from",
    "trusted-interfaces",
    "no-masquerade-to",
];

const MODES: [(&str, Mode); 3] = [("nat", Mode::Nat), ("routed", Mode::Routed), ("isolated", Mode::Isolated)];
const ISOLATIONS: [(&str, Isolation); 3] =
    [("strict", Isolation::Strict), ("normal", Isolation::Normal), ("none", Isolation::None)];

/// A definition, and where its parts stand in the file.
#[derive(Debug)]
struct Definition {
    spec: NetworkSpec,
    /// Where each subnet stands; none for `auto`.
    subnets: Vec<usize>,
    routes: Vec<usize>,
    ranges: Vec<usize>,
    driver: Driver,
    /// Where a mode was given, and for which family.
    modes: Vec<(usize, Option<Family>)>,
    bridge: usize,
    /// Where something was said of other hosts.
    peers: usize,
}

/// Reads the table of networks. `line` words a place in the file.
///
/// # Errors
/// The first mistake: an unknown key or value, subnets that overlap, and the like.
pub(super) fn parse(networks: &Value<'_>, line: impl Fn(usize) -> String) -> Result<Vec<NetworkSpec>> {
    let refuse = |what: &str, mistake: Mistake| {
        let error = Error::new(format!("use {what} in {}", line(mistake.at)), mistake.cause).of(Kind::Input);
        mistake.hint.map_or(error.clone(), |hint| error.hint(hint))
    };
    let table = table(networks).map_err(|mistake| refuse("network", mistake))?;
    let mut all: Vec<Definition> = Vec::new();
    for (key, value) in table {
        let name = key.get_ref();
        let whole = format!("network.{name}");
        let mut definition = begin(name, key.span().start).map_err(|mistake| refuse(&whole, mistake))?;
        for (key, value) in self::table(value).map_err(|mistake| refuse(&whole, mistake))? {
            let set = definition.set(key.get_ref(), key.span().start, value);
            set.map_err(|mistake| refuse(&format!("{whole}.{}", key.get_ref()), mistake))?;
        }
        let check = definition.place().and_then(|()| definition.check());
        check.map_err(|mistake| refuse(&whole, mistake))?;
        for other in &all {
            definition.apart(other).map_err(|mistake| refuse(&whole, mistake))?;
        }
        all.push(definition);
    }
    auto::fill(all.iter_mut().map(|definition| &mut definition.spec));
    Ok(all.into_iter().map(|definition| definition.spec).collect())
}

/// A network of this name about which nothing is said.
fn begin(name: &str, at: usize) -> Told<Definition> {
    let form = "a name has 1 to 63 lower-case letters, digits, - and _, and begins with a letter or a digit";
    let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let parsed = name.parse().ok().filter(|_| name.bytes().all(fine) && !name.starts_with('_'));
    let parsed = parsed.ok_or_else(|| Mistake::at(at, form))?;
    let bridge = bridge_of(name).map_err(|cause| Mistake::at(at, cause))?;
    let spec = NetworkSpec { name: parsed, defined: true, ..NetworkSpec::described(bridge, Vec::new()) };
    Ok(Definition {
        spec,
        subnets: Vec::new(),
        routes: Vec::new(),
        ranges: Vec::new(),
        driver: Driver::default(),
        modes: Vec::new(),
        bridge: at,
        peers: at,
    })
}

/// The network's name, or a hash of it where it is too long for an interface's.
fn bridge_of(name: &str) -> std::result::Result<Iface, Error> {
    name.parse().or_else(|_| {
        let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        let digits: String = digest[..5].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("netns{digits}").parse()
    })
}

impl Definition {
    fn set(&mut self, key: &str, at: usize, value: &Value<'_>) -> Told<()> {
        if self.driver.set(key, at, value)? {
            return Ok(());
        }
        let spec = &mut self.spec;
        match key {
            "bridge" => (spec.bridge, self.bridge) = (parsed(value)?, value.span().start),
            "subnets" if value.get_ref().as_str() == Some("auto") => {}
            "subnets" => (spec.subnets, self.subnets) = subnets(value)?,
            "lease-ranges" => (spec.ranges, self.ranges) = list::<LeaseRange>(value)?,
            "mode" => {
                let mode = word(value, &MODES)?;
                (spec.reach.mode_ipv4, spec.reach.mode_ipv6) = (mode, mode);
                self.modes.push((at, None));
            }
            "mode-ipv4" => {
                spec.reach.mode_ipv4 = word(value, &MODES)?;
                self.modes.push((at, Some(Family::Ipv4)));
            }
            "mode-ipv6" => {
                spec.reach.mode_ipv6 = word(value, &MODES)?;
                self.modes.push((at, Some(Family::Ipv6)));
            }
            "internal" => spec.reach.internal = flag(value)?,
            "isolate" => spec.reach.isolate = word(value, &ISOLATIONS)?,
            "inter-container" => spec.reach.inter_container = flag(value)?,
            "mtu" => spec.mtu = Some(parsed::<Mtu>(value)?.0),
            "firewall" => spec.firewall = Some(parsed::<Backend>(value)?),
            "routes" => (spec.routes, self.routes) = list::<RouteSpec>(value)?,
            "dns" => {
                let (servers, _): (Vec<Server>, _) = list(value)?;
                spec.dns = servers.into_iter().map(|Server(ip)| ip).collect();
            }
            "subnet-from" => (spec.subnet_from, self.peers) = (Some(file(value)?), at),
            "trusted-interfaces" => (spec.peers.trusted_interfaces, self.peers) = (list(value)?.0, at),
            "no-masquerade-to" => {
                spec.peers.add(list(value)?.0);
                self.peers = at;
            }
            unknown => {
                let mistake = Mistake::at(at, "unknown key");
                let known = KEYS.into_iter().map(str::to_owned);
                return Err(match nearest(unknown, known) {
                    Some(nearest) => mistake.hint(format!("did you mean {nearest}?")),
                    None => mistake.hint(format!("the keys of a network are {}", KEYS.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// What the network is on.
    fn place(&mut self) -> Told<()> {
        self.spec.parent = self.driver.parent(&self.spec, !self.subnets.is_empty())?;
        for (range, at) in self.spec.ranges.iter().zip(&self.ranges) {
            if !self.spec.subnets.iter().any(|subnet| range.is_in(*subnet)) {
                let mistake = Mistake::at(*at, format!("{range} is in no subnet of the network"));
                return Err(mistake.hint("write addresses of one of its subnets"));
            }
        }
        Ok(())
    }

    /// What its keys must be beside each other.
    fn check(&self) -> Told<()> {
        self.check_peers()?;
        let Self { spec, routes, modes, .. } = self;
        if let [(first, _), (second, _), ..] = modes[..]
            && modes.iter().any(|(_, family)| family.is_none())
        {
            let mistake = Mistake::at(first.max(second), "mode is that of both families already");
            return Err(mistake.hint("write mode, or else mode-ipv4 and mode-ipv6"));
        }
        let has =
            |family| self.subnets.is_empty() || spec.subnets.iter().any(|ip| Family::of(ip.ip()) == family);
        for (at, family) in modes.iter().filter_map(|(at, family)| Some((*at, (*family)?))) {
            if !has(family) {
                let subnet = if family == Family::Ipv4 { "10.8.0.1/24" } else { "fd00:8::1/64" };
                let mistake = Mistake::at(at, "the network has no subnet of this family");
                return Err(
                    mistake.hint(format!("add one to subnets, as \"{subnet}\", or leave the mode out"))
                );
            }
        }
        for (route, at) in spec.routes.iter().zip(routes) {
            if let Target::Via(hop) = route.to
                && !self.subnets.is_empty()
                && !spec.subnets.iter().any(|subnet| subnet.contains(hop))
            {
                let subnets = all(spec.subnets.iter().map(|ip| subnet(*ip)));
                let mistake = Mistake::at(*at, format!("its next hop {hop} is not in {subnets}"));
                return Err(mistake.hint("containers reach only what is in a subnet of theirs"));
            }
        }
        Ok(())
    }

    /// Other hosts are known by the links that they come by and by their addresses.
    fn check_peers(&self) -> Told<()> {
        let NetworkSpec { subnet_from, peers, reach, .. } = &self.spec;
        let named = subnet_from.is_some() || !peers.no_masquerade_to.is_empty();
        let (cause, hint) = match (peers.trusted_interfaces.is_empty(), named) {
            _ if subnet_from.is_some() && !self.subnets.is_empty() => {
                ("its subnets are both here and in a file", "leave subnets or subnet-from out")
            }
            (false, _) if !reach.inter_container => (
                "other hosts' containers would reach those here, which do not reach each other",
                "leave inter-container = false out, or what is said of other hosts",
            ),
            (true, true) => (
                "nothing says by which links other hosts' containers come",
                "add trusted-interfaces = [\"flannel.1\"], or the link that the other hosts are on",
            ),
            (false, false) => (
                "nothing says which addresses other hosts' containers have",
                "add no-masquerade-to = [\"10.8.0.0/16\"], in which the subnets of all hosts are",
            ),
            _ => return Ok(()),
        };
        Err(Mistake::at(self.peers, cause).hint(hint))
    }

    /// Two networks share no address and no bridge.
    fn apart(&self, other: &Self) -> Told<()> {
        let (name, spec) = (&other.spec.name, &other.spec);
        if self.spec.bridge == spec.bridge {
            let cause = format!("bridge {} is that of network {name}", spec.bridge);
            return Err(Mistake::at(self.bridge.max(other.bridge), cause)
                .hint("give each network a bridge of its own, or leave the key out"));
        }
        for (own, at) in self.spec.subnets.iter().zip(&self.subnets) {
            for (theirs, their_at) in spec.subnets.iter().zip(&other.subnets) {
                if overlap(*own, *theirs) {
                    let later = *at.max(their_at);
                    let (own, theirs) = (subnet(*own), subnet(*theirs));
                    let cause = format!(
                        "subnet {own} of network {} overlaps {theirs} of network {name}",
                        self.spec.name
                    );
                    return Err(Mistake::at(later, cause).hint("give each network a subnet of its own"));
                }
            }
        }
        Ok(())
    }
}

/// A file that is found from any directory.
fn file(value: &Value<'_>) -> Told<PathBuf> {
    let path = PathBuf::from(text(value)?);
    let cause = "it must be the whole path of a file";
    if path.is_absolute() { Ok(path) } else { Err(Mistake::at(value.span().start, cause)) }
}

/// The gateways, at most one of each family.
fn subnets(value: &Value<'_>) -> Told<(Vec<IpNetwork>, Vec<usize>)> {
    let mut found: Vec<IpNetwork> = Vec::new();
    let mut places = Vec::new();
    for value in array(value)? {
        let (written, at) = (text(value)?, value.span().start);
        let refuse = |cause: Error| {
            let whole: Option<IpNetwork> = written.parse().ok();
            let is_network = whole.filter(|net| net.ip() == net.network() && written.contains('/'));
            let mistake = Mistake::at(at, cause);
            match is_network.and_then(first_host).and_then(auto::gateway) {
                Some(gateway) => mistake.hint(format!("write the gateway's address, as \"{gateway}\"")),
                None => mistake,
            }
        };
        let Gateway(gateway) = written.parse().map_err(refuse)?;
        if let Some(other) = found.iter().find(|other| other.is_ipv4() == gateway.is_ipv4()) {
            let mistake = Mistake::at(at, format!("{other} is of the same family"));
            return Err(mistake.hint("a network has one subnet of each family; define another network"));
        }
        found.push(gateway);
        places.push(at);
    }
    if found.is_empty() {
        let mistake = Mistake::at(value.span().start, "it is empty");
        return Err(mistake.hint("write \"auto\" for subnets that are chosen"));
    }
    Ok((found, places))
}
