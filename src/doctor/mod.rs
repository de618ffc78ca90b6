//! Why traffic fails, and what fixes it.
//!
//! [`doctor`] observes host and containers, sends packets where that is asked for, and changes
//! nothing unless it is told to, and then only what is ours. In between, [`diagnose`] goes from
//! [`Facts`] to findings: one file a subject, pure. Where one fault explains another, only the
//! first is told: a container whose bridge is down is not blamed for its routes.

mod check;
mod dns;
pub mod facts;
mod finding;
mod firewall;
mod fix;
mod forward;
mod forwarding;
mod link;
mod mtu;
mod observe;
mod parent;
mod ports;
mod probe;
mod rates;
mod routes;
pub mod ruleset;
mod shell;
mod show;
#[cfg(test)]
mod tests;

use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::model::network::NetworkName;
pub use check::Check;
pub use facts::Facts;
pub use finding::{Finding, Fix};

/// How often to observe again after something was fixed: one fault may hide another.
const ROUNDS: usize = 4;

/// What is asked for besides a diagnosis.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// To send packets too, on this machine only.
    pub probe: bool,
    /// To fix what is ours.
    pub fix: bool,
    /// To tell it as a JSON array.
    pub json: bool,
}

/// Examines the container called `id`, or everything, and says what is wrong. Whether nothing
/// is, or nothing is left after fixing.
///
/// # Errors
/// There is no container called `id`, or several; the kernel does not answer.
pub fn doctor(settings: &Settings, id: Option<&str>, options: Options) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        let error = Error::new("look for faults", "only root may look into containers and at rules");
        return Err(error.of(Kind::Denied));
    }
    let mut observed = observe::observe(settings, id, options.probe)?;
    let mut left = observed.findings();
    let mut fixed = Vec::new();
    for _ in 0..ROUNDS {
        let (ours, others): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|finding| options.fix && finding.fix.is_some());
        left = others;
        if ours.is_empty() {
            break;
        }
        fix::fix_all(settings, &observed.facts, &ours);
        observed = observe::observe(settings, id, options.probe)?;
        left = observed.findings();
        // What is still there was not fixed, and will not be by trying again.
        let stays = |finding: &Finding| {
            left.iter().any(|other| other.check == finding.check && other.object == finding.object)
        };
        let (stuck, done): (Vec<_>, Vec<_>) = ours.into_iter().partition(stays);
        fixed.extend(done);
        if !stuck.is_empty() {
            break;
        }
    }
    show::show(&observed, &fixed, &left, options.json)?;
    Ok(left.is_empty())
}

fn configuration(facts: &Facts) -> impl Iterator<Item = Finding> {
    let of_all = facts.mistake.iter().map(|mistake| (mistake, "no container gets a network"));
    let of_some = facts.unread_subnets.iter().map(|mistake| (mistake, "no container gets that network"));
    of_all.chain(of_some).map(|((why, hint), effect)| {
        let why = format!("{why}: until it is mended, {effect}");
        let finding = Finding::new(Check::Configuration, "configuration", why);
        match hint {
            Some(hint) => finding.advice(hint),
            None => finding,
        }
    })
}

fn changed((name, why): &(NetworkName, String)) -> Finding {
    let why = format!("{why}: while containers are on it, nobody else gets it");
    let finding = Finding::new(Check::DefinitionChanged, format!("network {name}"), why);
    finding.advice("detach them, and the next attach makes it anew; or take the change back")
}

/// What is wrong; the gravest first.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = configuration(facts).collect();
    findings.extend(facts.changed.iter().map(changed));
    findings.extend(link::stale(facts));
    findings.extend(link::unrecorded(facts));
    findings.extend(forwarding::check(facts));
    findings.extend(link::check(facts));
    findings.extend(parent::check(facts));
    findings.extend(firewall::rules(facts));
    findings.extend(firewall::two_variants(facts));
    findings.extend(firewall::two_firewalls(facts));
    findings.extend(forward::check(facts));
    findings.extend(routes::overlap(facts));
    findings.extend(routes::reverse_path(facts));
    findings.extend(rates::check(facts));
    findings.extend(mtu::check(facts));
    findings.extend(dns::check(facts));
    findings.extend(ports::check(facts));
    let explained = findings.iter().any(|finding| finding.check.explains_silence());
    findings.extend(probe::check(facts, explained));
    findings
}
