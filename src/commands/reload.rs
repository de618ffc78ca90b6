//! The rules come back, after a firewall was flushed or reloaded.

use super::session::Session;
use super::{Settings, print};
use crate::error::Result;
use crate::firewall::{Rule, iptables};
use crate::plan::Step;
use crate::store::record::Survey;

/// Puts back every chain and rule that should be there and is not, for all networks and
/// containers, and says how many.
///
/// # Errors
/// The rules cannot be read or written.
pub fn reload(settings: &Settings) -> Result<()> {
    let mut session = Session::open(settings)?;
    let missing = put_back(&mut session)?;
    session.close()?;
    print(&match missing {
        0 => "every rule is there\n".to_owned(),
        n => format!("put back {n} rules\n"),
    })
}

/// Puts back what is missing; how many rules it was.
pub(super) fn put_back(session: &mut Session) -> Result<usize> {
    let rules = wanted(&session.survey);
    let missing = iptables::missing(&rules)?;
    if !missing.is_empty() {
        session.kernel.put_back(&rules, &missing)?;
    }
    session.rules_are_there();
    Ok(missing.len())
}

/// Every rule that should be there: what is shared once, before what stands in it.
fn wanted(survey: &Survey) -> Vec<Rule> {
    let mut rules = Vec::new();
    for step in survey.held() {
        if let Step::Firewall(rule) = step
            && !rules.contains(rule)
        {
            rules.push(rule.clone());
        }
    }
    for entry in survey.containers.iter().filter(|entry| entry.done) {
        rules.extend(entry.published_rules());
    }
    rules
}
