//! How a container is: asked of the kernel, and not only of its record.

use std::fmt;

use super::stale::lives;
use crate::error::{Doing, Result};
use crate::kernel::alive::Liveness;
use crate::kernel::netlink::Netlink;
use crate::kernel::{children, moving};
use crate::model::record::Record;
use crate::model::step::Step;
use crate::store::Records;

/// How a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is alive, and has what it should have.
    Running,
    /// The next runs remove what is left of it.
    Dead,
    /// It was interrupted half way, or has lost an interface, its bridge or a device.
    Incomplete,
}

impl Status {
    /// As `ls` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Dead => "dead",
            Self::Incomplete => "incomplete",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What it takes to tell how containers are, as of the moment it is made.
#[derive(Debug)]
pub struct Statuses<'a> {
    records: &'a Records,
    liveness: Liveness,
}

impl<'a> Statuses<'a> {
    /// For these records.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub fn new(records: &'a Records) -> Result<Self> {
        let names = records.containers.iter().flat_map(|record| &record.steps).filter_map(Step::name_file);
        Ok(Self { records, liveness: Liveness::new()?.ignoring(names) })
    }

    /// How one of them is.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn of(&self, record: &Record, netlink: &Netlink) -> Result<Status> {
        if !lives(record, &self.liveness, netlink, false)? {
            return Ok(Status::Dead);
        }
        let mut whole = self.records.is_complete(record) && are_ports(record, netlink)?;
        for child in record.children() {
            whole = whole && children::is_there(child)?;
        }
        for device in record.devices() {
            whole = whole && moving::is_inside(device)?;
        }
        Ok(if whole { Status::Running } else { Status::Incomplete })
    }
}

/// Whether the container's host ends are there and ports of their bridges.
fn are_ports(record: &Record, netlink: &Netlink) -> Result<bool> {
    for attachment in &record.attachments {
        let (Some(name), Some(bridge)) = (&attachment.host_interface, &attachment.bridge) else { continue };
        let operation = || format!("look at link {name}");
        let found = netlink.link(name.as_str()).doing(operation)?;
        let bridge = netlink.link(bridge.as_str()).doing(operation)?.map(|bridge| bridge.index);
        if !found.is_some_and(|found| found.master.is_some() && found.master == bridge) {
            return Ok(false);
        }
    }
    Ok(true)
}
