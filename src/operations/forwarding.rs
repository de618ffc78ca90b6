//! Whether anybody else has come to rely on the host's forwarding since we switched it on.

use std::fs;

use super::apply::undo;
use super::run::Run;
use crate::error::{Doing, Error, Result};
use crate::firewall::rulesets;
use crate::model::link::BRIDGE_MAC;
use crate::model::observed::{Link, Links};
use crate::model::step::Step;
use crate::plan::IP_FORWARD;

/// Where the administrator says what is to be so after the next boot (`sysctl.d(5)`).
const CONFIGURED: [&str; 5] =
    ["/etc/sysctl.conf", "/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// Whether it is the step that makes the host forward.
fn is_forwarding(step: &Step) -> bool {
    matches!(step, Step::Sysctl { key, .. } if key == IP_FORWARD)
}

impl Run {
    /// Undoes steps of a network, but for the host's forwarding where somebody relies on it.
    pub(super) fn undo_unless_needed(&mut self, mut steps: Vec<&Step>, operation: &str) -> Result<()> {
        if steps.iter().any(|step| is_forwarding(step))
            && let Some(who) = self.relies_on_forwarding()?
        {
            steps.retain(|step| !is_forwarding(step));
            let left = Error::new(operation, format!("{IP_FORWARD} stays 1: {who}"));
            self.log.warn(&left.hint(format!("`sysctl -w {IP_FORWARD}=0` once nobody needs it")));
        }
        undo(&steps, &mut self.machine)
    }

    /// Who seems to rely on it, we aside.
    ///
    /// # Errors
    /// The kernel does not answer.
    fn relies_on_forwarding(&self) -> Result<Option<String>> {
        if let Some(file) = configured() {
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
            if is_internal(bridge, &links) && !netlink.addresses(bridge.index).doing(operation)?.is_empty() {
                return Ok(Some(format!("bridge {} may need it", bridge.name)));
            }
        }
        // Without its programs a firewall has no rules that we could ask for.
        let rules = rulesets::read(rulesets::MAX_TEXT).unwrap_or_default();
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

/// The file that says that the host is to forward.
fn configured() -> Option<String> {
    let files = CONFIGURED.iter().flat_map(|place| match fs::read_dir(place) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![place.into()],
    });
    let says = |line: &str| {
        let (key, value) = line.trim().split_once('=').unwrap_or_default();
        let key = key.trim().trim_start_matches('-').replace('.', "/");
        [IP_FORWARD, "net/ipv4/conf/all/forwarding"].contains(&key.as_str()) && value.trim() == "1"
    };
    let mut files = files.filter(|file| fs::read_to_string(file).is_ok_and(|text| text.lines().any(says)));
    files.next().map(|file| file.display().to_string())
}
