//! What a CNI client asks for, by the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::answer::{ENVIRONMENT, Fault, UNKNOWN_CONTAINER};
use crate::error::{Error, is_obeyed};
use crate::model::container::{ContainerId, check_id};
use crate::model::sandbox::NetnsRef;
use crate::model::value::Iface;

/// The environment of one call.
#[derive(Debug)]
pub(super) struct Call {
    container: String,
    /// The container's network namespace; none where it is gone already.
    pub(super) netns: Option<PathBuf>,
    /// The interface's name inside.
    pub(super) interface: Iface,
    /// What `CNI_ARGS` says.
    pub(super) args: BTreeMap<String, String>,
}

/// The command.
pub(super) fn command() -> Result<String, Fault> {
    variable("CNI_COMMAND")
}

impl Call {
    /// Reads the environment; only a container that is there `needs` its namespace.
    pub(super) fn of_environment(needs_netns: bool) -> Result<Self, Fault> {
        let container = variable("CNI_CONTAINERID")?;
        check_id(&container).map_err(|error| Fault::new(ENVIRONMENT, error))?;
        let interface = variable("CNI_IFNAME")?.parse().map_err(|error| Fault::new(ENVIRONMENT, error))?;
        let netns = match std::env::var_os("CNI_NETNS").filter(|path| !path.is_empty()) {
            None if needs_netns => return Err(missing("CNI_NETNS")),
            path => path.map(PathBuf::from),
        };
        Ok(Self { container, netns, interface, args: args(&std::env::var("CNI_ARGS").unwrap_or_default())? })
    }

    /// The container's network namespace, for who needs one.
    pub(super) fn netns(&self) -> NetnsRef {
        NetnsRef::Path(self.netns.clone().unwrap_or_default())
    }

    /// Whether the namespace is there: if it is not, there is nothing for the client to clean up.
    pub(super) fn check_netns(&self) -> Result<(), Fault> {
        let Some(path) = &self.netns else { return Ok(()) };
        let operation = || format!("look at network namespace {}", path.display());
        let found = std::fs::metadata(path).map(drop);
        found.map_err(|cause| Fault::new(UNKNOWN_CONTAINER, Error::new(operation(), cause)))
    }

    /// Who is attached by it to this network.
    pub(super) fn attachment(&self, network: &str) -> ContainerId {
        ContainerId::of_cni(&self.container, network, self.interface.as_str())
    }

    /// What `CNI_ARGS` tells of a pod.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let of_pod = |(key, value): (&String, &String)| {
            let label = match key.as_str() {
                "K8S_POD_NAME" => "pod",
                "K8S_POD_NAMESPACE" => "namespace",
                "K8S_POD_UID" => "uid",
                _ => return None,
            };
            Some((label.to_owned(), value.clone()))
        };
        self.args.iter().filter_map(of_pod).collect()
    }
}

fn variable(name: &str) -> Result<String, Fault> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Fault {
    Fault::new(ENVIRONMENT, Error::new(format!("use {name}"), "it is missing, empty or not UTF-8"))
}

/// `KEY=VALUE` pairs between semicolons.
fn args(text: &str) -> Result<BTreeMap<String, String>, Fault> {
    let pairs = text.split(';').map(str::trim).filter(|pair| !pair.is_empty());
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !value.contains(is_obeyed) => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Fault::new(
            ENVIRONMENT,
            Error::new(format!("use CNI_ARGS: '{pair}'"), "it must be KEY=VALUE"),
        )),
    };
    pairs.map(pair).collect()
}
