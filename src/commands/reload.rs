//! The rules come back, after a firewall was flushed or reloaded.

use super::session::Session;
use super::{Settings, print};
use crate::apply::{Failed, apply};
use crate::error::Result;
use crate::firewall::{Rule, iptables};
use crate::plan::Step;
use crate::store::index::Entry;
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

/// Takes steps. If it is the rules that cannot be added, because somebody has removed what they
/// stand on, or has deleted our records and left the rules, makes all rules anew and tries once
/// more.
pub(super) fn apply_or_renew(session: &mut Session, steps: &[Step]) -> std::result::Result<(), Failed> {
    let Err(failed) = apply(steps, &mut session.kernel) else {
        return Ok(());
    };
    if !failed.rules || !failed.clean {
        return Err(failed);
    }
    session.log.debug(&format!("# {}", failed.error));
    let there = match renew(session) {
        Ok(rules) => rules,
        Err(error) => return Err(Failed { error: failed.error.also([error]), ..failed }),
    };
    let renewed = |step: &Step| matches!(step, Step::Firewall(rule) if there.contains(rule));
    let rest: Vec<Step> = steps.iter().filter(|step| !renewed(step)).cloned().collect();
    apply(&rest, &mut session.kernel)
}

/// Makes all rules anew unless they are just as they should be, and says which they are.
fn renew(session: &mut Session) -> Result<Vec<Rule>> {
    let rules = wanted(&session.survey);
    if iptables::differs(&rules)? {
        session.log.debug("# make all rules anew");
        session.kernel.renew_rules(&rules)?;
    }
    session.rules_are_there();
    Ok(rules)
}

/// Every rule that should be there: what is shared once, before what stands in it.
pub(super) fn wanted(survey: &Survey) -> Vec<Rule> {
    let containers = survey.containers.iter().filter(|entry| entry.done);
    let published: Vec<Rule> = containers.flat_map(Entry::published_rules).collect();
    let mut rules = Vec::new();
    if !published.is_empty() {
        // Also where the network's record is lost.
        rules.push(Rule::Base);
    }
    for step in survey.held() {
        if let Step::Firewall(rule) = step
            && !rules.contains(rule)
        {
            rules.push(rule.clone());
        }
    }
    rules.extend(published);
    rules
}
