//! Networks whose subnet another program chooses for this host: the file in which flannel says so.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ipnetwork::IpNetwork;
use nix::fcntl::OFlag;

use crate::error::{Error, Kind, Result};
use crate::model::network::NetworkSpec;
use crate::model::peers::Range;
use crate::model::rule::Family;
use crate::model::value::{Gateway, Mtu};

/// The most that such a file may have, in bytes; flannel writes some 200.
const MAX_BYTES: u64 = 4096;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// The gateways, each with its line.
    subnets: Vec<(usize, IpNetwork)>,
    networks: Vec<Range>,
    mtu: Option<u32>,
    /// Whether its author masquerades.
    masquerades: bool,
}

/// A network as its file says now; one that has no such file as it is.
///
/// # Errors
/// The file is not there yet, cannot be read, or has a mistake.
pub(super) fn fill(mut spec: NetworkSpec) -> Result<NetworkSpec> {
    let Some(path) = &spec.subnet_from else { return Ok(spec) };
    let operation = format!("read the subnet of network {} from {}", spec.name, path.display());
    let text = read(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            let hint = "flannel writes it as soon as it has a subnet for this host: is flanneld up?";
            Error::new(&operation, cause).of(Kind::Busy).hint(hint)
        }
        _ => Error::new(&operation, cause),
    })?;
    let refuse = |(line, cause): (usize, String)| {
        let operation = format!("use line {line} of {} for network {}", path.display(), spec.name);
        Error::new(operation, cause).of(Kind::Input)
    };
    let said = parse(&text).map_err(refuse)?;
    if said.subnets.is_empty() {
        return Err(
            Error::new(operation, "it names neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET").of(Kind::Input)
        );
    }
    spec.subnets = said.subnets.into_iter().map(|(_, gateway)| gateway).collect();
    spec.check_subnets()?;
    spec.mtu = spec.mtu.or(said.mtu);
    spec.peers.add(said.networks);
    spec.peers.others_masquerade = said.masquerades;
    Ok(spec)
}

/// Nobody is waited for who might write it: it may be anything.
fn read(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

/// Lines of `NAME=value`, of which others than flannel's mean nothing here; a mistake with its line.
fn parse(text: &str) -> std::result::Result<Said, (usize, String)> {
    let mut said = Said::default();
    for (at, line) in text.lines().enumerate() {
        let (at, line) = (at + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or_else(|| (at, "it is not NAME=value".to_owned()))?;
        let value = value.trim_matches('"');
        let told = |cause: &dyn std::fmt::Display| (at, format!("{name}: {cause}"));
        let family = if name.starts_with("FLANNEL_IPV6_") { Family::Ipv6 } else { Family::Ipv4 };
        match name {
            // Where it has none of a family.
            _ if value.is_empty() => {}
            "FLANNEL_SUBNET" | "FLANNEL_IPV6_SUBNET" => {
                let Gateway(gateway) = value.parse().map_err(|cause: Error| told(&cause))?;
                if Family::of(gateway.ip()) != family {
                    return Err(told(&format!("{gateway} is not of {family}")));
                }
                said.subnets.push((at, gateway));
            }
            "FLANNEL_NETWORK" | "FLANNEL_IPV6_NETWORK" => {
                for range in value.split(',') {
                    said.networks.push(range.trim().parse().map_err(|cause: Error| told(&cause))?);
                }
            }
            "FLANNEL_MTU" => {
                let Mtu(mtu) = value.parse().map_err(|cause: Error| told(&cause))?;
                said.mtu = Some(mtu);
            }
            "FLANNEL_IPMASQ" => {
                said.masquerades = value.parse().map_err(|cause: std::str::ParseBoolError| told(&cause))?
            }
            _ => {}
        }
    }
    let is_outside =
        |gateway: &IpNetwork| !said.networks.iter().any(|Range(range)| range.contains(gateway.ip()));
    match said.subnets.iter().find(|(_, gateway)| is_outside(gateway)) {
        Some((at, gateway)) => Err((*at, format!("{gateway} is in no network that the file names"))),
        None => Ok(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLANNEL: &str = "FLANNEL_NETWORK=10.5.0.0/16,10.6.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\n\
        FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:48::1/64\n\
        FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";

    #[test]
    fn what_flannel_writes_is_read() {
        let said = parse(FLANNEL).unwrap();
        let subnets: Vec<String> = said.subnets.iter().map(|(_, gateway)| gateway.to_string()).collect();
        assert_eq!(subnets, ["10.5.72.1/24", "fd00:5:0:48::1/64"]);
        let networks: Vec<String> = said.networks.iter().map(|Range(range)| range.to_string()).collect();
        assert_eq!(networks, ["10.5.0.0/16", "10.6.0.0/16", "fd00:5::/48"]);
        assert_eq!((said.mtu, said.masquerades), (Some(1450), false));
        let quoted = "# by hand\n\nFLANNEL_SUBNET=\"10.5.72.1/24\"\nFLANNEL_NETWORK=\"10.5.0.0/16\"\n\
            FLANNEL_IPV6_SUBNET=\nFLANNEL_IPMASQ=true\nOTHER=x";
        let said = parse(quoted).unwrap();
        assert_eq!((said.subnets.len(), said.mtu, said.masquerades), (1, None, true));
    }

    #[test]
    fn a_mistake_is_told_with_its_line() {
        for (from, to, line, cause) in [
            (
                "10.5.72.1/24",
                "10.5.72.0/24",
                2,
                "FLANNEL_SUBNET: address '10.5.72.0/24': it is the network or",
            ),
            ("10.5.72.1/24", "10.9.72.1/24", 2, "10.9.72.1/24 is in no network that the file names"),
            ("10.5.72.1/24", "fd00:5::1/64", 2, "FLANNEL_SUBNET: fd00:5::1/64 is not of ipv4"),
            ("10.6.0.0/16", "10.6.0.1/16", 1, "FLANNEL_NETWORK: range '10.6.0.1/16': it has an address"),
            ("10.6.0.0/16", "::/0", 1, "FLANNEL_NETWORK: range '::/0': it is everybody's"),
            ("fd00:5::/48", "", 4, "fd00:5:0:48::1/64 is in no network"),
            ("1450", "huge", 5, "FLANNEL_MTU: mtu 'huge': it must be"),
            ("false", "no", 6, "FLANNEL_IPMASQ: provided string was not"),
            ("FLANNEL_MTU=", "", 5, "it is not NAME=value"),
        ] {
            let (at, said) = parse(&FLANNEL.replacen(from, to, 1)).unwrap_err();
            assert!(at == line && said.starts_with(cause), "{to}: line {at}: {said}");
        }
    }
}
