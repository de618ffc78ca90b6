//! The routes of a container: by which of its networks it reaches the world, and how what came by
//! one is answered by it.

use std::net::IpAddr;

use super::Claimed;
use super::network::NetworkPlan;
use super::steps::Steps;
use crate::error::{Error, Kind, Result};
use crate::model::record::{Attachment, Record};
use crate::model::request::{NetworkRequest, Request};
use crate::model::route::{RouteSpec, Target};
use crate::model::rule::Family;
use crate::model::sandbox::Netns;
use crate::model::step::{SOURCE_TABLE, Step};

impl Steps<'_> {
    /// The default routes, by the network of the lowest metric, and of those by the first, unless
    /// a device of the host has one (`gateways`); what is sent from the addresses on another network
    /// leaves by that one all the same. Then the routes that were asked for.
    ///
    /// # Errors
    /// A route's next hop is on none of the container's networks.
    pub(super) fn routes(
        &mut self,
        request: &Request,
        record: &Record,
        networks: &[NetworkPlan],
        gateways: &[IpAddr],
    ) -> Result<()> {
        let netns = record.sandbox.netns();
        let wanted = request.networks.iter().zip(networks);
        let places: Vec<_> = record.attachments.iter().zip(wanted).collect();
        for family in Family::ALL {
            let leads_out = |(at, (_, (wanted, network))): (usize, &Place<'_>)| {
                let way = network.network.way_out(family).filter(|_| wanted.default_route)?;
                Some((wanted.metric.unwrap_or_default(), at, way))
            };
            let mut ways: Vec<_> = places.iter().enumerate().filter_map(leads_out).collect();
            ways.sort_unstable_by_key(|(metric, at, _)| (*metric, *at));
            let mut has_default = gateways.iter().any(|gateway| Family::of(*gateway) == family)
                || beside(self.claimed)
                    .any(|(route, table)| route.is_default() && route.family() == family && table.is_none());
            for (metric, at, way) in ways {
                let (attachment, (wanted, _)) = places[at];
                let default = !has_default || metric > 0;
                if default {
                    let route = RouteSpec::default_to(family, way, wanted.metric);
                    self.make(by(netns, attachment, route, None));
                }
                if has_default {
                    self.answers(netns, attachment, RouteSpec::default_to(family, way, None), at);
                }
                has_default = true;
            }
        }
        for (attachment, (wanted, network)) in &places {
            for route in network.network.routes.iter().chain(&wanted.routes) {
                self.asked_for(record, attachment, *route)?;
            }
        }
        Ok(())
    }

    /// What is sent from the addresses here leaves by here, though the default route leads elsewhere.
    fn answers(&mut self, netns: Netns, attachment: &Attachment, default: RouteSpec, at: usize) {
        let taken = |table: &u8| beside(self.claimed).any(|(_, other)| other == Some(*table));
        let table = (SOURCE_TABLE..u8::MAX).filter(|table| !taken(table)).nth(at).unwrap_or(u8::MAX);
        self.make(by(netns, attachment, default, Some(table)));
        let same_family = |source: &IpAddr| Family::of(*source) == default.family();
        for source in attachment.addresses.iter().map(|address| address.ip()).filter(same_family) {
            self.make(Step::AddSourceRule { netns, source, table });
        }
    }

    /// A route that the network's definition or the container asks for.
    fn asked_for(&mut self, record: &Record, attachment: &Attachment, route: RouteSpec) -> Result<()> {
        let operation = || format!("add route {route} to {}", record.container);
        let on = |attachment: &&Attachment| match route.to {
            Target::Via(hop) => attachment.addresses.iter().any(|address| address.contains(hop)),
            _ => attachment.addresses.iter().any(|address| Family::of(address.ip()) == route.family()),
        };
        let place = [attachment].into_iter().chain(&record.attachments).find(on);
        let Some(place) = place else {
            let cause = match route.to {
                Target::Via(hop) => format!("its next hop {hop} is on none of the container's networks"),
                _ => format!("the container has no {} address", route.family()),
            };
            return Err(Error::new(operation(), cause).of(Kind::Input));
        };
        let link = route.has_a_link().then(|| place.interface.clone());
        self.unless_held(Step::AddRoute { netns: record.sandbox.netns(), route, link, table: None });
        Ok(())
    }
}

/// The routes of those who have other interfaces in the namespace, with their tables.
fn beside(claimed: &Claimed) -> impl Iterator<Item = (&RouteSpec, Option<u8>)> {
    claimed.beside.iter().flat_map(|record| &record.steps).filter_map(|step| match step {
        Step::AddRoute { route, table, .. } => Some((route, *table)),
        _ => None,
    })
}

/// A place on a network: as it will be, as it was asked for, and the network.
type Place<'a> = (&'a Attachment, (&'a NetworkRequest, &'a NetworkPlan));

/// A route by an interface of the container.
fn by(netns: Netns, attachment: &Attachment, route: RouteSpec, table: Option<u8>) -> Step {
    Step::AddRoute { netns, route, link: Some(attachment.interface.clone()), table }
}
