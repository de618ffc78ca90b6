//! Which address a container gets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::error::{Error, Kind, Result};
use crate::model::container::ContainerId;
use crate::model::network::NetworkSpec;
use crate::model::range::LeaseRange;
use crate::model::request::NetworkRequest;
use crate::model::value;

/// The address that a container gets in the subnet of `gateway`: the one that it asks for, or the
/// next free one. `cursor` is the address that was leased last, and `holder` says who has an address.
///
/// A freed address rests until the cursor has come round to it again, so that nobody's ARP or
/// conntrack entries for its last owner catch the next one. The network's, the broadcast and
/// the gateway's own address are never leased.
///
/// # Errors
/// The address asked for is not one, or somebody has it; no address is free; or `holder` fails.
pub fn choose<E: From<Error>>(
    container: &ContainerId,
    wanted: &NetworkRequest,
    gateway: IpNetwork,
    cursor: Option<IpAddr>,
    mut holder: impl FnMut(IpAddr) -> std::result::Result<Option<String>, E>,
) -> std::result::Result<IpAddr, E> {
    check_all(wanted)?;
    if let Some(address) = wanted.static_ip(gateway) {
        check(gateway, address)?;
        return match holder(address)? {
            None => Ok(address),
            Some(holder) => {
                let operation = format!("use static address {address} for {container}");
                Err(Error::new(operation, format!("{holder} has it")).of(Kind::Conflict).into())
            }
        };
    }
    for address in candidates(gateway, &wanted.ranges, cursor) {
        if holder(address)?.is_none() {
            return Ok(address);
        }
    }
    Err(Error::new(
        format!("lease an address in {} for {container}", value::subnet(gateway)),
        format!("all {} are taken", capacity(gateway, &wanted.ranges)),
    )
    .of(Kind::Exhausted)
    .hint("`netns ls` shows by whom; `netns detach ID` frees one")
    .into())
}

/// Checks that each address that is asked for is in a subnet of the network, and no two in one.
///
/// # Errors
/// It is not.
fn check_all(wanted: &NetworkRequest) -> Result<()> {
    let subnets = &wanted.network.subnets;
    for address in &wanted.static_ips {
        let refuse =
            |cause: String| Err(Error::new(format!("use static address {address}"), cause).of(Kind::Input));
        let Some(subnet) = subnets.iter().find(|subnet| subnet.contains(*address)) else {
            let all: Vec<String> = subnets.iter().map(|subnet| value::subnet(*subnet).to_string()).collect();
            return refuse(format!("it is not in the network's subnet {}", all.join(" or ")));
        };
        if let Some(other) = wanted.static_ip(*subnet).filter(|other| other != address) {
            return refuse(format!("{other} is asked for in the same subnet"));
        }
    }
    Ok(())
}

/// Every address of `gateway`'s subnet that a container can have, of the `ranges` that are in it if
/// there are any, from the one after `cursor` on, going round.
pub fn candidates(
    gateway: IpNetwork,
    ranges: &[LeaseRange],
    cursor: Option<IpAddr>,
) -> impl Iterator<Item = IpAddr> {
    let ranges = within(gateway, ranges);
    let cursor = cursor.filter(|cursor| cursor.is_ipv4() == gateway.is_ipv4()).map_or(0, number);
    let after =
        ranges.clone().into_iter().map(move |(first, last)| (first.max(cursor.saturating_add(1)), last));
    let before = ranges.into_iter().map(move |(first, last)| (first, last.min(cursor)));
    let all = after.chain(before).flat_map(|(first, last)| first..=last);
    all.map(move |number| address(number, gateway)).filter(move |address| *address != gateway.ip())
}

/// The first and the last address of each range that leases come from.
fn within(gateway: IpNetwork, ranges: &[LeaseRange]) -> Vec<(u128, u128)> {
    let (first, last) = hosts(gateway);
    let here = ranges.iter().filter(|range| gateway.contains(range.0));
    let here = here.map(|LeaseRange(from, to)| (number(*from).max(first), number(*to).min(last)));
    let here: Vec<_> = here.filter(|(first, last)| first <= last).collect();
    if here.is_empty() { vec![(first, last)] } else { here }
}

/// The first and the last address of a subnet that a host can have: not the network's own, which
/// in IPv6 is that of all routers, and in IPv4 not the broadcast address.
fn hosts(gateway: IpNetwork) -> (u128, u128) {
    let (first, last) = (number(gateway.network()) + 1, number(gateway.broadcast()));
    (first, if gateway.is_ipv4() { last - 1 } else { last })
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// The address of this number in the family of `gateway`.
fn address(number: u128, gateway: IpNetwork) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if gateway.is_ipv4() => Ipv4Addr::from(number).into(),
        _ => Ipv6Addr::from(number).into(),
    }
}

/// The address in a subnet that the host itself has on a parent's wire, where it is to have one: the
/// first that a container could be leased. It follows from the definition alone, and so it is
/// nobody else's at any time.
pub fn host_address(spec: &NetworkSpec, subnet: IpNetwork) -> Option<IpAddr> {
    let has_one = spec.parent.as_ref().is_some_and(|parent| parent.host_access);
    if has_one { candidates(subnet, &spec.ranges, None).next() } else { None }
}

/// How many containers `gateway`'s subnet, or the `ranges` in it, have addresses for.
pub fn capacity(gateway: IpNetwork, ranges: &[LeaseRange]) -> u64 {
    let ranges = within(gateway, ranges);
    let own = number(gateway.ip());
    let taken = u128::from(ranges.iter().any(|(first, last)| (*first..=*last).contains(&own)));
    let all: u128 = ranges.iter().map(|(first, last)| last - first + 1).sum();
    u64::try_from(all - taken).unwrap_or(u64::MAX)
}

/// Checks an address that was asked for by name.
///
/// # Errors
/// It is outside the subnet, or the network's, the broadcast or the gateway's own address.
pub fn check(gateway: IpNetwork, wanted: IpAddr) -> Result<()> {
    let refuse =
        |cause: String| Err(Error::new(format!("use static address {wanted}"), cause).of(Kind::Input));
    if !gateway.contains(wanted) {
        return refuse(format!("it is not in the network's subnet {}", value::subnet(gateway)));
    }
    let (first, last) = hosts(gateway);
    if !(first..=last).contains(&number(wanted)) {
        return refuse(format!("it is the network or broadcast address of {gateway}"));
    }
    if wanted == gateway.ip() {
        return refuse("it is the gateway's".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn gateway(text: &str) -> IpNetwork {
        text.parse().unwrap()
    }

    fn next(gateway: IpNetwork, cursor: Option<IpAddr>, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        candidates(gateway, &[], cursor).find(|address| !taken(*address))
    }

    #[test]
    fn a_freed_address_rests_before_it_is_used_again() {
        let network = gateway("10.0.0.1/29");
        let (mut cursor, mut seen) = (None, Vec::new());
        for _ in 0..6 {
            let address = next(network, cursor, |_| false).unwrap();
            seen.push(address.to_string());
            cursor = Some(address);
        }
        assert_eq!(seen, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"]);
    }

    #[test]
    fn a_full_subnet_says_so() {
        assert_eq!(next(gateway("10.0.0.1/29"), None, |_| true), None);
        assert_eq!(capacity(gateway("10.0.0.1/29"), &[]), 5);
    }

    #[test]
    fn leases_come_from_the_ranges_and_go_round_in_them() {
        let range = |first: &str, last: &str| LeaseRange(first.parse().unwrap(), last.parse().unwrap());
        let ranges =
            [range("10.0.0.8", "10.0.0.9"), range("10.0.0.0", "10.0.0.2"), range("fd00::8", "fd00::8")];
        let all = |gateway_at: &str, cursor: &str| -> Vec<String> {
            let found = candidates(gateway(gateway_at), &ranges, Some(cursor.parse().unwrap()));
            found.map(|address| address.to_string()).collect()
        };
        assert_eq!(all("10.0.0.1/28", "10.0.0.8"), ["10.0.0.9", "10.0.0.8", "10.0.0.2"]);
        assert_eq!(all("fd00::1/64", "fd00::8"), ["fd00::8"]);
        assert_eq!(capacity(gateway("10.0.0.1/28"), &ranges), 3);
        assert_eq!(capacity(gateway("10.0.9.1/28"), &ranges), 13, "there are none in it");
    }

    #[test]
    fn a_static_address_must_be_a_hosts_own() {
        let network = gateway("172.19.0.1/16");
        for (address, cause) in [
            ("10.0.0.1", "not in the network's subnet 172.19.0.0/16"),
            ("172.19.0.0", "network or broadcast"),
            ("172.19.255.255", "network or broadcast"),
            ("172.19.0.1", "the gateway's"),
            ("::1", "not in the network's subnet 172.19.0.0/16"),
        ] {
            let error = check(network, address.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(cause), "{error}");
        }
        assert!(check(network, "172.19.7.7".parse().unwrap()).is_ok());
    }

    proptest! {
        #[test]
        fn a_lease_is_free_and_a_hosts_own(
            prefix in 24u8..=30, base in any::<u32>(), gateway_at in 1u32..3, cursor in any::<u32>(),
            taken in proptest::collection::btree_set(0u32..256, 0..256),
        ) {
            let size = 1u32 << (32 - prefix);
            let network = base & !(size - 1);
            let gateway_ip = Ipv4Addr::from(network + gateway_at.min(size - 2));
            let gateway = IpNetwork::new(gateway_ip.into(), prefix).unwrap();
            let taken: BTreeSet<IpAddr> =
                taken.into_iter().map(|n| Ipv4Addr::from(network.wrapping_add(n)).into()).collect();
            let usable = |n: &u32| {
                let ip: IpAddr = Ipv4Addr::from(network + n).into();
                ip != gateway.ip() && !taken.contains(&ip)
            };
            let free = (1..size - 1).filter(usable).count();
            match next(gateway, Some(Ipv4Addr::from(cursor).into()), |ip| taken.contains(&ip)) {
                Some(address) => {
                    prop_assert!(!taken.contains(&address));
                    prop_assert!(check(gateway, address).is_ok());
                }
                None => prop_assert_eq!(free, 0),
            }
        }

        #[test]
        fn every_address_is_leased_once_before_any_again(
            prefix in 24u8..=30, network in any::<u32>(), gateway_at in 1u32..254, cursor in any::<u32>(),
        ) {
            let size = 1u32 << (32 - prefix);
            let gateway_ip = Ipv4Addr::from((network & !(size - 1)) + 1 + gateway_at % (size - 2));
            let gateway = IpNetwork::new(gateway_ip.into(), prefix).unwrap();
            let (mut cursor, mut seen) = (Some(Ipv4Addr::from(cursor).into()), BTreeSet::new());
            for _ in 0..capacity(gateway, &[]) {
                cursor = next(gateway, cursor, |_| false);
                prop_assert!(seen.insert(cursor), "{cursor:?} again");
            }
            prop_assert!(seen.contains(&next(gateway, cursor, |_| false)), "and only then again");
        }
    }
}
