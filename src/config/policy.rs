//! What annotations may ask for: the `[policy]` table of the configuration file.
//!
//! Annotations come from whoever may create containers. Without the table they may ask for what
//! belongs to the container alone: ports, an address of the network, names and name servers, a
//! file in the bundle. What reaches the host or another network is denied until `options` lists
//! it, or the key that bounds it (`bridges`, `ips`, `ifaces`, `mtus`, `nics`) allows it. `options`
//! is the complete list of what may be asked for at all; any other key bounds one thing, and one
//! that is absent bounds nothing.
//!
//! Flags and the environment are not bound: they stand in hook definitions that only root writes.
//! What is denied is an error, and nothing is done: an answer from a lower layer would not be what
//! the container asked for.
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

use super::options::{Annotation, FIELDS, Field, Options, find, nearest, unknown};
use crate::error::{Error, Kind, Result};
use crate::model::dns::Allowed;
use crate::model::host_device::HostDevice;
use crate::model::network::NetworkName;
use crate::model::place::Place;
use crate::model::port::{DYNAMIC, Ports};
use crate::model::publish::{Publish, PublishList};
use crate::model::rate::{Rate, Rates};
use crate::model::value::{Gateway, Iface, Mtu};

macro_rules! policy {
    ($($key:literal => $field:ident: $bound:ty,)+) => {
        /// Bounds on annotations; `None` is no bound, and an empty list allows nothing.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Policy {
            $($field: Option<Vec<$bound>>,)+
        }

        impl Policy {
            fn set(&mut self, key: &str, value: &Value, operation: &str) -> Result<()> {
                match key {
                    $($key => self.$field = Some(list(value, operation)?),)+
                    _ => {
                        let known = KEYS.iter().map(|known| (*known).to_owned());
                        return Err(unknown(operation, "key", nearest(key, known)));
                    }
                }
                Ok(())
            }
        }

        /// The keys of the table.
        const KEYS: &[&str] = &[$($key),+];
    };
}

policy! {
    "options" => options: String,
    "publish-ports" => publish_ports: Ports,
    "publish-addresses" => publish_addresses: IpNetwork,
    "static-ips" => static_ips: IpNetwork,
    "bridges" => bridges: Iface,
    "ips" => ips: IpNetwork,
    "ifaces" => ifaces: Iface,
    "mtus" => mtus: String,
    "aliases" => aliases: Allowed,
    "nics" => nics: HostDevice,
    "networks" => networks: NetworkName,
    "rates" => rates: Rates,
}

/// Why not, unless it is allowed.
type Verdict = std::result::Result<(), String>;

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
        for name in policy.options.iter().flatten() {
            check_option(name, &operation("options"))?;
        }
        for range in policy.mtus.iter().flatten() {
            mtus(range).map_err(|cause| refuse(&operation("mtus"), cause))?;
        }
        match policy.nics.iter().flatten().find(|device| !device.is_only_a_name()) {
            Some(device) => {
                Err(refuse(&operation("nics"), format!("'{device}': it must be a name, or NAME,force")))
            }
            None => Ok(policy),
        }
    }

    /// Whether an annotation may set the option `field` as it is set in `options`.
    ///
    /// # Errors
    /// It may not: the key that denies it, and what that allows.
    pub(super) fn check(&self, field: &Field, options: &Options) -> Verdict {
        let name = field.name();
        bound("options", &self.options, false, Some(&name), |allowed, name| allowed == *name)?;
        let required = field.annotation == Annotation::ByPolicy && self.options.is_none();
        match name.as_str() {
            "publish" => {
                let mut all = options.publish.iter().flat_map(|list| &list.0);
                all.try_for_each(|publish| self.check_publish(publish))
            }
            "static-ip" => options.static_ip.iter().try_for_each(|ip| {
                bound("static-ips", &self.static_ips, required, Some(ip), |net, ip| net.contains(**ip))
            }),
            "bridge" => bound("bridges", &self.bridges, required, options.bridge.as_ref(), |a, b| a == *b),
            "iface" => bound("ifaces", &self.ifaces, required, options.iface.as_ref(), |a, b| a == *b),
            "ip" => options.ip.iter().try_for_each(|Gateway(ip)| {
                bound("ips", &self.ips, required, Some(ip), |allowed, wanted| {
                    allowed.prefix() <= wanted.prefix() && allowed.contains(wanted.ip())
                })
            }),
            "alias" => options.alias.iter().try_for_each(|alias| {
                bound("aliases", &self.aliases, required, Some(alias), |allowed, alias| allowed.allows(alias))
            }),
            "mtu" => bound("mtus", &self.mtus, required, options.mtu.map(|mtu| mtu.0), |allowed, mtu| {
                mtus(allowed).is_ok_and(|range| range.contains(mtu))
            }),
            "rate-in" => self.check_rate(options.rate_in),
            "rate-out" => self.check_rate(options.rate_out),
            "network" => options.network.iter().try_for_each(|place| self.check_place(place)),
            "nic" => options.nic.iter().try_for_each(|device| self.check_device(device, required)),
            _ if required => Err(only("options", name)),
            _ => Ok(()),
        }
    }

    /// What is asked for on one network is an option each, as without it.
    fn check_place(&self, place: &Place) -> Verdict {
        bound("networks", &self.networks, false, Some(&place.network), |allowed, name| allowed == *name)?;
        let options = Options {
            static_ip: place.ips.clone(),
            iface: place.iface.clone(),
            mac: place.mac,
            alias: place.aliases.clone(),
            mtu: place.mtu.map(Mtu),
            route: place.routes.clone(),
            no_default_route: place.no_default_route.then_some(true),
            publish: vec![PublishList(place.publish.clone())],
            rate_in: place.rate_in,
            rate_out: place.rate_out,
            ..Options::default()
        };
        FIELDS.iter().filter(|field| field.is_set(&options)).try_for_each(|field| self.check(field, &options))
    }

    /// What aliases are bounded to; no bound if `None`.
    pub fn aliases(&self) -> Option<&Vec<Allowed>> {
        self.aliases.as_ref()
    }

    fn check_rate(&self, rate: Option<Rate>) -> Verdict {
        bound("rates", &self.rates, false, rate, Rates::allow)
    }

    /// Forcing takes the host off the network: `options` alone does not allow it.
    fn check_device(&self, device: &HostDevice, required: bool) -> Verdict {
        if self.nics.is_none() && (required || device.force) {
            let force = if device.force { ",force" } else { "" };
            return Err(only("nics", format!("{}{force}", device.name)));
        }
        bound("nics", &self.nics, false, Some(device), |allowed, wanted| {
            allowed.name == wanted.name && (allowed.force || !wanted.force)
        })
    }

    /// A port that no host port is asked for gets any of the dynamic ones. One that no address
    /// is asked for is published on all of them, for which 0.0.0.0 must be allowed.
    fn check_publish(&self, publish: &Publish) -> Verdict {
        let ports = publish.host.unwrap_or(DYNAMIC);
        bound("publish-ports", &self.publish_ports, false, Some(ports), |allowed, wanted| {
            allowed.first <= wanted.first && wanted.last <= allowed.last
        })?;
        let address = publish.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        bound("publish-addresses", &self.publish_addresses, false, Some(address), |allowed, wanted| {
            // All addresses are more than any subnet that 0.0.0.0 happens to be in.
            allowed.contains(*wanted) && (!wanted.is_unspecified() || allowed.ip().is_unspecified())
        })
    }
}

/// Denies `wanted` unless one of `allowed` is a bound that it keeps; where there is no bound, if
/// one is `required`.
fn bound<A: Display, W: Display>(
    key: &str,
    allowed: &Option<Vec<A>>,
    required: bool,
    wanted: Option<W>,
    keeps: impl Fn(&A, &W) -> bool,
) -> Verdict {
    match (allowed, wanted) {
        (Some(allowed), Some(wanted)) if !allowed.iter().any(|allowed| keeps(allowed, &wanted)) => {
            let allowed: Vec<String> = allowed.iter().map(shown).collect();
            let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
            Err(format!("the policy's {key} allows {allowed}, and not {wanted}"))
        }
        (None, Some(wanted)) if required => Err(only(key, wanted)),
        _ => Ok(()),
    }
}

/// The denial of what no key of the policy allows, and the line that would.
fn only(key: &str, wanted: impl Display) -> String {
    format!("only the policy's {key} may allow it, as [policy] {key} = [\"{wanted}\"]")
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
    let form = || refuse(operation, "it must be a list of strings, as [\"one\", \"two\"]");
    let values = value.as_array().ok_or_else(form)?.iter();
    values
        .map(|value| {
            let text = value.as_str().ok_or_else(form)?;
            text.parse().map_err(|cause: T::Err| refuse(operation, format!("'{text}': {cause}")))
        })
        .collect()
}

/// An annotation that could not be set anyway is a misunderstanding.
fn check_option(name: &str, operation: &str) -> Result<()> {
    match find(name) {
        Ok(field) if field.annotation != Annotation::Never => Ok(()),
        Err(nearest) if name != "config" => Err(unknown(operation, &format!("option '{name}'"), nearest)),
        _ => Err(refuse(operation, format!("no annotation may set {name}"))),
    }
}

fn refuse(operation: &str, cause: impl Display) -> Error {
    Error::new(operation, cause).of(Kind::Input)
}

fn mtus(text: &str) -> Result<RangeInclusive<u32>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (Mtu(first), Mtu(last)) = (first.parse()?, last.parse()?);
    Ok(first..=last)
}

#[cfg(test)]
mod tests;
