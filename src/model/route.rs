//! A route that a container is to have: `CIDR [via ADDR] [metric N]`, or `blackhole`, `unreachable`
//! or `prohibit` in place of `via ADDR`, as `ip-route(8)` writes it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::rule::Family;
use crate::error::Error;

/// A route inside a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RouteSpec {
    /// Where to; prefix length 0 for a default route.
    pub destination: IpNetwork,
    /// Where that is.
    pub to: Target,
    /// The lower, the better; `None` leaves it to the kernel (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To a next hop.
    Via(IpAddr),
    /// To neighbours on the link.
    Link,
    /// Nowhere, without a word.
    Blackhole,
    /// Nowhere; the sender is told that there is no way.
    Unreachable,
    /// Nowhere; the sender is told that it may not.
    Prohibit,
}

impl RouteSpec {
    /// The default route of a family by a next hop.
    pub fn default_via(gateway: IpAddr, metric: Option<u32>) -> Self {
        Self::default_to(Family::of(gateway), Target::Via(gateway), metric)
    }

    /// The default route of a family.
    pub fn default_to(family: Family, to: Target, metric: Option<u32>) -> Self {
        let anywhere = family.unspecified();
        let destination = IpNetwork::new(anywhere, 0).unwrap_or(anywhere.into());
        Self { destination, to, metric }
    }

    /// Of which family its destination is.
    pub fn family(&self) -> Family {
        Family::of(self.destination.ip())
    }

    /// Whether it is a default route.
    pub fn is_default(&self) -> bool {
        self.destination.prefix() == 0
    }

    /// Whether it leads out of a link, and goes with it.
    pub fn has_a_link(&self) -> bool {
        matches!(self.to, Target::Via(_) | Target::Link)
    }
}

impl FromStr for RouteSpec {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |cause: &str| Error::new(format!("route '{text}'"), cause);
        let form =
            "it must be CIDR [via ADDR] [metric N], or blackhole, unreachable or prohibit in place of via";
        let mut words = text.split_ascii_whitespace();
        let destination = words.next().ok_or_else(|| refuse(form))?;
        let mut route =
            Self { destination: network(destination).map_err(refuse)?, to: Target::Link, metric: None };
        while let Some(word) = words.next() {
            let is_first = route.to == Target::Link && route.metric.is_none();
            match word {
                "via" if is_first => {
                    let hop = words.next().and_then(|hop| hop.parse().ok());
                    route.to = Target::Via(hop.ok_or_else(|| refuse("what follows via must be an address"))?);
                }
                "blackhole" if is_first => route.to = Target::Blackhole,
                "unreachable" if is_first => route.to = Target::Unreachable,
                "prohibit" if is_first => route.to = Target::Prohibit,
                "metric" if route.metric.is_none() => {
                    let metric = words.next().and_then(|metric| metric.parse().ok());
                    route.metric =
                        Some(metric.ok_or_else(|| refuse("what follows metric must be a number"))?);
                }
                _ => return Err(refuse(form)),
            }
        }
        match route.to {
            Target::Via(hop) if Family::of(hop) != route.family() => {
                Err(refuse("its next hop is of another family"))
            }
            _ => Ok(route),
        }
    }
}

/// A destination; `default` is that of IPv4.
fn network(text: &str) -> Result<IpNetwork, &'static str> {
    let text = if text == "default" { "0.0.0.0/0" } else { text };
    let network: IpNetwork =
        text.parse().map_err(|_| "its destination must be an address with a prefix length")?;
    if network.ip() == network.network() { Ok(network) } else { Err("its destination has host bits set") }
}

/// As `ip route add` takes it.
impl fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Target::Blackhole => f.write_str("blackhole ")?,
            Target::Unreachable => f.write_str("unreachable ")?,
            Target::Prohibit => f.write_str("prohibit ")?,
            Target::Via(_) | Target::Link => {}
        }
        if self.is_default() {
            f.write_str("default")?
        } else {
            self.destination.fmt(f)?
        }
        if let Target::Via(hop) = self.to {
            write!(f, " via {hop}")?;
        }
        self.metric.map_or(Ok(()), |metric| write!(f, " metric {metric}"))
    }
}

impl TryFrom<String> for RouteSpec {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

/// The text that reads back the same.
impl From<RouteSpec> for String {
    fn from(route: RouteSpec) -> Self {
        let to = match route.to {
            Target::Via(hop) => format!(" via {hop}"),
            Target::Link => String::new(),
            Target::Blackhole => " blackhole".to_owned(),
            Target::Unreachable => " unreachable".to_owned(),
            Target::Prohibit => " prohibit".to_owned(),
        };
        let metric = route.metric.map_or_else(String::new, |metric| format!(" metric {metric}"));
        format!("{}{to}{metric}", route.destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_read_as_it_is_written() {
        for (text, shown) in [
            ("10.9.0.0/16 via 10.8.0.2 metric 50", "10.9.0.0/16 via 10.8.0.2 metric 50"),
            ("10.9.0.0/16", "10.9.0.0/16"),
            ("0.0.0.0/0 via 10.8.0.2", "default via 10.8.0.2"),
            ("192.168.0.0/16 blackhole", "blackhole 192.168.0.0/16"),
            ("fd00:9::/64 unreachable metric 7", "unreachable fd00:9::/64 metric 7"),
            ("10.1.2.3 prohibit", "prohibit 10.1.2.3/32"),
        ] {
            let route: RouteSpec = text.parse().unwrap();
            assert_eq!(route.to_string(), shown);
            assert_eq!(String::from(route).parse::<RouteSpec>().unwrap(), route, "{text}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, cause) in [
            ("", "it must be CIDR"),
            ("10.9.0.1/16 via 10.8.0.2", "host bits"),
            ("10.9.0.0/16 via fd00::1", "another family"),
            ("10.9.0.0/16 via", "must be an address"),
            ("10.9.0.0/16 metric x", "must be a number"),
            ("10.9.0.0/16 blackhole via 10.8.0.2", "it must be CIDR"),
            ("10.9.0.0/16 dev eth0", "it must be CIDR"),
            ("nowhere", "with a prefix length"),
        ] {
            let error = text.parse::<RouteSpec>().unwrap_err().to_string();
            assert!(error.contains(cause), "{text}: {error}");
        }
    }
}
