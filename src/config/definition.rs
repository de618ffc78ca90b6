//! Networks as the configuration file defines them, each once: `[network.NAME]`.
//!
//! A mistake is told with its line and column, and with what to write instead where that is known.

mod auto;
#[cfg(test)]
mod tests;

pub(crate) use auto::free_ipv4;

use std::fmt::Display;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use sha2::{Digest, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::options::nearest;
use crate::error::{Error, Kind, Result};
use crate::model::dns::Server;
use crate::model::network::{Isolation, Mode, NetworkSpec};
use crate::model::route::{RouteSpec, Target};
use crate::model::rule::{Backend, Family};
use crate::model::value::{Gateway, Iface, Mtu, overlap, subnet};

/// The keys of a network.
const KEYS: [&str; 13] = [
    "driver",
    "bridge",
    "subnets",
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
];
/// Keys that are known, and do nothing yet.
const LATER: [&str; 8] = [
    "parent",
    "vlan",
    "macvlan-mode",
    "ipvlan-mode",
    "host-access",
    "subnet-from",
    "trusted-interfaces",
    "no-masquerade-to",
];

const MODES: [(&str, Mode); 3] = [("nat", Mode::Nat), ("routed", Mode::Routed), ("isolated", Mode::Isolated)];
const ISOLATIONS: [(&str, Isolation); 3] =
    [("strict", Isolation::Strict), ("normal", Isolation::Normal), ("none", Isolation::None)];

/// What is wrong, where in the file, and what to do.
#[derive(Debug)]
struct Mistake {
    at: usize,
    cause: String,
    hint: Option<String>,
}

impl Mistake {
    fn at(at: usize, cause: impl Display) -> Self {
        Self { at, cause: cause.to_string(), hint: None }
    }

    fn hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }
}

type Told<T> = std::result::Result<T, Mistake>;

/// A value and where it stands.
type Value<'a> = Spanned<DeValue<'a>>;

/// A definition, and where its parts stand in the file.
#[derive(Debug)]
struct Definition {
    spec: NetworkSpec,
    /// Where each subnet stands; none for `auto`.
    subnets: Vec<usize>,
    routes: Vec<usize>,
    /// Where a mode was given, and for which family.
    modes: Vec<(usize, Option<Family>)>,
    bridge: usize,
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
        definition.check().map_err(|mistake| refuse(&whole, mistake))?;
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
    Ok(Definition { spec, subnets: Vec::new(), routes: Vec::new(), modes: Vec::new(), bridge: at })
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
        let spec = &mut self.spec;
        match key {
            "driver" => driver(value)?,
            "bridge" => (spec.bridge, self.bridge) = (parsed(value)?, value.span().start),
            "subnets" if value.get_ref().as_str() == Some("auto") => {}
            "subnets" => (spec.subnets, self.subnets) = subnets(value)?,
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
            later if LATER.contains(&later) => return Err(Mistake::at(at, "not built yet")),
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

    /// What its keys must be beside each other.
    fn check(&self) -> Told<()> {
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

fn driver(value: &Value<'_>) -> Told<()> {
    let later = |name: &str| Err(Mistake::at(value.span().start, format!("driver {name} is not built yet")));
    match text(value)?.as_str() {
        name @ ("macvlan" | "ipvlan") => later(name),
        _ => word(value, &[("bridge", ())]),
    }
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
            match is_network.and_then(auto::first_host).and_then(auto::gateway) {
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

fn table<'v, 'a>(value: &'v Value<'a>) -> Told<&'v DeTable<'a>> {
    let form = || Mistake::at(value.span().start, "it must be a table").hint("begin it with [network.NAME]");
    value.get_ref().as_table().ok_or_else(form)
}

fn array<'v, 'a>(value: &'v Value<'a>) -> Told<&'v [Value<'a>]> {
    let form = || Mistake::at(value.span().start, "it must be a list of strings, as [\"one\", \"two\"]");
    value.get_ref().as_array().map(|array| &array[..]).ok_or_else(form)
}

/// A string, or a number as it is written.
fn text(value: &Value<'_>) -> Told<String> {
    let written = value.get_ref();
    let number = written.as_integer().map(|number| number.as_str());
    let text = written.as_str().or(number).map(str::to_owned);
    text.ok_or_else(|| Mistake::at(value.span().start, "it must be a string or a number"))
}

fn flag(value: &Value<'_>) -> Told<bool> {
    let form = || Mistake::at(value.span().start, "it must be true or false");
    value.get_ref().as_bool().ok_or_else(form)
}

fn parsed<T: FromStr<Err: Display>>(value: &Value<'_>) -> Told<T> {
    text(value)?.parse().map_err(|cause| Mistake::at(value.span().start, cause))
}

/// The values of a list, and where each stands.
fn list<T: FromStr<Err: Display>>(value: &Value<'_>) -> Told<(Vec<T>, Vec<usize>)> {
    let one = |value: &Value<'_>| Ok((parsed(value)?, value.span().start));
    Ok(array(value)?.iter().map(one).collect::<Told<Vec<_>>>()?.into_iter().unzip())
}

/// One of a few words.
fn word<T: Copy>(value: &Value<'_>, known: &[(&str, T)]) -> Told<T> {
    let written = text(value)?;
    if let Some((_, meaning)) = known.iter().find(|(name, _)| *name == written) {
        return Ok(*meaning);
    }
    let names = known.iter().map(|(name, _)| (*name).to_owned());
    let mistake =
        Mistake::at(value.span().start, format!("'{written}' is not one of {}", all(names.clone())));
    Err(match nearest(&written, names) {
        Some(nearest) => mistake.hint(format!("did you mean {nearest}?")),
        None => mistake,
    })
}

fn all(values: impl Iterator<Item: Display>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}
