//! The configuration file: TOML whose keys are the options' names.

use std::path::Path;

use toml::{Table, Value};

use super::options::Options;
use crate::error::{Doing, Error, Result};

/// Reads the file as a layer of options; a file that does not exist is an empty layer unless
/// it was asked for by name (`required`).
///
/// # Errors
/// The file cannot be read, is not TOML, or has an unknown key or a value that does not parse.
pub fn read(path: &Path, required: bool) -> Result<Options> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, path),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !required => Ok(Options::default()),
        Err(cause) => Err(Error::new(format!("read configuration {}", path.display()), cause)),
    }
}

fn parse(text: &str, path: &Path) -> Result<Options> {
    let table: Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.message().to_owned())
        .doing(|| format!("read configuration {}", path.display()))?;
    let mut options = Options::default();
    for (name, value) in &table {
        let operation = || format!("use {name} in configuration {}", path.display());
        let values = match value {
            Value::Array(values) => values.iter().map(scalar).collect(),
            other => scalar(other).map(|one| vec![one]),
        };
        let values: Vec<String> = values.ok_or_else(|| {
            Error::new(operation(), "it must be a string, a number, true or false, or a list of them")
        })?;
        for value in values {
            options.set(name, &value).map_err(|problem| problem.into_error(operation(), ""))?;
        }
    }
    Ok(options)
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
        let options = parse(text, Path::new("/f")).unwrap();
        assert_eq!(options.bridge.unwrap().as_str(), "br7");
        assert_eq!(options.publish.len(), 2);
        assert!(options.debug);
    }

    #[test]
    fn a_mistake_names_the_key_and_the_file() {
        let error = |text| parse(text, Path::new("/f")).unwrap_err().to_string();
        assert!(error("brigde = 'x'").contains("did you mean bridge?"));
        assert!(error("mtu = 1.5").starts_with("use mtu in configuration /f: "));
        assert!(error("mtu = 99999").starts_with("use mtu in configuration /f: "));
        assert!(error("mtu = ").starts_with("read configuration /f: "));
    }
}
