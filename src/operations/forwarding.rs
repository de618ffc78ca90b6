//! Whether anybody else has come to rely on the host's forwarding since we switched it on.

use std::fs;

use super::apply::undo;
use super::run::Run;
use crate::error::{Doing, Error, Result};
use crate::firewall::rulesets;
use crate::kernel::observe;
use crate::model::link::BRIDGE_MAC;
use crate::model::observed::{Link, Links};
use crate::model::rule::Family;
use crate::model::step::Step;
use crate::plan::{self, IP_FORWARD};

/// Where the administrator says what is to be so after the next boot (`sysctl.d(5)`).
const CONFIGURED: [&str; 5] =
    ["/etc/sysctl.conf", "/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];
/// The same for IPv6: since Linux 6.17 the first two, the links that are there and those that come;
/// before that the third.
const IPV6_FORWARDING: [&str; 3] = [
    "net/ipv6/conf/all/force_forwarding",
    "net/ipv6/conf/default/force_forwarding",
    "net/ipv6/conf/all/forwarding",
];

/// Of which family the step makes the host forward packets, if it does.
fn forwards(step: &Step) -> Option<Family> {
    match step {
        Step::Sysctl { key, .. } if key == IP_FORWARD => Some(Family::Ipv4),
        Step::Sysctl { key, .. } if IPV6_FORWARDING.contains(&key.as_str()) => Some(Family::Ipv6),
        _ => None,
    }
}

impl Run<'_> {
    /// Undoes steps of a network, but for the host's forwarding where somebody relies on it.
    pub(super) fn undo_unless_needed(&mut self, mut steps: Vec<&Step>, operation: &str) -> Result<()> {
        for family in Family::ALL {
            let switch = steps.iter().find(|step| forwards(step) == Some(family));
            let Some(Step::Sysctl { key, .. }) = switch else { continue };
            if let Some(who) = self.relies_on_forwarding(family)? {
                steps.retain(|step| forwards(step) != Some(family));
                let left = Error::new(operation, format!("{key} stays 1: {who}"));
                self.log.warn(&left.hint(format!("`sysctl -w {key}=0` once nobody needs it")));
            }
        }
        undo(&steps, &mut self.machine)
    }

    /// The steps that must have been taken for the first network by which the host forwards packets of
    /// a family.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub(super) fn forwarding_of(&self, family: Family) -> Result<Vec<Step>> {
        let host = observe::host(&self.machine.kernel, &[family])?;
        let keys = match family {
            Family::Ipv4 => vec![IP_FORWARD],
            Family::Ipv6 if host.forwarding6.key == IPV6_FORWARDING[0] => IPV6_FORWARDING[..2].to_vec(),
            Family::Ipv6 => vec![IPV6_FORWARDING[2]],
        };
        Ok(keys.into_iter().map(plan::switched_on).collect())
    }

    /// Who seems to rely on it, we aside.
    ///
    /// # Errors
    /// The kernel does not answer.
    fn relies_on_forwarding(&self, family: Family) -> Result<Option<String>> {
        if let Some(file) = configured(family) {
            return Ok(Some(format!("{file} asks for it")));
        }
        let netlink = self.machine.kernel.netlink();
        let operation = || "look at links";
        let links = netlink.links().doing(operation)?;
        let recorded = self.store.records()?.networks;
        let ours = |link: &Link| {
            let recorded = recorded.iter().any(|network| network.bridge.as_str() == link.name);
            recorded || link.address.starts_with(&[0x02, BRIDGE_MAC])
        };
        for bridge in links.0.iter().filter(|link| !ours(link)) {
            let addresses = netlink.addresses(bridge.index).doing(operation)?;
            let has_one = addresses.iter().any(|address| Family::of(address.ip()) == family);
            if has_one && is_internal(bridge, &links) {
                return Ok(Some(format!("bridge {} may need it", bridge.name)));
            }
        }
        // Without its programs a firewall has no rules that we could ask for.
        let rules = rulesets::read(&[family], rulesets::MAX_TEXT).unwrap_or_default();
        Ok(rules
            .of_others_that_forward()
            .map(|rule| format!("a rule of others lets packets through: {rule}")))
    }
}

/// A bridge that is up and has no port on a wire, as engines make them.
fn is_internal(bridge: &Link, links: &Links) -> bool {
    let mut ports = links.0.iter().filter(|link| link.master == Some(bridge.index));
    let of_guest = |port: &Link| matches!(port.kind.as_deref(), Some("veth" | "tun"));
    bridge.kind.as_deref() == Some("bridge") && bridge.up && ports.all(of_guest)
}

/// The file that says that the host is to forward packets of a family.
fn configured(family: Family) -> Option<String> {
    let files = CONFIGURED.iter().flat_map(|place| match fs::read_dir(place) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![place.into()],
    });
    let says = |line: &str| {
        let (key, value) = line.trim().split_once('=').unwrap_or_default();
        let key = key.trim().trim_start_matches('-').replace('.', "/");
        let asked = match family {
            Family::Ipv4 => [IP_FORWARD, "net/ipv4/conf/all/forwarding"].contains(&key.as_str()),
            Family::Ipv6 => IPV6_FORWARDING.contains(&key.as_str()),
        };
        asked && value.trim() == "1"
    };
    let mut files = files.filter(|file| fs::read_to_string(file).is_ok_and(|text| text.lines().any(says)));
    files.next().map(|file| file.display().to_string())
}
