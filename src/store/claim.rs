//! Claims: symbolic links to the record that holds them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::records::some_names_in;
use super::{Store, held, in_directory, names_in, or_gone, read_link, remove};
use crate::error::{Doing, Result};
use crate::model::container::Key;
use crate::model::network::{Network, NetworkName};
use crate::model::port::PortMapping;
use crate::model::record::Record;
use crate::model::sandbox::Sandbox;
use crate::model::step::Step;
use crate::model::value::Mac;

/// Something that a record holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// An address of a network.
    Lease(NetworkName, IpAddr),
    /// A link-layer address on a network that was asked for.
    Mac(NetworkName, Mac),
    /// Ports of the host.
    Ports(PortMapping),
    /// A line of a network's hosts file.
    Slot(NetworkName, u32),
    /// A place in a network namespace; others may have theirs.
    Netns(u64),
    /// A process to look at; `None` for a namespace that was found by a path.
    Process(Option<i32>),
    /// A step that others may hold too.
    Shared(String),
}

/// Who holds a claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A container.
    Container(Key),
    /// A network.
    Network(NetworkName),
    /// Whoever it is that a link leads to which we have not made.
    Unknown,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(key) => write!(f, "container {}", key.id()),
            Self::Network(name) => write!(f, "network {name}"),
            Self::Unknown => f.write_str("another container"),
        }
    }
}

impl Owner {
    /// The container, if it is one.
    pub(crate) fn container(self) -> Option<Key> {
        if let Self::Container(key) = self { Some(key) } else { None }
    }

    fn name(&self) -> &str {
        match self {
            Self::Container(key) => key.as_str(),
            Self::Network(name) => name.as_str(),
            Self::Unknown => "",
        }
    }

    /// What a link says that is there below the state directory.
    fn target(&self, link: &str) -> String {
        let kind = if matches!(self, Self::Container(_)) { "containers" } else { "networks" };
        format!("{}{kind}/{}.json", "../".repeat(link.matches('/').count()), self.name())
    }

    /// Whom a link leads to; `None` for one that we have not made.
    fn of_target(target: &Path) -> Option<Self> {
        let name = target.file_name()?.to_str()?.strip_suffix(".json")?;
        match target.parent()?.file_name()?.to_str()? {
            "containers" => Key::parse(name).map(Self::Container),
            "networks" => name.parse().ok().map(Self::Network),
            _ => None,
        }
    }
}

impl Claim {
    /// Everything that a container's record lists.
    pub fn all_of(record: &Record) -> Vec<Self> {
        let leases = record.attachments.iter().flat_map(|attachment| {
            let network = attachment.network.iter();
            network.flat_map(|name| attachment.addresses.iter().map(|a| Self::Lease(name.clone(), a.ip())))
        });
        let macs = record.attachments.iter().filter_map(|attachment| {
            let asked_for = attachment.mac.filter(|mac| !mac.is_derived())?;
            Some(Self::Mac(attachment.network.clone()?, asked_for))
        });
        let of_steps = record.steps.iter().filter_map(|step| match step {
            Step::AddHost { path, slot, .. } => {
                let network = path.parent()?.file_name()?.to_str()?.parse().ok()?;
                Some(Self::Slot(network, *slot))
            }
            step => step.shared_name().map(Self::Shared),
        });
        let mut all: Vec<Self> = Self::of_sandbox(&record.sandbox).into();
        for claim in leases.chain(macs).chain(of_steps) {
            if !all.contains(&claim) {
                all.push(claim);
            }
        }
        // No two are the same.
        all.extend(record.ports.iter().cloned().map(Self::Ports));
        all
    }

    /// What every container holds.
    fn of_sandbox(sandbox: &Sandbox) -> [Self; 2] {
        [Self::Netns(sandbox.netns), Self::Process(sandbox.pid())]
    }

    /// Everything that a network's record lists.
    pub(crate) fn all_of_network(network: &Network) -> Vec<Self> {
        network.steps.iter().filter_map(Step::shared_name).map(Self::Shared).collect()
    }

    /// Its links, below the state directory.
    fn links(&self, owner: &Owner) -> Vec<String> {
        let name = owner.name();
        let link = match self {
            Self::Lease(network, ip) => format!("leases/{network}/{ip}"),
            Self::Slot(network, slot) => format!("slots/{network}/{slot}"),
            Self::Mac(network, mac) => format!("macs/{network}/{mac}"),
            Self::Netns(inode) => format!("netns/{inode}/{name}"),
            Self::Process(Some(pid)) => format!("pids/{pid}@{name}"),
            Self::Process(None) => format!("pids/netns@{name}"),
            Self::Shared(step) => format!("shared/{step}/{name}"),
            Self::Ports(mapping) => return super::ports::links(mapping),
        };
        vec![link]
    }

    /// Whether a link is in a directory that goes with its last claim.
    fn has_a_directory(&self) -> bool {
        matches!(self, Self::Netns(_) | Self::Shared(_) | Self::Ports(_) | Self::Mac(..))
    }
}

impl Store {
    /// Makes a claim; the owner's own is fine.
    ///
    /// # Errors
    /// Somebody else has it, or it cannot be written.
    pub fn claim(&self, claim: &Claim, owner: &Owner) -> Result<()> {
        for link in claim.links(owner) {
            let path = self.dir.join(&link);
            let target = owner.target(&link);
            let operation = || format!("claim {}", path.display());
            match in_directory(&path, || symlink(&target, &path)) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => match self.owner(&path)? {
                    Some(other) if other == *owner => {}
                    None | Some(Owner::Unknown) => self.replace_link(&path, &target)?,
                    Some(other) => return Err(held(operation(), format!("{other} has it"))),
                },
                made => made.doing(operation)?,
            }
        }
        Ok(())
    }

    /// Gives up a claim, if it is the owner's.
    pub(crate) fn release(&self, claim: &Claim, owner: &Owner) -> Result<()> {
        for link in claim.links(owner) {
            let path = self.dir.join(link);
            if self.owner(&path)?.as_ref() == Some(owner) {
                remove(&path)?;
            }
            if claim.has_a_directory() {
                let _ = path.parent().map(fs::remove_dir);
            }
        }
        Ok(())
    }

    /// Hands a claim on to somebody else who lists it too.
    pub(crate) fn hand_on(&self, claim: &Claim, to: &Owner) -> Result<()> {
        for link in claim.links(to) {
            self.replace_link(&self.dir.join(&link), &to.target(&link))?;
        }
        Ok(())
    }

    /// Whether every claim of a record is there.
    pub(crate) fn has_all_claims(&self, record: &Record) -> Result<bool> {
        let owner = Owner::Container(record.key());
        for claim in Claim::all_of(record) {
            for link in claim.links(&owner) {
                let found = read_link(&self.dir.join(&link))?;
                let ours = owner.target(&link);
                if found.as_deref() != Some(Path::new(&ours)) && !self.is_of_a_mate(&claim, record)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Makes every claim of a record that is missing, as where somebody has removed it, or that
    /// leads to a record that does not list it; whether one was.
    pub(crate) fn restore_claims(&self, record: &Record) -> Result<bool> {
        let owner = Owner::Container(record.key());
        let mut restored = false;
        for claim in Claim::all_of(record) {
            for link in claim.links(&owner) {
                let found = self.owner(&self.dir.join(&link))?;
                if found.as_ref() == Some(&owner) || self.is_of_a_mate(&claim, record)? {
                    continue;
                }
                if found.map_or(Ok(true), |other| self.lists(&other, Path::new(&link)).map(|lists| !lists))? {
                    self.hand_on(&claim, &owner)?;
                    restored = true;
                }
            }
        }
        Ok(restored)
    }

    /// Whether the record of `owner` lists the claim whose link this is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn lists(&self, owner: &Owner, link: &Path) -> Result<bool> {
        let claims = match owner {
            Owner::Container(key) => match self.record(key)? {
                Some(Ok(record)) => Claim::all_of(&record),
                _ => return Ok(false),
            },
            Owner::Network(name) => match self.network(name)? {
                Some(Ok(network)) => Claim::all_of_network(&network),
                _ => return Ok(false),
            },
            Owner::Unknown => return Ok(false),
        };
        Ok(claims.iter().any(|claim| claim.links(owner).iter().any(|known| Path::new(known) == link)))
    }

    /// Who holds an address, ports or a line.
    pub(crate) fn holder(&self, claim: &Claim) -> Result<Option<Owner>> {
        // Whose it is matters only to claims that several may have.
        let links = claim.links(&Owner::Unknown);
        links.first().map_or(Ok(None), |link| self.owner(&self.dir.join(link)))
    }

    /// Whom a link leads to.
    pub(super) fn owner(&self, path: &Path) -> Result<Option<Owner>> {
        let owner = read_link(path)?.map(|target| Owner::of_target(&target).unwrap_or(Owner::Unknown));
        Ok(owner.filter(|owner| !matches!(owner, Owner::Container(key) if self.gone.contains(key))))
    }

    /// All addresses that are leased on a network.
    pub(crate) fn leases(&self, network: &NetworkName) -> Result<BTreeSet<IpAddr>> {
        let names = names_in(&self.dir.join("leases").join(network.as_str()))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Who lives in a network namespace.
    pub(crate) fn in_netns(&self, inode: u64) -> Result<Vec<Key>> {
        let mut keys = self.keys(&format!("netns/{inode}"))?;
        keys.retain(|key| !self.gone.contains(key));
        Ok(keys)
    }

    /// Who holds a shared step.
    pub(crate) fn sharers(&self, step: &str) -> Result<Vec<Owner>> {
        let dir = self.dir.join("shared").join(step);
        let names = names_in(&dir)?;
        names.iter().filter_map(|name| self.owner(&dir.join(name)).transpose()).collect()
    }

    /// Every shared step that anybody has held.
    pub(crate) fn all_shared(&self) -> Result<Vec<String>> {
        names_in(&self.dir.join("shared"))
    }

    /// Whether anybody holds a shared step.
    pub(crate) fn is_shared(&self, step: &str) -> Result<bool> {
        if self.gone.is_empty() {
            let (names, _) = some_names_in(&self.dir.join("shared").join(step), 1, 0)?;
            return Ok(!names.is_empty());
        }
        Ok(!self.sharers(step)?.is_empty())
    }

    /// Says who is applying or undoing a shared step now.
    pub(crate) fn set_changing(&self, step: &str, by: &Owner) -> Result<()> {
        let link = format!("changing/{step}");
        self.replace_link(&self.dir.join(&link), &by.target(&link))
    }

    /// Who is applying or undoing a shared step now.
    pub(crate) fn changing(&self, step: &str) -> Result<Option<Owner>> {
        self.owner(&self.dir.join("changing").join(step))
    }

    /// Says that a shared step is applied, or undone.
    pub(crate) fn changed(&self, step: &str) -> Result<()> {
        remove(&self.dir.join("changing").join(step))
    }

    /// Gives up a shared step; whether that was the last holder.
    pub(crate) fn leave_shared(&self, step: &str, owner: &Owner) -> Result<bool> {
        let dir = self.dir.join("shared").join(step);
        remove(&dir.join(owner.name()))?;
        match fs::remove_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(false),
            removed => or_gone(removed).doing(|| format!("remove {}", dir.display())).map(|()| true),
        }
    }
}
