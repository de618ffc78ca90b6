//! The grammar of `--network`: a network that a container is to be attached to, and what it is to
//! have there, as `back[:ip=10.9.0.7][,iface=eth1][,mac=…][,metric=200][,alias=db][,mtu=1400]
//! [,route=10.10.0.0/16 via 10.9.0.2][,publish=8080:80][,no-default-route][,rate-in=100mbit/32kb]
//! [,rate-out=100mbit]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::dns::{HostName, MAX_WORDS};
use super::network::NetworkName;
use super::publish::Publish;
use super::rate::Rate;
use super::route::RouteSpec;
use super::value::{Iface, Mac, Mtu};
use crate::error::Error;

/// The keys, in the order in which they are shown.
pub const KEYS: [&str; 12] = [
    "ip",
    "iface",
    "mac",
    "metric",
    "alias",
    "mtu",
    "route",
    "no-default-route",
    "publish",
    "from",
    "rate-in",
    "rate-out",
];

/// A network that a container asks for by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The network's name.
    pub network: NetworkName,
    /// The addresses to have there.
    pub ips: Vec<IpAddr>,
    /// The interface's name inside.
    pub iface: Option<Iface>,
    /// The interface's address.
    pub mac: Option<Mac>,
    /// Of the default routes by it.
    pub metric: Option<u32>,
    /// What neighbours on this network call it besides.
    pub aliases: Vec<HostName>,
    /// Of its veth pair, in bytes.
    pub mtu: Option<u32>,
    /// Routes besides those of the network.
    pub routes: Vec<RouteSpec>,
    /// Whether no default route may lead by it.
    pub no_default_route: bool,
    /// Ports whose packets are led to the address there.
    pub publish: Vec<Publish>,
    /// How fast it receives there at most.
    pub rate_in: Option<Rate>,
    /// How fast it sends there at most.
    pub rate_out: Option<Rate>,
}

impl Place {
    /// A place on a network with nothing particular about it.
    pub fn on(network: NetworkName) -> Self {
        Self {
            network,
            ips: Vec::new(),
            iface: None,
            mac: None,
            metric: None,
            aliases: Vec::new(),
            mtu: None,
            routes: Vec::new(),
            no_default_route: false,
            publish: Vec::new(),
            rate_in: None,
            rate_out: None,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "ip" => push(&mut self.ips, value)?,
            "iface" => once(&mut self.iface, key, parse(key, value)?)?,
            "mac" => once(&mut self.mac, key, parse(key, value)?)?,
            "metric" => once(&mut self.metric, key, parse(key, value)?)?,
            "alias" => push(&mut self.aliases, value)?,
            "mtu" => once(&mut self.mtu, key, parse(key, value).map(|Mtu(mtu)| mtu)?)?,
            "route" => push(&mut self.routes, value)?,
            "no-default-route" if value.is_empty() => self.no_default_route = true,
            "no-default-route" => return Err("no-default-route has no value".to_owned()),
            "publish" => self.publish.push(parse("publish", value)?),
            "from" => {
                let port = self.publish.pop().ok_or("no publish= stands before from=")?;
                self.publish.push(parse("publish", &format!("{port},from={value}"))?);
            }
            "rate-in" => once(&mut self.rate_in, key, parse(key, value)?)?,
            "rate-out" => once(&mut self.rate_out, key, parse(key, value)?)?,
            _ => return Err(format!("'{key}' is not one of {}", KEYS.join(", "))),
        }
        Ok(())
    }
}

fn parse<T: FromStr<Err: fmt::Display>>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|cause| format!("{key} '{value}': {cause}"))
}

/// Sets what may be said once.
pub(super) fn once<T>(field: &mut Option<T>, key: &str, value: T) -> Result<(), String> {
    field.replace(value).map_or(Ok(()), |_| Err(format!("{key} is said twice")))
}

fn push<T: FromStr<Err: fmt::Display> + PartialEq>(list: &mut Vec<T>, value: &str) -> Result<(), String> {
    let one = value.parse().map_err(|cause| format!("'{value}': {cause}"))?;
    if list.contains(&one) {
        return Err(format!("{value} is said twice"));
    }
    list.push(one);
    if list.len() > MAX_WORDS { Err(format!("more than {MAX_WORDS} of a kind")) } else { Ok(()) }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let shown: String = text.chars().take(80).collect();
        let refuse = |cause: String| Error::new(format!("network '{shown}'"), cause);
        let (name, keys) = text.split_once(':').unwrap_or((text, ""));
        let mut place = Self::on(name.trim().parse().map_err(|error: Error| refuse(error.to_string()))?);
        for part in keys.split(',').map(str::trim).filter(|_| !keys.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            place.set(key, value).map_err(refuse)?;
        }
        Ok(place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn all(key: &str, values: impl IntoIterator<Item: fmt::Display>) -> Vec<String> {
            values.into_iter().map(|value| format!("{key}={value}")).collect()
        }
        let mut keys = all("ip", &self.ips);
        keys.extend(all("iface", &self.iface));
        keys.extend(all("mac", self.mac));
        keys.extend(all("metric", self.metric));
        keys.extend(all("alias", &self.aliases));
        keys.extend(all("mtu", self.mtu));
        keys.extend(all("route", self.routes.iter().map(|route| String::from(*route))));
        keys.extend(self.no_default_route.then(|| "no-default-route".to_owned()));
        keys.extend(all("publish", &self.publish));
        keys.extend(all("rate-in", self.rate_in));
        keys.extend(all("rate-out", self.rate_out));
        write!(f, "{}{}{}", self.network, if keys.is_empty() { "" } else { ":" }, keys.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        text.parse::<Place>().map_or_else(|error| error.to_string(), |place| place.to_string())
    }

    #[test]
    fn every_documented_form_is_read() {
        for text in [
            "front",
            "back:ip=10.9.0.7,ip=fd00:9::7,iface=eth1,mac=02:00:00:00:00:01,metric=200,alias=db",
            "back:alias=db,alias=store,mtu=1400,route=10.10.0.0/16 via 10.9.0.2 metric 5,no-default-route",
            "back:rate-in=100mbit/32kb,rate-out=10mbit",
            "back:route=10.10.0.0/16 blackhole,publish=127.0.0.1:8080:80/tcp,from=10.0.0.0/8,publish=53/udp",
        ] {
            assert_eq!(shown(text), text);
        }
        assert_eq!(shown("front:"), "front");
        assert_eq!(shown(" front : ip=10.0.0.2 , mtu=1400"), "front:ip=10.0.0.2,mtu=1400");
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "1 to 63 letters"),
            ("a/b", "1 to 63 letters"),
            ("a:ip=x", "'x': invalid IP address"),
            ("a:ip=10.0.0.2,ip=10.0.0.2", "10.0.0.2 is said twice"),
            ("a:iface=a b", "only letters"),
            ("a:mac=02:00", "not six octets"),
            ("a:metric=low", "metric 'low': invalid digit"),
            ("a:metric=1,metric=2", "metric is said twice"),
            ("a:mtu=1", "from 68 to 65535"),
            ("a:mtu=1400,mtu=1500", "mtu is said twice"),
            ("a:alias=localhost", "it means whoever asks"),
            ("a:route=10.0.0.1/8", "host bits set"),
            ("a:publish=0", "not a port"),
            ("a:from=10.0.0.0/8", "no publish= stands before"),
            ("a:rate-in=fast", "rate-in 'fast': rate 'fast': it must be like 100mbit"),
            ("a:rate-in=10mbit,32kb", "'32kb' is not one of"),
            ("a:no-default-route=no", "no-default-route has no value"),
            ("a:,", "'' is not one of ip, iface"),
            ("a:vlan=7", "'vlan' is not one of ip, iface, mac, metric, alias, mtu, route, no-default-route"),
        ] {
            assert!(shown(text).contains(reason), "{text}: {}", shown(text));
        }
        let many: Vec<String> = (1..=17).map(|n| format!("ip=10.0.0.{n}")).collect();
        assert!(shown(&format!("a:{}", many.join(","))).contains("more than 16 of a kind"));
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_so_that_it_reads_back_the_same(
            text in "[a-z0-9]{1,6}(:(ip=10\\.[0-9]\\.0\\.[0-9]|mtu=[0-9]{2,5}|metric=[0-9]{1,4}|alias=[a-z]{1,4}|no-default-route|rate-out=[0-9]{4,6}kbit/[0-9]{1,5}|publish=[0-9]{1,5}))?(,(ip=fd00::[0-9]|iface=[a-z]{1,5}|route=10\\.[0-9]\\.0\\.0/16|publish=[0-9]{1,4}:[0-9]{1,4})){0,4}",
        ) {
            if let Ok(place) = text.parse::<Place>() {
                prop_assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[a-z0-9=,./: ]{0,40}") {
            let _ = text.parse::<Place>();
        }
    }
}
