//! The hook: the OCI runtime's state document on standard input to an operation.
//!
//! The only user of `oci-spec`. What the document may contain is the
//! [state](https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state) of the
//! OCI runtime specification, as loosely as runtimes write it: unknown fields, any version, no
//! annotations, and a `pid` that is absent, 0 or stale once the container has stopped.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};

use oci_spec::runtime::{ContainerState, State};

use crate::config::Settings;
use crate::error::{Doing, Error, Kind, Result, is_obeyed};
use crate::failures;
use crate::log;
use crate::model::container::{ContainerId, check_id};
use crate::model::request::Request;
use crate::model::sandbox::NetnsRef;
use crate::operations;

/// A container as its runtime describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// What its runtime calls it.
    pub container: ContainerId,
    /// The container's first process in our pid namespace, if the state names one above 0.
    pub pid: Option<i32>,
    /// What the runtime is about to do, or has done.
    pub wants: Wants,
    /// All annotations, ours and others'.
    pub annotations: BTreeMap<String, String>,
}

/// What a container's status asks of the hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// `creating`, `created` or `running`.
    Attach,
    /// `stopped`.
    Detach,
}

/// Reads the state document from standard input.
///
/// # Errors
/// Standard input is a terminal, or any of the errors of [`parse_state`].
pub fn read_state() -> Result<Container> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Error::new(READ, "standard input is a terminal")
            .hint("a runtime pipes the state in; `netns attach PID` needs none; see --help"));
    }
    parse_state(stdin.lock())
}

const READ: &str = "read the container's state from standard input";

/// Parses one state document of at most 1 MiB.
///
/// # Errors
/// The document is empty, too large, not JSON, or lacks `id` or `status`; the id cannot be one
/// that a runtime accepts; the bundle is not an absolute path that fits a log.
pub fn parse_state(input: impl Read) -> Result<Container> {
    let text = log::read(input, READ)?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::new(READ, "it is empty")
            .hint("a runtime pipes the state in; `netns attach PID` needs none"));
    }
    // oci-spec takes a missing status for `stopped`, and a missing id for "": look first.
    let value: serde_json::Value = serde_json::from_slice(&text).doing(|| READ)?;
    for key in ["id", "status"] {
        if !value.get(key).is_some_and(serde_json::Value::is_string) {
            return Err(Error::new(READ, format!("it has no \"{key}\"")));
        }
    }
    let state: State = serde_json::from_value(value).doing(|| READ)?;
    Container::from_state(&state)
}

/// Attaches or detaches the container that standard input describes, by its status. Why it
/// failed is kept where a user finds it, and whether the exit status is 0 all the same is told:
/// no runtime retries a failed poststop, and some cannot delete the container then; what could
/// not be undone stays recorded for the next run.
///
/// # Errors
/// Those of [`read_state`], [`operations::attach()`] and [`operations::detach()`].
pub fn hook(settings: &Settings) -> std::result::Result<(), (Error, bool)> {
    let state = read_state().map_err(|error| (error, false))?;
    let done = match state.wants {
        Wants::Attach => {
            state.request(settings).and_then(|request| operations::attach(settings, request)).map(drop)
        }
        Wants::Detach => operations::detach(settings, &state.container),
    };
    done.map_err(|error| {
        failures::remember(&settings.state_dir, &state.container.id, &error);
        (error, state.wants == Wants::Detach)
    })
}

impl Container {
    /// What it is to get.
    ///
    /// # Errors
    /// The state names no pid; or those of [`Settings::request`].
    pub fn request(&self, settings: &Settings) -> Result<Request> {
        let pid = self.pid.ok_or_else(|| {
            Error::new(format!("attach {}", self.container), "the state names no pid")
                .of(Kind::Input)
                .hint("a createContainer hook is told none; name it in \"createRuntime\"")
        })?;
        settings.request(self.container.clone(), NetnsRef::Pid(pid), &self.annotations)
    }

    fn from_state(state: &State) -> Result<Self> {
        check_id(state.id())?;
        let bundle = state.bundle().clone();
        let refuse = |cause| Err(Error::new(format!("use bundle {}", bundle.display()), cause));
        if bundle.is_relative() && !bundle.as_os_str().is_empty() {
            return refuse("it is not an absolute path");
        }
        // It goes into logs.
        if bundle.to_string_lossy().contains(is_obeyed) {
            return refuse("there are control characters in it");
        }
        Ok(Self {
            container: ContainerId { id: state.id().clone(), bundle },
            pid: state.pid().filter(|pid| *pid > 0),
            wants: match state.status() {
                ContainerState::Stopped => Wants::Detach,
                _ => Wants::Attach,
            },
            annotations: state.annotations().clone().unwrap_or_default().into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        match parse_state(text.as_bytes()) {
            Ok(container) => format!("accepted: {container:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn states_of_every_runtime_are_read() {
        let runc = r#"{"ociVersion":"1.0.2-dev","id":"web","status":"creating","pid":42,
            "bundle":"/b","annotations":{"a":"b"}}"#;
        let container = parse_state(runc.as_bytes()).unwrap();
        assert_eq!(container.pid, Some(42));
        assert_eq!(container.wants, Wants::Attach);
        let crun = r#"{"ociVersion":"1.0","id":"web","pid":0,"root":"/r","status":"stopped",
            "bundle":"/b"}"#;
        let container = parse_state(crun.as_bytes()).unwrap();
        assert_eq!((container.pid, container.wants), (None, Wants::Detach));
    }

    #[test]
    fn what_is_not_a_state_is_refused_by_name() {
        assert!(refused("").contains("it is empty"));
        assert!(refused(" \n").contains("it is empty"));
        assert!(refused("{\"id\":\"a\",").contains("EOF"));
        assert!(refused("ping").contains("expected value"));
        assert!(refused("[]").contains("no \"id\""));
        assert!(refused(r#"{"status":"running"}"#).contains("no \"id\""));
        assert!(refused(r#"{"id":"a"}"#).contains("no \"status\""));
        assert!(refused(r#"{"id":"a","status":"dancing"}"#).contains("unknown variant"));
        assert!(refused(&" ".repeat(2 << 20)).contains("larger than 1 MiB"));
        assert!(refused(r#"{"id":"a","status":"stopped","bundle":"b"}"#).contains("absolute"));
        let forged = r#"{"id":"a","status":"stopped","bundle":"/b\nnetns: all is well"}"#;
        assert!(refused(forged).contains("use bundle /b\\nnetns: all is well: there are control"));
    }

    #[test]
    fn an_id_that_could_leave_a_directory_or_forge_a_rule_is_refused() {
        for id in ["", ".", "..", "a/b", "a b", "a\"b", "a\nb", "ä", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
        for id in ["web", "a.b", "-rf", "_", "a+b", &"x".repeat(255)] {
            assert!(check_id(id).is_ok(), "{id:?}");
        }
    }
}
