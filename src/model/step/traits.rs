//! What holds of the steps of each kind: what they are a change of, who shares them, and whether they
//! are undone.

use super::Step;
use crate::model::parent::Child;
use crate::model::rule::Rule;
use crate::model::sandbox::Netns;

/// What a step is a change of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The host: all networks may need it.
    Host,
    /// One network.
    Network,
    /// One container, or those that share a network namespace.
    Container,
}

/// What holds of all steps of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// What it is a change of.
    pub scope: Scope,
    /// Whether several records may hold the very same step: it is undone with the last.
    pub shared: bool,
    /// Whether it has an undoing of its own. What is done to a link of ours goes with the link,
    /// what is done in a container goes with the container, and its loopback is its own.
    pub undone: bool,
}

impl Step {
    /// What holds of all steps of this kind.
    pub fn traits(&self) -> Traits {
        use Scope::{Container, Host, Network};
        let (scope, shared, undone) = match self {
            Self::Firewall(Rule::Base { .. } | Rule::OnlyOurs { .. } | Rule::Block { .. }) => {
                (Host, true, true)
            }
            Self::Firewall(Rule::Network { .. } | Rule::Accept { .. }) => (Network, false, true),
            Self::Firewall(Rule::Publish { .. }) => (Container, false, true),
            Self::JoinNames { .. } | Self::AddVlan(_) => (Host, true, true),
            Self::AddChild(Child { inode: None, .. }) => (Network, false, true),
            Self::Sysctl { before, .. } => (Host, before.is_some(), before.is_some()),
            Self::AddBridge(_) | Self::SetMtu { .. } | Self::MakeNames { .. } => (Network, false, true),
            Self::SetUp { netns: Netns::Host, .. } | Self::AddAddress { netns: Netns::Host, .. } => {
                (Network, false, true)
            }
            Self::SetUp { .. } | Self::AddAddress { .. } => (Container, false, false),
            Self::AddVeth(_) | Self::AddIfb(_) | Self::AddChild(_) => (Container, true, true),
            Self::MoveDevice(_) => (Container, true, true),
            Self::NameNetns { .. } | Self::WriteFile { .. } => (Container, true, true),
            Self::Rename { .. } => (Network, false, false),
            // Goes with a link.
            Self::SetAlias { .. } | Self::SetMaster { .. } | Self::AddRoute { .. } => {
                (Container, false, false)
            }
            Self::Hairpin { .. } | Self::Isolate { .. } | Self::PinPort { .. } => (Container, false, false),
            Self::SetRate { .. } | Self::Redirect { .. } => (Container, false, false),
            Self::AddHostRoute { .. } | Self::AddNeighbour { .. } => (Container, true, true),
            Self::AddHost { .. } => (Container, false, true),
            Self::WriteResolver { shared: true, .. } => (Network, false, false),
            Self::WriteResolver { shared: false, .. } => (Container, false, true),
            Self::Mount(mounts) => (Container, false, mounts.runs),
            Self::AddSourceRule { .. } => (Container, false, false),
        };
        Traits { scope, shared, undone }
    }
}
