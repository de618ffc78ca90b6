//! The configuration file: TOML whose keys are the options' names.

use std::path::Path;

use toml::{Table, Value};

use super::options::{Options, find, unknown};
use super::policy::Policy;
use crate::error::{Error, Kind, Result};

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    /// A layer of options.
    pub options: Options,
    /// What annotations may ask for.
    pub policy: Policy,
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
/// It is not TOML, or has an unknown key or a value that does not parse.
pub fn parse(text: &str, path: &Path) -> Result<File> {
    let refuse = |operation: &str, cause: &str| Error::new(operation, cause).of(Kind::Input);
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        refuse(&format!("read configuration {}", path.display()), error.message())
    })?;
    let mut file = File::default();
    for (name, value) in &table {
        let using = |key: &str| format!("use {key} in configuration {}", path.display());
        let operation = using(name);
        if name == "policy" {
            let table = value.as_table().ok_or_else(|| refuse(&operation, "it must be a table"))?;
            file.policy = Policy::parse(table, |key| using(&format!("policy.{key}")))?;
            continue;
        }
        let values = match value {
            Value::Array(values) => values.iter().map(scalar).collect(),
            other => scalar(other).map(|one| vec![one]),
        };
        let values: Vec<String> = values.ok_or_else(|| {
            refuse(&operation, "it must be a string, a number, true or false, or a list of them")
        })?;
        let field = find(name).map_err(|nearest| unknown(&operation, "option", nearest))?;
        for value in values {
            (field.set)(&mut file.options, &value).map_err(|cause| refuse(&operation, &cause))?;
        }
    }
    Ok(file)
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
        assert!(options.debug);
    }

    #[test]
    fn a_mistake_names_the_key_and_the_file() {
        for (text, message) in [
            ("brigde = 'x'", "use brigde in configuration /f: unknown option\n  hint: did you mean bridge?"),
            ("brigde = []", "use brigde in configuration /f: unknown option\n  hint: did you mean bridge?"),
            ("mtu = 1.5", "use mtu in configuration /f: it must be a string, a number"),
            ("mtu = 99999", "use mtu in configuration /f: mtu '99999': it must be from 68"),
            ("ipfile = 'a\\u001bb'", "use ipfile in configuration /f: there are control characters in it"),
            ("policy = 'strict'", "use policy in configuration /f: it must be a table"),
            ("mtu = ", "read configuration /f: "),
        ] {
            let error = parse(&text.replace('\'', "\""), Path::new("/f")).unwrap_err();
            assert!(error.to_string().starts_with(message), "{error}");
            assert_eq!(error.kind(), Kind::Input);
        }
    }
}
