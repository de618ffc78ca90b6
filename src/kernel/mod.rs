//! The only room that sends anything to the kernel over rtnetlink.
//!
//! | file | what is in it |
//! |---|---|
//! | this one, `steps`, `inside` | [`Kernel`], which applies and undoes the kernel's steps |
//! | [`process`], [`named`], [`alive`], `namespaces` | a container's network namespace: which one it is, whether it is still there |
//! | [`observe`], [`listeners`] | what planning has to know |
//! | [`netlink`], `links`, `device`, `saved` | requests, and the messages of our links and devices |
//! | [`children`] | interfaces on links of the host |
//! | [`moving`], `sysfs` | devices of the host, moved into a container, known again and brought back |
//! | [`sysctl`], [`conntrack`] | parameters and flows |
//! | [`signals`] | what the caller has set of them |
//! | [`probe`], [`changes`] | what only diagnoses and displays need |

/// For `find_map` and the like: what is made of a message or attribute that the pattern fits, and
/// `None` of any other.
macro_rules! when {
    ($pattern:pat => $found:expr) => {
        |it| match it {
            $pattern => Some($found),
            _ => None,
        }
    };
}

pub mod alive;
pub mod changes;
pub mod children;
pub mod conntrack;
mod device;
pub mod inside;
mod links;
pub mod listeners;
pub mod moving;
pub mod named;
pub mod namespaces;
pub mod netlink;
pub mod observe;
pub mod probe;
pub mod process;
mod saved;
pub mod signals;
mod steps;
pub mod sysctl;
mod sysfs;

use std::fs::File;

use crate::error::{Error, Result};
use crate::log::Log;
use inside::Inside;
use netlink::Netlink;
use sysctl::Sysctl;

/// The host's network namespace, and that of the one container that is being attached.
#[derive(Debug)]
pub struct Kernel {
    netlink: Netlink,
    sysctl: Sysctl,
    inside: Option<Inside>,
    /// Whether to wait for what the kernel gives back in its own time. Whoever tries again what
    /// another run has waited for in vain does not.
    pub waits: bool,
    log: Log,
}

impl Kernel {
    /// Opens a netlink socket in the host's network namespace, which is the caller's. `log` is
    /// told what could not be given back to a device of the host.
    ///
    /// # Errors
    /// No socket can be opened.
    pub fn open(log: Log) -> Result<Self> {
        let (netlink, sysctl) = (Netlink::open()?, Sysctl::default());
        Ok(Self { netlink, sysctl, inside: None, waits: true, log })
    }

    /// Enters the network namespace that `netns` is open on, for the steps that are taken in it.
    /// About so many containers have one, `all`: it matters for nothing but the time it takes.
    ///
    /// # Errors
    /// It cannot be entered, or no socket can be opened there.
    pub fn enter(&mut self, netns: File, all: u64) -> Result<()> {
        self.inside = Some(Inside::open(netns, all)?);
        Ok(())
    }

    /// The host's netlink socket.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }

    /// The host's kernel parameters.
    pub fn sysctl(&self) -> &Sysctl {
        &self.sysctl
    }

    /// The netlink socket in the namespace that was entered.
    ///
    /// # Errors
    /// None was.
    pub fn inside_netlink(&self) -> Result<&Netlink> {
        Ok(self.inside()?.netlink())
    }

    fn inside(&self) -> Result<&Inside> {
        self.inside
            .as_ref()
            .ok_or_else(|| Error::new("enter the container's network namespace", "it is not open"))
    }
}
