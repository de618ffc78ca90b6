//! The hook's arguments and environment, without the parser of the command line: to make that takes a
//! tenth of an attach, and the hook starts often, with few flags and never with a command.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Options;
use super::options::{FIELDS, Field};

/// The flag that names the configuration file, which is no option.
const CONFIG: &str = "config";
const CONFIG_VARIABLE: &str = "CONFIG";

/// What flags say, or the environment.
#[derive(Default)]
struct Layer {
    options: Options,
    config: Option<PathBuf>,
}

/// The options and the configuration file that the hook is given by its arguments, the first of
/// which is the program, and below them by the environment.
///
/// `None` if there is anything else among them, as a command, a mistake or another spelling: the
/// parser of the command line has the words for all of that.
pub fn of_hook(arguments: &[OsString]) -> Option<(Options, Option<PathBuf>)> {
    let (mut flags, mut variables) = (Layer::default(), Layer::default());
    let mut words = arguments.iter().skip(1).map(|word| word.to_str());
    while let Some(word) = words.next() {
        // Flags of the Go hook of this name may have one dash.
        let flag = word?.strip_prefix('-')?;
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag, None),
        };
        let field = FIELDS.iter().find(|field| field.name() == name);
        let value = match (value, field.and_then(|field| field.alone)) {
            (Some(value), _) | (None, Some(value)) => value,
            (None, None) => words.next().flatten().filter(|value| !value.starts_with('-'))?,
        };
        flags.set(field, name, value)?;
    }
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().and_then(|name| name.strip_prefix("NETNS_")) else { continue };
        let field = FIELDS.iter().find(|field| field.ident.to_ascii_uppercase() == name);
        // Of two of one name the first is meant, as getenv(3) has it.
        let is_set = field.is_some_and(|field| field.is_set(&variables.options));
        if (field.is_some() || name == CONFIG_VARIABLE) && !value.is_empty() && !is_set {
            variables.set(field, CONFIG, value.to_str()?)?;
        }
    }
    Some((flags.options.over(variables.options), flags.config.or(variables.config)))
}

impl Layer {
    fn set(&mut self, field: Option<&Field>, name: &str, value: &str) -> Option<()> {
        match field {
            _ if value.is_empty() => None,
            Some(field) => (field.set)(&mut self.options, value).ok(),
            None if name == CONFIG && self.config.is_none() => {
                self.config = Some(value.into());
                Some(())
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &str) -> Option<(Options, Option<PathBuf>)> {
        let words = std::iter::once("netns").chain(arguments.split_whitespace());
        of_hook(&words.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_hook_is_told_by_every_spelling_of_a_flag() {
        assert_eq!(told(""), Some((Options::default(), None)));
        for arguments in [
            "--bridge=br0 --publish=80:80 --publish=81:81,82:82 --debug --no-dns=false --config=/f",
            "-bridge br0 -publish 80:80 --publish 81:81,82:82 --debug=true -no-dns=false -config /f",
        ] {
            let (options, config) = told(arguments).unwrap();
            let expected = [
                "--bridge=br0",
                "--publish=80:80/tcp",
                "--publish=81:81/tcp,82:82/tcp",
                "--no-dns=false",
                "--debug=true",
            ];
            assert_eq!(options.arguments(), expected, "{arguments}");
            assert_eq!(config, Some("/f".into()));
        }
    }

    #[test]
    fn what_is_more_than_flags_is_left_to_the_parser() {
        for arguments in [
            "ls",
            "--bridge br0 ls",
            "--debug ls",
            "--help",
            "-h",
            "--version",
            "--",
            "-",
            "--brigde br0",
            "--bridge",
            "--bridge --debug",
            "--bridge=",
            "--bridge=a --bridge=b",
            "--config=a --config=b",
            "--mtu=x",
            "--debug=maybe",
            "-p 80:80",
        ] {
            assert_eq!(told(arguments), None, "{arguments}");
        }
    }
}
