//! The configuration file: TOML whose keys are the options' names.

use std::path::Path;

use serde::Deserialize;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Value};

use super::definition;
use super::options::{Options, find, unknown};
use super::policy::Policy;
use crate::error::{Doing, Error, Kind, Result};
use crate::model::network::NetworkSpec;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// A layer of options.
    pub options: Options,
    /// What annotations may ask for.
    pub policy: Policy,
    /// The networks that it defines.
    pub networks: Vec<NetworkSpec>,
}

/// Reads the file; one that does not exist says nothing, unless it was asked for by name
/// (`required`).
///
/// # Errors
/// The file cannot be read, or those of [`parse`].
pub fn read(path: &Path, required: bool) -> Result<File> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !required => Ok(File::default()),
        Err(cause) => Err(Error::new(format!("read configuration {}", path.display()), cause)),
    }
}

/// Reads the file's text; `path` is what errors call it.
///
/// # Errors
/// It is not TOML, or has an unknown key or a value that does not parse; with line and column.
pub fn parse(text: &str, path: &Path) -> Result<File> {
    let refuse = |operation: &str, cause: &str| Error::new(operation, cause).of(Kind::Input);
    let place = |at: usize| {
        let before = text.get(..at).unwrap_or(text);
        let (line, column) = (before.split('\n').count(), before.rsplit('\n').next().unwrap_or_default());
        format!("configuration {}, line {line}, column {}", path.display(), column.chars().count() + 1)
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or_default().start;
        let told = refuse(&format!("read {}", place(at)), error.message());
        if error.message().contains("duplicate") { told.hint("say each name once") } else { told }
    })?;
    let mut file = File::default();
    for (key, value) in table.into_inner() {
        let (at, name) = (key.span().start, key.into_inner());
        let operation = format!("use {name} in {}", place(at));
        if name == "policy" {
            let table = value.get_ref().as_table().cloned();
            let table = table.ok_or_else(|| refuse(&operation, "it must be a table"))?;
            file.policy = Policy::parse(&plain(value)?, |key| {
                let at = table.keys().find(|other| other.get_ref() == key).map_or(at, |key| key.span().start);
                format!("use policy.{key} in {}", place(at))
            })?;
            continue;
        }
        if name == "network" && value.get_ref().is_table() {
            file.networks = definition::parse(&value, place)?;
            continue;
        }
        let values = match plain(value)? {
            Value::Array(values) => values.iter().map(scalar).collect(),
            other => scalar(&other).map(|one| vec![one]),
        };
        let values: Vec<String> = values.ok_or_else(|| {
            refuse(&operation, "it must be a string, a number, true or false, or a list of them")
        })?;
        let field = find(&name).map_err(|nearest| unknown(&operation, "option", nearest))?;
        for value in values {
            (field.set)(&mut file.options, &value).map_err(|cause| refuse(&operation, &cause))?;
        }
    }
    Ok(file)
}

/// A value without its place.
fn plain<'de, T: Deserialize<'de>>(value: Spanned<DeValue<'de>>) -> Result<T> {
    T::deserialize(ValueDeserializer::from(value)).doing(|| "read configuration")
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(yes) => Some(yes.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let text = "bridge = \"br7\"\nmtu = 1400\ndebug = true\npublish = [\"80:80\", \"53:53/udp\"]";
        let options = parse(text, Path::new("/f")).unwrap().options;
        assert_eq!(options.bridge.unwrap().as_str(), "br7");
        assert_eq!(options.publish.len(), 2);
        assert_eq!(options.debug, Some(true));
    }

    #[test]
    fn a_mistake_names_the_key_and_the_file() {
        for (text, message) in [
            (
                "brigde = 'x'",
                "use brigde in #, line 1, column 1: unknown option\n  hint: did you mean bridge?",
            ),
            (
                "\n  brigde = []",
                "use brigde in #, line 2, column 3: unknown option\n  hint: did you mean bridge?",
            ),
            ("mtu = 1.5", "use mtu in #, line 1, column 1: it must be a string, a number"),
            ("mtu = 99999", "use mtu in #, line 1, column 1: mtu '99999': it must be from 68"),
            ("ipfile = 'a\\u001bb'", "use ipfile in #, line 1, column 1: there are control characters in it"),
            ("policy = 'strict'", "use policy in #, line 1, column 1: it must be a table"),
            (
                "[policy]\n\nmtu = []",
                "use policy.mtu in #, line 3, column 1: unknown key\n  hint: did you mean mtus?",
            ),
            ("mtu = 1\nbridge = ä", "read #, line 2, column 10: "),
            ("mtu = ", "read #, line 1, column 7: "),
        ] {
            let error = parse(&text.replace('\'', "\""), Path::new("/f")).unwrap_err();
            let message = message.replace('#', "configuration /f");
            assert!(error.to_string().starts_with(&message), "{error}");
            assert_eq!(error.kind(), Kind::Input);
        }
    }
}
