//! The hook goes into the `config.json` of a bundle, and comes out again.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::edit::{self, Edit};
use super::hook;
use crate::config::{ANNOTATION_PREFIX, Settings};
use crate::error::{Doing, Error, Kind, Result};

/// First among the hooks that run before the container's own program does, so that the others
/// find a network, and first in `poststop`: runc skips those that come after a failure.
const STAGES: [&str; 2] = ["createRuntime", "poststop"];

/// What `ping` needs.
const NET_RAW: &str = "CAP_NET_RAW";

/// What else goes into the bundle.
#[derive(Debug, Clone, Copy)]
pub struct Extras {
    /// `CAP_NET_RAW` for the container's first process.
    pub net_raw: bool,
    /// The `NETNS_…` variables of the container's own environment, as annotations: docker and
    /// buildah pass no others on.
    pub from_env: bool,
}

/// Adds the hook once, with the options that are set as its arguments, and the extras. All else
/// in the file stays as it is, byte for byte; what is put in is remembered beside it.
///
/// # Errors
/// There is no `config.json`, or none that can be read; the hook is there with other arguments;
/// or it cannot be written.
pub fn inject(settings: &Settings, bundle: &Path, extras: Extras) -> Result<()> {
    let file = config_json(bundle);
    let operation = || format!("put the hook into {}", file.display());
    fs::metadata(&file).doing(operation)?;
    let mut edit = Edit::open(&file, "")?;
    edit::check_place(edit.file(), directory(&file))?;
    add_hooks(&mut edit, &hook(settings)?)?;
    if extras.net_raw {
        add_net_raw(&mut edit)?;
    }
    if extras.from_env {
        add_annotations(&mut edit)?;
    }
    if !edit.is_changed() {
        return Ok(());
    }
    let whole = match receipt(&file)? {
        Some(earlier) => edit.clone().after(earlier),
        None => edit.clone(),
    };
    let text = serde_json::to_string(&whole).doing(operation)?;
    edit::write(&receipt_file(&file), &text)?;
    edit.save()
}

/// Takes out what [`inject`] put in.
///
/// # Errors
/// It has been changed since, or the file cannot be written.
pub fn undo(bundle: &Path) -> Result<()> {
    let file = config_json(bundle);
    let Some(receipt) = receipt(&file)? else {
        return Ok(());
    };
    // The receipt lies in the bundle, which may be somebody else's: it speaks of this file alone.
    if fs::canonicalize(receipt.file()).ok() != fs::canonicalize(&file).ok() {
        let operation = format!("take the hook out of {}", file.display());
        let cause = format!("its receipt names another file, {}", receipt.file().display());
        return Err(Error::new(operation, cause).of(Kind::Denied));
    }
    receipt.undo(Some(directory(&file)))?;
    let path = receipt_file(&file);
    fs::remove_file(&path).doing(|| format!("remove {}", path.display()))
}

/// A bundle's `config.json`, or the file itself.
fn config_json(bundle: &Path) -> PathBuf {
    if bundle.is_dir() { bundle.join("config.json") } else { bundle.to_owned() }
}

/// The one directory in which files are edited: the bundle.
fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn receipt_file(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".netns-undo");
    file.with_file_name(name)
}

fn receipt(file: &Path) -> Result<Option<Edit>> {
    let path = receipt_file(file);
    match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => {
            let operation = || format!("read {}", path.display());
            serde_json::from_slice(&text.doing(operation)?).map(Some).doing(operation)
        }
    }
}

/// A hook of ours in `prestart` does as well as one in `createRuntime`.
fn add_hooks(edit: &mut Edit, hook: &Value) -> Result<()> {
    for stage in STAGES {
        let mut ours = Vec::new();
        for stage in [stage, if stage == "createRuntime" { "prestart" } else { stage }] {
            let all: Vec<Value> = edit.get(&["hooks", stage])?.unwrap_or_default();
            ours.extend(all.into_iter().filter(is_ours));
        }
        match ours.first() {
            None => edit.prepend(&["hooks", stage], &hook.to_string())?,
            Some(known) if arguments(known) == arguments(hook) => (),
            Some(known) => {
                return Err(Error::new(
                    format!("put the hook into {}", edit.file().display()),
                    format!("it is there already, with other arguments: {known}"),
                )
                .hint("take it out first; --undo does what an earlier run put in"));
            }
        }
    }
    Ok(())
}

fn is_ours(hook: &Value) -> bool {
    let path = hook["path"].as_str().map(Path::new);
    path.and_then(Path::file_name).is_some_and(|name| name == "netns")
}

/// Without the first, which is the program's own name.
fn arguments(hook: &Value) -> Vec<&Value> {
    hook["args"].as_array().into_iter().flatten().skip(1).collect()
}

fn add_net_raw(edit: &mut Edit) -> Result<()> {
    for set in ["bounding", "effective", "permitted"] {
        let path = ["process", "capabilities", set];
        let known: Vec<String> = edit.get(&path)?.unwrap_or_default();
        if !known.iter().any(|cap| cap == NET_RAW) {
            edit.prepend(&path, &Value::from(NET_RAW).to_string())?;
        }
    }
    Ok(())
}

/// Annotations and not arguments: what a container's owner may say is decided there.
fn add_annotations(edit: &mut Edit) -> Result<()> {
    let variables: Vec<String> = edit.get(&["process", "env"])?.unwrap_or_default();
    for variable in variables {
        let setting = variable.strip_prefix("NETNS_").and_then(|rest| rest.split_once('='));
        let Some((name, value)) = setting.filter(|(_, value)| !value.is_empty()) else { continue };
        let key = format!("{ANNOTATION_PREFIX}{}", name.to_ascii_lowercase().replace('_', "-"));
        let path = ["annotations", key.as_str()];
        if edit.get::<String>(&path)?.is_none() {
            edit.set(&path, &Value::from(value).to_string())?;
        }
    }
    Ok(())
}
