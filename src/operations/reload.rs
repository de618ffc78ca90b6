//! The rules are restored, after a firewall was flushed or reloaded; or moved to another firewall.

use super::rules::{all_rules, is_of};
use super::run::Run;
use crate::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::firewall;
use crate::model::rule::Backend;
use crate::model::step::Step;
use crate::plan;
use crate::store::{Claim, Lock, Owner};

/// How often to wait for other runs.
const ATTEMPTS: usize = 64;

/// What [`reload`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloaded {
    /// How many networks and containers were moved, and to whom.
    pub moved: Option<(usize, Backend)>,
    /// How many rules were missing.
    pub restored: usize,
}

/// Restores every chain and rule that should be there and is not, for all networks and
/// containers. Where flags, environment or file name a firewall, it first gives all rules to that.
///
/// # Errors
/// The rules cannot be read or written.
pub fn reload(settings: &Settings) -> Result<Reloaded> {
    let mut run = Run::open(settings)?;
    run.warn_of_damage();
    settings.warn_of_files();
    let to = settings.network(None).ok().and_then(|network| network.firewall);
    let moved = to.map(|to| run.move_rules(to).map(|moved| (moved, to))).transpose()?;
    Ok(Reloaded { moved: moved.filter(|(moved, _)| *moved > 0), restored: run.restore_rules()? })
}

impl Run<'_> {
    /// Gives all rules to another firewall. The new ones are in place before the old ones go, and
    /// so no packet goes astray; and whoever is killed in between leaves rules of nobody at worst,
    /// since each record tells of the ones or of the others.
    fn move_rules(&mut self, to: Backend) -> Result<usize> {
        let _lock = self.lock_alone()?;
        let before = self.store.records()?;
        let has_iptables = firewall::is_installed(Backend::Iptables);
        let mut after = before.clone();
        for network in &mut after.networks {
            (network.steps, network.firewall) = (plan::moved(&network.steps, to, has_iptables), to);
        }
        for record in after.containers.iter_mut().filter(|record| before.is_complete(record)) {
            record.steps = plan::moved(&record.steps, to, has_iptables);
        }
        let networks = || before.networks.iter().zip(&after.networks).filter(|(old, new)| old != new);
        let containers = || before.containers.iter().zip(&after.containers).filter(|(old, new)| old != new);
        let moved = networks().count() + containers().count();
        if moved == 0 {
            return Ok(0);
        }
        let rules = all_rules(&after);
        self.machine.firewall.restore(&rules)?;
        for (old, new) in networks() {
            let owner = Owner::Network(new.name.clone());
            self.rewrite(&owner, [shared(&old.steps), shared(&new.steps)], || self.store.put_network(new))?;
        }
        for (old, new) in containers() {
            let owner = Owner::Container(new.key());
            self.rewrite(&owner, [shared(&old.steps), shared(&new.steps)], || self.store.put(new))?;
        }
        let unread = self.unread(&after)?;
        self.machine.firewall.remove_unowned(&rules, &|owner| is_of(&unread, owner))?;
        self.forget_transactions();
        self.put_generation(self.machine.netfilter.generation());
        Ok(moved)
    }

    /// The lock of everything, while no other run is applying or undoing anything.
    fn lock_alone(&mut self) -> Result<Lock> {
        for _ in 0..ATTEMPTS {
            self.share_rules(&[])?;
            let lock = self.store.lock()?;
            if self.nobody_pending()? {
                return Ok(lock);
            }
            let pending = self.store.all_pending()?;
            drop(lock);
            self.release_rules();
            pending.into_iter().filter_map(Owner::container).try_for_each(|key| self.store.wait_for(&key))?;
        }
        let cause = "containers come and go all the time";
        Err(Error::new("wait for other runs", cause).of(Kind::Busy))
    }

    /// Writes a record in place of another of the same owner, whose `claims` are those before and
    /// those from now on.
    fn rewrite(
        &self,
        owner: &Owner,
        claims: [Vec<Claim>; 2],
        write: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let [before, after] = claims;
        after.iter().try_for_each(|claim| self.store.claim(claim, owner))?;
        write()?;
        let given_up = before.iter().filter(|claim| !after.contains(claim));
        given_up.into_iter().try_for_each(|claim| self.store.release(claim, owner))
    }
}

/// What a record shares with others.
fn shared(steps: &[Step]) -> Vec<Claim> {
    steps.iter().filter_map(Step::shared_name).map(Claim::Shared).collect()
}
