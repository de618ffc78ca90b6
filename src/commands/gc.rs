//! The dead are reaped on demand, and rules that nobody owns.

use super::reap::{Look, reap};
use super::reload::wanted;
use super::session::Session;
use super::{Settings, print};
use crate::error::Result;
use crate::firewall::iptables;

/// Reaps every container that is dead or was attached half way only, and every rule into one of
/// our networks that no record tells of, and says which; with `dry_run` only says which.
///
/// # Errors
/// The records or the rules cannot be read, or the kernel does not answer.
pub fn gc(settings: &Settings, dry_run: bool) -> Result<()> {
    if !settings.state_dir.exists() {
        return Ok(());
    }
    let mut session = Session::open(settings)?;
    let mut reaped = if dry_run {
        let dead = session.find_dead(Look::Close)?;
        dead.iter().map(|entry| format!("container {}", entry.id)).collect()
    } else {
        reap(&mut session, Look::Close)?
    };
    session.everyone()?;
    let subnets: Vec<_> = session.survey.networks.iter().map(|network| network.gateway).collect();
    let strays = if subnets.is_empty() {
        Vec::new()
    } else {
        iptables::ownerless(&wanted(&session.survey), &subnets)?
    };
    reaped.extend(strays.iter().map(|rule| format!("rule {rule}")));
    if !dry_run && !strays.is_empty() {
        session.kernel.take_away(strays)?;
    }
    session.close()?;
    print(&reaped.iter().map(|who| format!("{who}\n")).collect::<String>())
}
