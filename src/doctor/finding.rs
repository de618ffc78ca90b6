//! What is found.

use std::fmt;

use ipnetwork::IpNetwork;

use crate::config::value::Iface;
use crate::error::one_line;
use crate::plan::Step;

/// The names of the checks, as `--json` and the README have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// A container is dead, or was attached half way only.
    DeadContainer,
    /// The host forwards nothing, or not from or to a link.
    ForwardingOff,
    /// A bridge is gone, down, without its address, or no bridge.
    BridgeBroken,
    /// A cable is gone, down, or not plugged into its bridge.
    CableBroken,
    /// The interface inside is gone, down, or has lost its address or its default route.
    InterfaceBroken,
    /// There is no program to change rules with.
    IptablesMissing,
    /// Rules of ours are gone.
    RulesMissing,
    /// Rules of ours are in the tables of both variants of iptables.
    TwoVariants,
    /// Somebody drops what we forward.
    ForwardDropped,
    /// Somebody drops what containers on one bridge send each other.
    BridgeNetfilter,
    /// The way to a container does not lead over its bridge.
    RouteOverlap,
    /// The kernel drops what comes by a link since the answer would leave by another.
    ReversePath,
    /// Packets are larger than the uplink takes.
    MtuTooLarge,
    /// A container asks a resolver on a loopback address where none is.
    LoopbackResolver,
    /// A port cannot be published on localhost.
    RouteLocalnet,
    /// Another rule leads a published port elsewhere.
    PortLedElsewhere,
    /// A UDP flow goes on to where the port no longer leads.
    StaleFlow,
    /// Nobody listens in the container.
    NobodyListens,
    /// Who listens in the container does so on a loopback address only.
    ListensOnLoopback,
    /// A packet to the gateway is not answered, though all looks right.
    GatewaySilent,
    /// A packet to a published port is not answered, though all looks right.
    PortSilent,
}

impl Check {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeadContainer => "dead-container",
            Self::ForwardingOff => "forwarding-off",
            Self::BridgeBroken => "bridge-broken",
            Self::CableBroken => "cable-broken",
            Self::InterfaceBroken => "interface-broken",
            Self::IptablesMissing => "iptables-missing",
            Self::RulesMissing => "rules-missing",
            Self::TwoVariants => "two-variants",
            Self::ForwardDropped => "forward-dropped",
            Self::BridgeNetfilter => "bridge-netfilter",
            Self::RouteOverlap => "route-overlap",
            Self::ReversePath => "reverse-path",
            Self::MtuTooLarge => "mtu-too-large",
            Self::LoopbackResolver => "loopback-resolver",
            Self::RouteLocalnet => "route-localnet",
            Self::PortLedElsewhere => "port-led-elsewhere",
            Self::StaleFlow => "stale-flow",
            Self::NobodyListens => "nobody-listens",
            Self::ListensOnLoopback => "listens-on-loopback",
            Self::GatewaySilent => "gateway-silent",
            Self::PortSilent => "port-silent",
        }
    }
}

impl Check {
    /// Whether it is reason enough that a packet to a published port is not answered.
    pub fn explains_silence(self) -> bool {
        matches!(
            self,
            Self::RulesMissing
                | Self::TwoVariants
                | Self::RouteOverlap
                | Self::RouteLocalnet
                | Self::PortLedElsewhere
                | Self::StaleFlow
        )
    }
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub check: Check,
    /// What it is about: `container web`, `bridge netns0`.
    pub object: String,
    /// What is wrong, and whom it hurts.
    pub why: String,
    /// The command that mends it, for a shell.
    pub remedy: Option<String>,
    /// What a command cannot do, or not for good.
    pub advice: Option<String>,
    /// What mends it, where that is ours to do.
    pub fix: Option<Fix>,
}

impl Finding {
    /// A fault that no command mends yet. What a terminal may obey in either text is escaped.
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

    /// With the command that mends it.
    #[must_use]
    pub fn remedy(mut self, command: impl fmt::Display) -> Self {
        self.remedy = Some(one_line(&command.to_string()));
        self
    }

    /// With the command that mends it, if it can be written.
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

    /// With what mends it.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// With steps as fix, and their text as remedy.
    #[must_use]
    pub fn steps(self, pid: Option<i32>, steps: Vec<Step>) -> Self {
        let text: Vec<String> = steps.iter().map(ToString::to_string).collect();
        self.remedy(text.join(" && ")).fix(Fix::Steps { pid, steps })
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

/// What mends a fault, where it is ours to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Reaps the dead.
    Reap,
    /// Takes steps; those inside are for the container of process `pid`.
    Steps {
        /// In whose namespace.
        pid: Option<i32>,
        /// In order.
        steps: Vec<Step>,
    },
    /// As the steps, once what is left of a cable is out of the way.
    Cable {
        /// In whose namespace.
        pid: i32,
        /// In order; the first is the cable.
        steps: Vec<Step>,
    },
    /// Makes the network's bridge whole.
    Network(Iface),
    /// Takes the bridge's address from it and gives it back, with the route.
    Readdress(Iface, IpNetwork),
    /// Gives a bridge, its cables and their other ends this MTU.
    Mtu(Iface, u32),
    /// Puts back rules.
    Reload,
    /// Takes our rules from the variant of iptables that is not ours.
    CleanOther,
    /// Ends UDP flows.
    ForgetFlows,
}
