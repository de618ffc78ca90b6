//! Why traffic fails: [`diagnose`] looks at [`Facts`] and says what is wrong, and what mends it.
//!
//! One file a subject, each with a function from facts to findings. Pure: what the host, the
//! rules and the containers look like is passed in. Where one fault explains another, only the
//! first is told: a container whose bridge is down is not blamed for its routes.

mod dns;
pub mod facts;
mod finding;
mod firewall;
mod forwarding;
mod link;
mod mtu;
mod ports;
mod probe;
mod routes;
pub mod ruleset;

pub use facts::Facts;
pub use finding::{Check, Finding, Fix};

/// What is wrong; the gravest first.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let mut findings = link::dead(facts);
    findings.extend(forwarding::check(facts));
    findings.extend(link::check(facts));
    findings.extend(firewall::rules(facts));
    findings.extend(firewall::two_variants(facts));
    findings.extend(firewall::forward(facts));
    findings.extend(routes::overlap(facts));
    findings.extend(routes::reverse_path(facts));
    findings.extend(mtu::check(facts));
    findings.extend(dns::check(facts));
    findings.extend(ports::check(facts));
    let explained = findings.iter().any(|finding| finding.check.explains_silence());
    findings.extend(probe::check(facts, explained));
    findings
}
