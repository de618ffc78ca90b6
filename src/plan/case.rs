//! All that a container's plan depends on.

use super::host::Host;
use crate::config::Config;
use crate::hook::Container;
use crate::kernel::process::Process;
use crate::store::record::Survey;

/// One container, and everything as it is found.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// What it is to get.
    pub config: &'a Config,
    /// The kernel.
    pub host: &'a Host,
    /// The other containers.
    pub survey: &'a Survey,
    /// What its runtime calls it.
    pub container: &'a Container,
    /// Who it is.
    pub process: &'a Process,
    /// In seconds since 1970.
    pub now: u64,
}
