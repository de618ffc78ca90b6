//! Which networks a container is attached to, and what it is to have on each.

use std::str::FromStr;

use super::options::{Options, nearest, unknown};
use super::subnet_env;
use crate::error::{Error, Kind, Result};
use crate::model::container::ContainerId;
use crate::model::network::NetworkSpec;
use crate::model::place::Place;
use crate::model::request::NetworkRequest;
use crate::model::value::{Gateway, Iface, Mtu};

const DEFAULT_BRIDGE: &str = "netns0";
const DEFAULT_IP: &str = "172.19.0.1/16";
/// What interfaces inside are called, with a number.
const IFACE: &str = "eth";
/// The most ports or ranges of one container on all its networks: each is compared with all others
/// while other containers wait.
const MAX_PUBLISHED: usize = 1024;

/// The networks of a container, in the order of its interfaces: those that it names, or the one
/// that its options describe.
///
/// `annotated` are the container's own options, `told` the administrator's below them, and
/// `defined` the networks of the configuration file.
///
/// # Errors
/// A network is unknown or named twice, two interfaces have one name, or there is to be no bridge.
pub(super) fn of_container(
    annotated: &Options,
    told: &Options,
    defined: &[NetworkSpec],
    container: &ContainerId,
) -> Result<Vec<NetworkRequest>> {
    let options = annotated.clone().over(told.clone());
    let refuse =
        |what: String, cause: &str| Error::new(format!("use {what} for {container}"), cause).of(Kind::Input);
    if options.no_bridge == Some(true) {
        let cause = "there is no bridge, and nothing that belongs to one";
        return match (options.static_ip.is_empty(), options.network.first()) {
            (true, None) => Ok(Vec::new()),
            (false, _) => Err(refuse("a static address".to_owned(), cause)),
            (true, Some(place)) => Err(refuse(format!("network {}", place.network), cause)),
        };
    }
    let mut networks: Vec<NetworkRequest> = Vec::new();
    if options.network.is_empty() {
        let wanted = NetworkRequest::new(described(&options, told, defined)?, interface(None, 0)?);
        networks.push(NetworkRequest { mtu: mtu(&options), ..wanted });
    }
    for (at, place) in options.network.iter().enumerate() {
        let network = by_name(place.network.as_str(), told, defined)
            .map_err(|error| error.during(format!("attach {container}")))?;
        if networks.iter().any(|other| other.network.name == network.name) {
            return Err(refuse(format!("network {}", network.name), "it is asked for twice"));
        }
        networks.push(of_place(place, network, at, mtu(annotated))?);
    }
    of_options(&options, &mut networks)?;
    for (at, wanted) in networks.iter().enumerate() {
        if networks[..at].iter().any(|other| other.interface == wanted.interface) {
            let cause = "another network has it";
            return Err(refuse(
                format!("interface {} on network {}", wanted.interface, wanted.network.name),
                cause,
            ));
        }
    }
    let published = options.publish.len() + networks.iter().map(|wanted| wanted.publish.len()).sum::<usize>();
    if published > MAX_PUBLISHED {
        return Err(refuse("publish".to_owned(), &format!("more than {MAX_PUBLISHED} ports or ranges")));
    }
    Ok(networks)
}

/// What is said of no network in particular: of all of them, or of the first.
fn of_options(options: &Options, networks: &mut [NetworkRequest]) -> Result<()> {
    for ip in &options.static_ip {
        let home =
            networks.iter().position(|wanted| wanted.network.subnets.iter().any(|net| net.contains(*ip)));
        if let Some(wanted) = networks.get_mut(home.unwrap_or_default()) {
            wanted.static_ips.push(*ip);
        }
    }
    if options.no_default_route == Some(true) {
        networks.iter_mut().for_each(|wanted| wanted.default_route = false);
    }
    for wanted in &mut *networks {
        wanted.rate_in = wanted.rate_in.or(options.rate_in);
        wanted.rate_out = wanted.rate_out.or(options.rate_out);
    }
    let Some(first) = networks.first_mut() else { return Ok(()) };
    first.mac = first.mac.or(options.mac);
    first.routes.extend(&options.route);
    let named = options.network.first().is_some_and(|place| place.iface.is_some());
    if let Some(iface) = options.iface.clone().filter(|_| !named) {
        first.interface = iface;
    }
    Ok(())
}

fn of_place(place: &Place, network: NetworkSpec, at: usize, own_mtu: Option<u32>) -> Result<NetworkRequest> {
    Ok(NetworkRequest {
        static_ips: place.ips.clone(),
        mac: place.mac,
        default_route: !place.no_default_route,
        metric: place.metric,
        routes: place.routes.clone(),
        mtu: place.mtu.or(own_mtu),
        rate_in: place.rate_in,
        rate_out: place.rate_out,
        aliases: place.aliases.clone(),
        publish: place.publish.clone(),
        ..NetworkRequest::new(network, interface(place.iface.clone(), at)?)
    })
}

/// The network of this name: one that is defined, or the one that the administrator's options
/// describe.
///
/// # Errors
/// There is none: the nearest that there is.
pub(super) fn by_name(name: &str, told: &Options, defined: &[NetworkSpec]) -> Result<NetworkSpec> {
    if let Some(found) = defined.iter().find(|network| network.name.as_str() == name) {
        let found = subnet_env::fill(found.clone())?;
        let (mtu, firewall) = (found.mtu.or(mtu(told)), found.firewall.or(told.firewall));
        return Ok(NetworkSpec { mtu, firewall, ..found });
    }
    let bridge: Iface = or_default(told.bridge.clone(), DEFAULT_BRIDGE)?;
    let bridge = Some(bridge).filter(|bridge| !defined.iter().any(|network| network.bridge == *bridge));
    if bridge.as_ref().is_some_and(|bridge| bridge.as_str() == name) {
        return described(told, told, defined);
    }
    let operation = format!("use network {name}");
    let all = defined.iter().map(|network| network.name.to_string());
    Err(match nearest(name, all.chain(bridge.map(|name| name.to_string()))) {
        None => Error::new(operation, "unknown network")
            .of(Kind::Input)
            .hint(format!("the configuration file defines networks, as [network.{name}]")),
        nearest => unknown(&operation, "network", nearest),
    })
}

/// The network that options describe: that which is defined with the same bridge, if there is one.
/// What is everybody's on it only the administrator has `told`.
///
/// # Errors
/// A built-in default does not parse, which the tests exclude.
pub(super) fn described(options: &Options, told: &Options, defined: &[NetworkSpec]) -> Result<NetworkSpec> {
    let bridge: Iface = or_default(options.bridge.clone(), DEFAULT_BRIDGE)?;
    let mut network = subnet_env::fill(on_bridge(bridge, defined))?;
    if !options.ip.is_empty() {
        (network.subnets, network.lent) = (options.ip.iter().map(|Gateway(ip)| *ip).collect(), false);
    }
    network.lent |= network.subnets.is_empty();
    if network.subnets.is_empty() {
        let Gateway(ip) = DEFAULT_IP.parse()?;
        network.subnets.push(ip);
    }
    network.check_subnets()?;
    let (mtu, firewall) = (network.mtu.or(mtu(told)), network.firewall.or(told.firewall));
    Ok(NetworkSpec { mtu, firewall, ..network })
}

/// The network that is defined with this bridge, or one that nobody has said anything of.
pub(super) fn on_bridge(bridge: Iface, defined: &[NetworkSpec]) -> NetworkSpec {
    let defined = defined.iter().find(|network| network.parent.is_none() && network.bridge == bridge);
    defined.cloned().unwrap_or_else(|| NetworkSpec::described(bridge, Vec::new()))
}

fn interface(given: Option<Iface>, at: usize) -> Result<Iface> {
    or_default(given, &format!("{IFACE}{at}"))
}

fn or_default<T: FromStr<Err = Error>>(given: Option<T>, default: &str) -> Result<T> {
    given.map_or_else(|| default.parse(), Ok)
}

fn mtu(options: &Options) -> Option<u32> {
    options.mtu.map(|Mtu(mtu)| mtu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    const DEFINED: &str = "[network.front]\nsubnets = ['10.8.0.1/24']\n\
                           [network.back]\nsubnets = ['10.9.0.1/24']\nmtu = 1400\n[network.netns0]";

    fn of(annotated: &str, told: &str) -> Result<Vec<NetworkRequest>> {
        let parse = |text: &str| file::parse(&text.replace('\'', "\""), "/f".as_ref()).unwrap();
        let container = ContainerId { id: "web".to_owned(), bundle: "/b".into() };
        of_container(&parse(annotated).options, &parse(told).options, &parse(DEFINED).networks, &container)
    }

    fn shown(networks: &[NetworkRequest]) -> Vec<String> {
        let one = |wanted: &NetworkRequest| {
            let ips: Vec<String> = wanted.static_ips.iter().map(ToString::to_string).collect();
            format!("{} {} {}", wanted.network.name, wanted.interface, ips.join(","))
        };
        networks.iter().map(|wanted| one(wanted).trim_end().to_owned()).collect()
    }

    #[test]
    fn order_gives_the_interfaces_their_names() {
        let networks = of("network = 'back;front'", "").unwrap();
        assert_eq!(shown(&networks), ["back eth0", "front eth1"]);
        let networks = of("network = ['back:iface=db,ip=10.9.0.7', 'front']", "iface = 'net0'").unwrap();
        assert_eq!(shown(&networks), ["back db 10.9.0.7", "front eth1"]);
        assert_eq!(shown(&of("network = 'front'\niface = 'net0'", "").unwrap()), ["front net0"]);
    }

    #[test]
    fn what_is_said_of_no_network_is_of_the_first_or_of_all() {
        let text = "network = 'front;back'\nmac = '02:00:00:00:00:01'\nroute = '10.7.0.0/16 via 10.8.0.2'\n\
                    no-default-route = true\nstatic-ip = '10.9.0.9'\nrate-out = '1mbit,32kb'";
        let [front, back] = &of(text, "").unwrap()[..] else { panic!() };
        assert_eq!((front.routes.len(), back.routes.len()), (1, 0));
        assert!(front.mac.is_some() && back.mac.is_none());
        assert!(!front.default_route && !back.default_route);
        assert!(front.rate_out.is_some() && front.rate_out == back.rate_out && front.rate_in.is_none());
        assert_eq!(shown(&[front.clone(), back.clone()]), ["front eth0", "back eth1 10.9.0.9"]);
    }

    #[test]
    fn a_network_has_the_mtu_of_its_definition_and_a_container_its_own() {
        let mtus = |networks: Vec<NetworkRequest>| -> Vec<_> {
            networks.iter().map(|wanted| (wanted.network.mtu, wanted.mtu)).collect()
        };
        let networks = of("network = 'front;back'", "mtu = 9000").unwrap();
        assert_eq!(mtus(networks), [(Some(9000), None), (Some(1400), None)]);
        let networks = of("network = 'front:mtu=1300;back'\nmtu = 1280", "").unwrap();
        assert_eq!(mtus(networks), [(None, Some(1300)), (Some(1400), Some(1280))]);
    }

    #[test]
    fn a_network_that_is_described_may_be_defined_too() {
        let [alone] = &of("", "firewall = 'nftables'").unwrap()[..] else { panic!() };
        assert_eq!(shown(std::slice::from_ref(alone)), ["netns0 eth0"]);
        assert!(alone.network.subnets[0].to_string().starts_with("10."), "that which is defined");
        assert!(alone.network.firewall.is_some());
        let [other] = &of("", "bridge = 'br7'").unwrap()[..] else { panic!() };
        assert_eq!(other.network.subnets[0].to_string(), DEFAULT_IP);
        assert_eq!(
            shown(&of("network = 'br7;front'", "bridge = 'br7'").unwrap()),
            ["br7 eth0", "front eth1"]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (annotated, message) in [
            (
                "network = 'frnt'",
                "attach container web: use network frnt: unknown network\n  hint: did you mean front?",
            ),
            ("network = 'zzzzzzzz'", "unknown network\n  hint: the configuration file defines networks"),
            ("network = 'front;front:iface=b'", "use network front for container web: it is asked for twice"),
            (
                "network = 'front:iface=eth1;back'",
                "use interface eth1 on network back for container web: another",
            ),
            (
                "network = 'front'\nno-bridge = true",
                "use network front for container web: there is no bridge",
            ),
            (
                "static-ip = '10.0.0.1'\nno-bridge = true",
                "use a static address for container web: there is no",
            ),
        ] {
            let error = of(annotated, "").unwrap_err();
            assert!(error.to_string().contains(message), "{annotated}: {error}");
            assert_eq!(error.kind(), Kind::Input);
        }
        let many =
            |from: u16| (from..from + 600).map(|n| format!("publish={n}")).collect::<Vec<_>>().join(",");
        let error = of(&format!("network = 'front:{};back:{}'", many(1), many(2000)), "").unwrap_err();
        assert!(error.to_string().ends_with("more than 1024 ports or ranges"), "{error}");
    }
}
