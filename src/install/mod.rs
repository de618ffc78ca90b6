//! An engine learns of the hook, and forgets it again: what goes where is in `engines.rs`.
//!
//! What was put into which file is remembered in a receipt for each engine, so that
//! `uninstall` takes back exactly that, and leaves what others have written there since.

pub mod edit;
mod engines;
pub mod inject;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::Settings;
use crate::error::{Doing, Error, Result};
use crate::log::print;
use edit::Edit;

/// Where the receipts are: not in the state directory, which a reboot empties.
const RECEIPTS: &str = "/var/lib/netns-hook";

/// What can be told of the hook once for all of its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// A definition in podman's hook directory
    Podman,
    /// The same in CRI-O's
    Crio,
    /// A runtime class of containerd's CRI plugin, with a base specification that has the hook
    Containerd,
    /// A runtime for dockerd: runc behind a wrapper that puts the hook in
    Docker,
    /// A definition for containerd's NRI plugin hook-injector
    Nri,
    /// A plugin and a network for whoever asks by CNI: containerd's CRI plugin, CRI-O, podman, Nomad
    Cni,
}

/// What an installation consists of.
#[derive(Debug, Default)]
struct Installation {
    edits: Vec<Edit>,
    /// The one file that is a program.
    program: Option<PathBuf>,
    /// Places where this program is to be found too.
    links: Vec<Link>,
    /// What the engine lacks to make use of it, or what is to be done now.
    left: Vec<String>,
}

/// A symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Link {
    file: PathBuf,
    to: PathBuf,
}

impl Link {
    /// Makes it; one that is there is fine.
    fn save(&self) -> Result<()> {
        let operation = || format!("link {} to {}", self.file.display(), self.to.display());
        match symlink(&self.to, &self.file) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.is_there() => Ok(()),
            made => made.doing(operation),
        }
    }

    fn is_there(&self) -> bool {
        fs::read_link(&self.file).is_ok_and(|to| to == self.to)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Receipt {
    edits: Vec<Edit>,
    #[serde(default)]
    links: Vec<Link>,
    /// Directories that were made, outermost first.
    directories: Vec<PathBuf>,
}

/// Puts the hook, with the options that are set as its arguments, where the engine looks for
/// it, and says what it did and what is left to do; with `dry_run` it only says so.
///
/// # Errors
/// The engine's configuration cannot be read or written, or has something else by our name.
pub fn install(settings: &Settings, engine: Engine, dry_run: bool) -> Result<()> {
    if !dry_run {
        uninstall(engine)?;
    } else if receipt(engine)?.is_some() {
        return print("installed already: nothing to write\n");
    }
    let mut new = engines::installation(engine, &hook(settings)?, &settings.network(None)?)?;
    let others = receipts(Some(engine))?;
    for edit in &mut new.edits {
        // Two engines may read the same file: each has it in its receipt.
        let known = others.iter().flat_map(|other| &other.edits);
        if let Some(known) = known.into_iter().find(|known| known.file() == edit.file()) {
            *edit = edit.clone().after(known.clone());
        }
    }
    if !dry_run {
        write(engine, &new, &others)?;
    }
    let verb = if dry_run { "would write" } else { "wrote" };
    let mut text = String::new();
    for edit in &new.edits {
        text.push_str(&format!("{verb} {}\n", edit.file().display()));
        if dry_run {
            text.extend(edit.pieces().flat_map(str::lines).map(|line| format!("  {line}\n")));
        }
    }
    let link = |link: &Link| format!("{verb} {} -> {}\n", link.file.display(), link.to.display());
    text.extend(new.links.iter().map(link));
    text.extend(new.left.iter().map(|line| format!("left to do: {line}\n")));
    print(&text)
}

/// The hook as a `config.json` and a hook directory name it: this program, and the options that
/// are set now.
///
/// # Errors
/// The program does not know where it is.
fn hook(settings: &Settings) -> Result<Value> {
    let path = std::env::current_exe().doing(|| "find this program")?;
    Ok(json!({ "path": path, "args": settings.hook_arguments() }))
}

/// Takes back what [`install`] did; nothing to take back is fine.
///
/// # Errors
/// A file has been changed where the hook was put in, or cannot be written.
pub fn uninstall(engine: Engine) -> Result<()> {
    let Some(receipt) = receipt(engine)? else { return Ok(()) };
    let others = receipts(Some(engine))?;
    let shared = |edit: &Edit| others.iter().flat_map(|other| &other.edits).any(|o| o.file() == edit.file());
    for edit in receipt.edits.into_iter().filter(|edit| !shared(edit)) {
        edit.undo(None)?;
    }
    for link in receipt.links.iter().filter(|link| link.is_there()) {
        fs::remove_file(&link.file).doing(|| format!("remove {}", link.file.display()))?;
    }
    let path = receipt_file(engine);
    fs::remove_file(&path).doing(|| format!("remove {}", path.display()))?;
    // Those that others use by now are not empty, and stay.
    for directory in receipt.directories.iter().rev() {
        let _ = fs::remove_dir(directory);
    }
    let _ = fs::remove_dir(RECEIPTS);
    Ok(())
}

/// The receipt first: what it names and is not there yet is no mistake.
fn write(engine: Engine, new: &Installation, others: &[Receipt]) -> Result<()> {
    let ours = |directory: &&PathBuf| new.edits.iter().any(|edit| edit.file().starts_with(directory));
    let shared = others.iter().flat_map(|other| &other.directories).filter(ours).cloned();
    let mut receipt =
        Receipt { edits: new.edits.clone(), links: new.links.clone(), directories: shared.collect() };
    let files = new.edits.iter().map(Edit::file).chain(new.links.iter().map(|link| link.file.as_path()));
    for parent in files.filter_map(Path::parent) {
        let missing = parent.ancestors().take_while(|directory| !directory.exists());
        let mut missing: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        missing.reverse();
        fs::create_dir_all(parent).doing(|| format!("create {}", parent.display()))?;
        receipt.directories.extend(missing);
    }
    fs::create_dir_all(RECEIPTS).doing(|| format!("create {RECEIPTS}"))?;
    let text = serde_json::to_string(&receipt).doing(|| "write the receipt")?;
    edit::write(&receipt_file(engine), &text)?;
    for edit in &new.edits {
        edit.save()?;
    }
    new.links.iter().try_for_each(Link::save)?;
    if let Some(program) = &new.program {
        fs::set_permissions(program, fs::Permissions::from_mode(0o755))
            .doing(|| format!("chmod 755 {}", program.display()))?;
    }
    Ok(())
}

fn receipt_file(engine: Engine) -> PathBuf {
    let name = engine.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    Path::new(RECEIPTS).join(format!("{name}.json"))
}

fn receipt(engine: Engine) -> Result<Option<Receipt>> {
    let path = receipt_file(engine);
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => {
            let operation = || format!("read {}", path.display());
            serde_json::from_slice(&text.doing(operation)?).map(Some).doing(operation)
        }
    }
}

/// The receipts of all engines but one.
fn receipts(except: Option<Engine>) -> Result<Vec<Receipt>> {
    let others = Engine::value_variants().iter().filter(|engine| Some(**engine) != except);
    let all = others.map(|engine| receipt(*engine)).collect::<Result<Vec<_>>>()?;
    Ok(all.into_iter().flatten().collect())
}

/// A file of ours alone.
///
/// # Errors
/// It is there already, and is not what we would write.
fn own_file(path: &Path, text: &str) -> Result<Edit> {
    let edit = Edit::open(path, text)?;
    if edit.text() == text {
        return Ok(edit);
    }
    Err(Error::new(format!("write {}", path.display()), "it exists, and is not ours").hint("move it away"))
}
