//! A look at the host: its links, routes, parameters and rules.

use std::io;
use std::net::IpAddr;

use crate::commands::reap::{Look, find_dead};
use crate::commands::reload::wanted;
use crate::doctor::facts::{Container, Facts, Firewall, Host, Link, Probe, Route};
use crate::doctor::ruleset::{Ruleset, Tool, nft, save};
use crate::error::{Doing, Result};
use crate::firewall::iptables::{self, rulesets};
use crate::kernel::conntrack::{self, Lead};
use crate::kernel::netlink::{LinkDetail, LinkSeen, Links, Netlink, TableRoute};
use crate::kernel::resolver;
use crate::kernel::sysctl::Sysctl;
use crate::store::Records;
use crate::store::index::Entry;
use crate::store::record::{Record, Survey};

/// Everything but what is inside of containers.
pub(super) fn look(records: Records) -> Result<Facts> {
    let netlink = Netlink::open()?;
    let (networks, containers) = (records.networks.clone(), records.containers.clone());
    let survey = records.survey();
    let dead = find_dead(&survey, &netlink, Look::Close)?;
    let host = host(&netlink).doing(|| "look at the host")?;
    let living = survey.containers.iter().filter(|entry| entry.done);
    let published: Vec<_> = living.flat_map(Entry::published_rules).collect();
    let flows = conntrack::astray(&netlink, &published).unwrap_or_default();
    let containers = containers
        .into_iter()
        .filter_map(|record| container(&netlink, &host, record, &dead, &flows))
        .collect();
    let netns = "netns".to_owned();
    Ok(Facts { netns, firewall: firewall(&survey), host, networks, containers })
}

fn host(netlink: &Netlink) -> io::Result<Host> {
    let (sysctl, links) = (Sysctl::default(), netlink.links_in_full()?);
    let is_on = |key: &str| Ok::<bool, io::Error>(sysctl.read(key)?.as_deref() == Some("1"));
    Ok(Host {
        ip_forward: is_on("net/ipv4/ip_forward")?,
        bridge_netfilter: is_on("net/bridge/bridge-nf-call-iptables")?,
        links: links.all.iter().map(|found| link(&sysctl, &links, found)).collect(),
        routes: netlink.all_routes()?.into_iter().map(|route| named(route, &links)).collect(),
        resolvers: resolver::of_host().servers.iter().map(|server| server.0).collect(),
    })
}

/// A link with its parameters.
pub(super) fn link(sysctl: &Sysctl, links: &Links, found: &LinkDetail) -> Link {
    let LinkSeen { index, name, kind, mtu, up, state, .. } = &found.seen;
    let number = |link: &str, key: &str| {
        let value = sysctl.read(&format!("net/ipv4/conf/{link}/{key}")).ok().flatten();
        value.and_then(|value| value.parse::<u8>().ok()).unwrap_or_default()
    };
    // Without a carrier every port is disabled.
    let disabled = state == "up" && found.port.as_ref().is_some_and(|port| port.state == "disabled");
    Link {
        index: *index,
        name: name.clone(),
        kind: kind.clone(),
        mtu: *mtu,
        up: *up,
        master: links.bridge_of(found),
        addresses: links.addresses_of(found).iter().filter(|address| address.is_ipv4()).copied().collect(),
        disabled,
        forwarding: number(name, "forwarding") == 1,
        rp_filter: number("all", "rp_filter").max(number(name, "rp_filter")),
        route_localnet: number("all", "route_localnet").max(number(name, "route_localnet")) == 1,
    }
}

fn named(TableRoute { route, table, metric, kind }: TableRoute, links: &Links) -> Route {
    let link = route.link.and_then(|index| links.by_index(index)).map(|link| link.seen.name.clone());
    Route { table, destination: route.destination, gateway: route.gateway, link, metric, kind }
}

fn container(
    netlink: &Netlink,
    host: &Host,
    record: Record,
    dead: &[Entry],
    flows: &[(Lead, String)],
) -> Option<Container> {
    let (bridge, cable) = (record.bridge.clone()?, record.host_interface.clone()?);
    let gateway = record.gateway?;
    let entry = Entry::from(&record);
    let name = |index: u32| host.links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let way = match record.addresses.first().map(|address| address.ip()) {
        Some(IpAddr::V4(address)) => netlink.way_to(address).map(|link| link.and_then(name)),
        _ => Ok(host.link(&bridge).map(|link| link.name.clone())),
    };
    let mine = |(published, to): &Lead| {
        record.published.contains(published) && record.addresses.iter().any(|address| address.ip() == *to)
    };
    Some(Container {
        bridge,
        cable,
        gateway,
        dead: dead.contains(&entry),
        inside: None,
        listeners: None,
        way: way.map_err(|error| error.to_string()),
        flows: flows.iter().filter(|(lead, _)| mine(lead)).map(|(_, command)| command.clone()).collect(),
        probe: Probe::default(),
        record,
    })
}

fn firewall(survey: &Survey) -> Firewall {
    let read = || Ok((rulesets::read(rulesets::MAX_TEXT)?, iptables::missing(&wanted(survey))?));
    let (texts, missing) = match read() {
        Ok(read) => read,
        Err(error) => return Firewall { unreadable: Some(error_line(&error)), ..Firewall::default() },
    };
    let other = texts.ours.other().program();
    let ours_in_other = texts.other.as_ref().is_some_and(|text| text.contains("NETNS-")).then_some(other);
    Firewall {
        unreadable: None,
        missing: missing.iter().map(ToString::to_string).collect(),
        ruleset: ruleset(&texts),
        ours_in_other,
    }
}

fn error_line(error: &crate::error::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// All rules as values. What iptables keeps in nftables is read from what it prints itself: nft
/// does not understand it.
pub(super) fn ruleset(texts: &rulesets::Rulesets) -> Ruleset {
    let other = texts.ours.other().program();
    let mut chains = save::parse(&texts.saved, Tool::Iptables).chains;
    chains.extend(texts.other.iter().flat_map(|text| save::parse(text, Tool::OtherIptables(other)).chains));
    let in_nft = match texts.ours {
        rulesets::Variant::Nft => Some(&texts.saved),
        rulesets::Variant::Legacy => texts.other.as_ref(),
    };
    let native = texts.nft.iter().flat_map(|text| nft::parse(text).chains);
    chains.extend(native.filter(|chain| {
        let theirs = |text: &String| save::has_table(text, &chain.table.name);
        chain.table.family != "ip" || !in_nft.is_some_and(theirs)
    }));
    Ruleset { chains }
}
