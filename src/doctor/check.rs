//! Which faults there are.

/// The names of the checks, as `--json` and `docs/doctor.md` have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The configuration file cannot be used, and no container gets a network.
    Configuration,
    /// A network in use is to be otherwise.
    DefinitionChanged,
    /// A container is dead, or was attached half way only.
    DeadContainer,
    /// A container is attached or on a bridge of ours, and no record tells of it.
    Unrecorded,
    /// The host forwards nothing, or not from or to a link.
    ForwardingOff,
    /// A bridge is gone, down, without its address, or no bridge.
    BridgeBroken,
    /// A veth pair is gone, its host end is down, or not a port of its bridge.
    VethBroken,
    /// The interface inside is gone, down, or has lost its address or its default route.
    InterfaceBroken,
    /// What keeps a container to its rate is gone.
    RateMissing,
    /// Packets are dropped since more are sent than a container's rate.
    QueueFull,
    /// The link of the host that a network is on is gone or down, or the host's own interface there.
    ParentBroken,
    /// There is no program to change rules with.
    IptablesMissing,
    /// Rules of ours are gone.
    RulesMissing,
    /// Rules of ours are in the tables of both variants of iptables.
    TwoVariants,
    /// Networks that may reach each other have their rules in different firewalls.
    TwoFirewalls,
    /// Somebody drops what we forward.
    ForwardDropped,
    /// Somebody drops what containers on one bridge send each other.
    BridgeNetfilter,
    /// The route to a container does not lead over its bridge.
    RouteOverlap,
    /// The kernel drops what comes by a link since the answer would leave by another.
    ReversePath,
    /// Packets are larger than the uplink takes.
    MtuTooLarge,
    /// A container asks a resolver on a loopback address where none is.
    LoopbackResolver,
    /// A container has no resolver, since no container reaches the host's.
    NoResolver,
    /// A port is published on an address that the host no longer has.
    AddressGone,
    /// A program of the host listens on a published port.
    PortTaken,
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
            Self::Configuration => "configuration",
            Self::DefinitionChanged => "definition-changed",
            Self::DeadContainer => "dead-container",
            Self::Unrecorded => "unrecorded",
            Self::ForwardingOff => "forwarding-off",
            Self::BridgeBroken => "bridge-broken",
            Self::VethBroken => "veth-broken",
            Self::InterfaceBroken => "interface-broken",
            Self::RateMissing => "rate-missing",
            Self::QueueFull => "queue-full",
            Self::ParentBroken => "parent-broken",
            Self::IptablesMissing => "iptables-missing",
            Self::RulesMissing => "rules-missing",
            Self::TwoVariants => "two-variants",
            Self::TwoFirewalls => "two-firewalls",
            Self::ForwardDropped => "forward-dropped",
            Self::BridgeNetfilter => "bridge-netfilter",
            Self::RouteOverlap => "route-overlap",
            Self::ReversePath => "reverse-path",
            Self::MtuTooLarge => "mtu-too-large",
            Self::LoopbackResolver => "loopback-resolver",
            Self::NoResolver => "no-resolver",
            Self::AddressGone => "address-gone",
            Self::PortTaken => "port-taken",
            Self::RouteLocalnet => "route-localnet",
            Self::PortLedElsewhere => "port-led-elsewhere",
            Self::StaleFlow => "stale-flow",
            Self::NobodyListens => "nobody-listens",
            Self::ListensOnLoopback => "listens-on-loopback",
            Self::GatewaySilent => "gateway-silent",
            Self::PortSilent => "port-silent",
        }
    }

    /// Whether it is reason enough that a packet to a published port is not answered.
    pub fn explains_silence(self) -> bool {
        matches!(
            self,
            Self::RulesMissing
                | Self::TwoVariants
                | Self::RouteOverlap
                | Self::AddressGone
                | Self::RouteLocalnet
                | Self::PortLedElsewhere
                | Self::StaleFlow
        )
    }
}
