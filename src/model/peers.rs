//! The other hosts that a network goes on to.

use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::observed::Route;
use super::rule::Family;
use super::value::{Iface, subnet};
use crate::error::Error;

/// Who is on the network without being on this host: whoever comes by one of these links from one of
/// these ranges, if the answer would leave by that link too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Peers {
    /// The links of this host that their packets come in by.
    pub trusted_interfaces: Vec<Iface>,
    /// The addresses of their containers. What is sent there keeps its own.
    pub no_masquerade_to: Vec<IpNetwork>,
    /// Whether another program masquerades what is sent to anybody else.
    pub others_masquerade: bool,
}

impl Peers {
    /// Whether there is nothing to say.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// What concerns packets of a family.
    #[must_use]
    pub fn of(&self, family: Family) -> Self {
        let mut of = self.clone();
        of.no_masquerade_to.retain(|range| Family::of(range.ip()) == family);
        of
    }

    /// Each link with each range.
    pub fn pairs(&self) -> impl Iterator<Item = (&Iface, IpNetwork)> {
        let ranges = &self.no_masquerade_to;
        self.trusted_interfaces.iter().flat_map(|link| ranges.iter().map(move |range| (link, *range)))
    }

    /// Whether a route of the host into this `subnet` of the network disturbs nobody: it leads to the other
    /// hosts, and so to all of them at once; or to the address that flannel gives its own link, which is the
    /// subnet's first, and no container's.
    pub fn expect(&self, route: &Route, subnet: IpNetwork) -> bool {
        let to = route.destination;
        let is_trusted = |name: &String| self.trusted_interfaces.iter().any(|link| link.as_str() == name);
        let is_ends = to.ip() == subnet.network() && to.prefix() == Family::of(to.ip()).bits();
        let to_all = to.prefix() < subnet.prefix() && !self.are_none();
        to_all || is_ends && route.link_name.as_ref().is_some_and(is_trusted)
    }

    /// Adds ranges; those within others are left out.
    pub fn add(&mut self, ranges: impl IntoIterator<Item = Range>) {
        let all = &mut self.no_masquerade_to;
        all.extend(ranges.into_iter().map(|Range(range)| range));
        all.sort_unstable();
        all.dedup();
        let wider = all.clone();
        let within =
            |one: IpNetwork, other: &IpNetwork| other.prefix() < one.prefix() && other.contains(one.ip());
        all.retain(|one| !wider.iter().any(|other| within(*one, other)));
    }
}

/// Addresses of containers of other hosts: not all there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range(pub IpNetwork);

impl FromStr for Range {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |cause: String| Error::new(format!("range '{text}'"), cause);
        let range: IpNetwork =
            text.parse().map_err(|cause: ipnetwork::IpNetworkError| refuse(cause.to_string()))?;
        if range.prefix() == 0 {
            return Err(refuse("it is everybody's".to_owned()));
        }
        if range != subnet(range) {
            return Err(refuse(format!("it has an address beside its prefix; {} has none", subnet(range))));
        }
        Ok(Self(range))
    }
}
