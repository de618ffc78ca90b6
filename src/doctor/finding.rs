//! What is found.

use std::fmt;

use ipnetwork::IpNetwork;

use super::Check;
use super::facts::{Container, commands};
use crate::error::one_line;
use crate::model::container::ContainerId;
use crate::model::step::Step;
use crate::model::value::Iface;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub check: Check,
    /// What it is about: `container web`, `bridge netns0`.
    pub object: String,
    /// What is wrong, and what follows from it.
    pub why: String,
    /// The command that fixes it, for a shell.
    pub remedy: Option<String>,
    /// What a command cannot do, or not for good.
    pub advice: Option<String>,
    /// What fixes it, where that is ours to do.
    pub fix: Option<Fix>,
}

impl Finding {
    /// A fault that no command fixes yet. What a terminal may obey in either text is escaped.
    pub fn new(check: Check, object: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self {
            check,
            object: one_line(&object.to_string()),
            why: one_line(&why.to_string()),
            remedy: None,
            advice: None,
            fix: None,
        }
    }

    /// With the command that fixes it.
    #[must_use]
    pub fn remedy(mut self, command: impl fmt::Display) -> Self {
        self.remedy = Some(one_line(&command.to_string()));
        self
    }

    /// With the command that fixes it, if it can be written.
    #[must_use]
    pub fn remedy_if(self, command: Option<String>) -> Self {
        match command {
            Some(command) => self.remedy(command),
            None => self,
        }
    }

    /// With advice.
    #[must_use]
    pub fn advice(mut self, advice: impl fmt::Display) -> Self {
        self.advice = Some(one_line(&advice.to_string()));
        self
    }

    /// With what fixes it.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// With steps on the host as fix, and their text as remedy.
    #[must_use]
    pub fn steps(self, steps: Vec<Step>) -> Self {
        self.remedy(commands(&steps)).fix(Fix::Steps { container: None, steps })
    }

    /// With steps in a container as fix, and their text as remedy.
    #[must_use]
    pub fn steps_in(self, container: &Container, steps: Vec<Step>) -> Self {
        let id = container.record.container.clone();
        self.remedy(container.commands(&steps)).fix(Fix::Steps { container: Some(id), steps })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.object, self.check.name(), self.why)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "\n  remedy: {remedy}")?;
        }
        if let Some(advice) = &self.advice {
            write!(f, "\n  hint: {advice}")?;
        }
        Ok(())
    }
}

/// What fixes a fault, where it is ours to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Garbage-collects stale containers.
    CollectGarbage,
    /// Applies steps.
    Steps {
        /// In whose namespace those are applied that are not for the host.
        container: Option<ContainerId>,
        /// In order.
        steps: Vec<Step>,
    },
    /// Deletes what is left of a veth pair, and applies the steps that make it again.
    Veth {
        /// Whose it is.
        container: ContainerId,
        /// In order; the first is the veth pair.
        steps: Vec<Step>,
    },
    /// Creates what is missing of the network with this bridge.
    Network(Iface),
    /// Takes the bridge's address from it and gives it back, with the route.
    Readdress(Iface, IpNetwork),
    /// Gives a bridge and both ends of its veth pairs this MTU.
    Mtu(Iface, u32),
    /// Restores missing rules.
    Reload,
    /// Removes our rules from the variant of iptables that is not ours.
    CleanOther,
    /// Ends UDP flows.
    ForgetFlows,
}
