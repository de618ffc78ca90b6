//! Standard input to [`Container`]: the OCI runtime's state document, and nothing else.
//!
//! The only user of `oci-spec`. What the document may contain is the
//! [state](https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state) of the
//! OCI runtime specification, as loosely as runtimes write it: unknown fields, any version, no
//! annotations, and a `pid` that is absent, 0 or stale once the container has stopped.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{ContainerState, State};

use crate::error::{Doing, Error, Result, is_obeyed};

/// The largest state document that is read, in bytes. Real ones have a few kilobytes.
pub const MAX_STATE_BYTES: u64 = 1 << 20;

/// The longest container id, in bytes: what fits a file name.
pub const MAX_ID_BYTES: usize = 255;

/// A container as its runtime describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Unique only together with `bundle`: containerd has namespaces, runc has roots.
    pub id: String,
    /// The bundle's absolute path; empty where the caller gave none.
    pub bundle: PathBuf,
    /// The container's first process in our pid namespace, if the state names one above 0.
    pub pid: Option<i32>,
    /// Where its network namespace is, if it is known by a path and not by a process.
    pub netns: Option<PathBuf>,
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

/// Parses one state document of at most [`MAX_STATE_BYTES`].
///
/// # Errors
/// The document is empty, too large, not JSON, or lacks `id` or `status`; the id cannot be one
/// that a runtime accepts; the bundle is not an absolute path that fits a log.
pub fn parse_state(input: impl Read) -> Result<Container> {
    let mut text = Vec::new();
    input.take(MAX_STATE_BYTES + 1).read_to_end(&mut text).doing(|| READ)?;
    if text.len() as u64 > MAX_STATE_BYTES {
        return Err(Error::new(READ, "it is larger than 1 MiB"));
    }
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

impl Container {
    /// A container that runs already and has no state document.
    ///
    /// # Errors
    /// The id cannot be one.
    pub fn running(pid: i32, id: String) -> Result<Self> {
        check_id(&id)?;
        Ok(Self {
            id,
            bundle: PathBuf::new(),
            pid: Some(pid),
            netns: None,
            wants: Wants::Attach,
            annotations: BTreeMap::new(),
        })
    }

    /// Whoever lives in the network namespace that `path` leads to, called by the last part of
    /// it unless it gets a name. `/proc/PID/ns/net` is that of a process.
    ///
    /// # Errors
    /// The id cannot be one, or the path cannot be recorded.
    pub fn in_namespace(path: &Path, id: Option<String>) -> Result<Self> {
        let operation = || format!("use network namespace {}", path.display());
        let path = std::path::absolute(path).doing(operation)?;
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        if let ["/", "proc", pid, "ns", "net"] = parts[..]
            && let Ok(pid) = pid.parse()
        {
            return Self::running(pid, id.unwrap_or_else(|| pid.to_string()));
        }
        if path.to_str().is_none_or(|text| text.contains(is_obeyed)) {
            return Err(Error::new(operation(), "there are control characters in it, or it is no UTF-8"));
        }
        let name = parts.last().copied().unwrap_or_default();
        let container = Self::running(0, id.unwrap_or_else(|| name.to_owned()))?;
        Ok(Self { pid: None, netns: Some(path), ..container })
    }

    /// The container's process.
    ///
    /// # Errors
    /// The state names none.
    pub fn pid(&self) -> Result<i32> {
        self.pid.ok_or_else(|| {
            Error::new(format!("attach container {}", self.id), "the state names no pid")
                .hint("a createContainer hook is told none; name it in \"createRuntime\"")
        })
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
            id: state.id().clone(),
            bundle,
            pid: state.pid().filter(|pid| *pid > 0),
            netns: None,
            wants: match state.status() {
                ContainerState::Stopped => Wants::Detach,
                _ => Wants::Attach,
            },
            annotations: state.annotations().clone().unwrap_or_default().into_iter().collect(),
        })
    }
}

/// Accepts what runc, crun, youki and containerd accept as a container's id: letters, digits
/// and `_ + - .`, up to [`MAX_ID_BYTES`], and neither `.` nor `..`.
///
/// # Errors
/// Anything else; the id goes into file names, rules and logs.
pub fn check_id(id: &str) -> Result<()> {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
    let cause = if id.is_empty() {
        "it is empty".to_owned()
    } else if id.len() > MAX_ID_BYTES {
        format!("it is longer than {MAX_ID_BYTES} bytes")
    } else if !id.bytes().all(fine) || id == "." || id == ".." {
        "only letters, digits and _ + - . may be in it".to_owned()
    } else {
        return Ok(());
    };
    let shown: String = id.chars().take(64).collect();
    Err(Error::new(format!("use container id '{shown}'"), cause))
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
