//! Text that is put into somebody else's file so that exactly it can be taken out again.
//!
//! Nothing is parsed and printed anew: order, numbers, spaces and unknown fields stay as they
//! are, byte for byte. What was put where is remembered in a receipt. `json.rs` finds the places.

mod json;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Kind, Result};

/// A piece of text that took the place of another, mostly of none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Put {
    /// In bytes, at the time it was put there.
    at: usize,
    text: String,
    was: String,
}

/// A file while it is edited, and the receipt of what was put into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    file: PathBuf,
    /// Whether the file was not there before.
    created: bool,
    /// In the order of putting.
    put: Vec<Put>,
    #[serde(skip)]
    text: String,
}

impl Edit {
    /// Opens a file for editing; one that is not there begins as `new`.
    ///
    /// # Errors
    /// It cannot be read, or is not UTF-8.
    pub fn open(file: &Path, new: &str) -> Result<Self> {
        let (text, file, created) = match read(file) {
            Err(error) if error.kind() == ErrorKind::NotFound => (new.to_owned(), file.to_owned(), true),
            read => {
                let (text, file) = read.doing(|| format!("read {}", file.display()))?;
                (text, file, false)
            }
        };
        let first = created.then(|| Put { at: 0, text: text.clone(), was: String::new() });
        Ok(Self { file, created, put: first.into_iter().collect(), text })
    }

    /// The file that is edited, where it really is.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The text as it is now.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether anything was put there.
    pub fn is_changed(&self) -> bool {
        !self.put.is_empty()
    }

    /// The pieces of text that were put there.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        self.put.iter().map(|put| put.text.as_str())
    }

    /// Goes on with what an earlier edit of the same file has done.
    #[must_use]
    pub fn after(mut self, earlier: Self) -> Self {
        self.created |= earlier.created;
        self.put.splice(0..0, earlier.put);
        self
    }

    /// Adds text at the end.
    pub fn append(&mut self, text: &str) {
        self.replace(self.text.len()..self.text.len(), text);
    }

    fn replace(&mut self, range: std::ops::Range<usize>, text: &str) {
        let was = self.text.get(range.clone()).unwrap_or_default().to_owned();
        self.text.replace_range(range.clone(), text);
        self.put.push(Put { at: range.start, text: text.to_owned(), was });
    }

    /// Writes the file as a whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self) -> Result<()> {
        write(&self.file, &self.text)
    }

    /// Takes out what the receipt says was put into the file, and removes a file that was
    /// created for it. What others have written there meanwhile stays.
    ///
    /// # Errors
    /// What was put there has been changed since; or the file cannot be written, or is not in the
    /// directory `only`.
    pub fn undo(self, only: Option<&Path>) -> Result<()> {
        let operation = || format!("take out what was put into {}", self.file.display());
        let (mut text, file) = match read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            read => read.doing(operation)?,
        };
        only.map_or(Ok(()), |directory| check_place(&file, directory))?;
        for put in self.put.iter().rev() {
            let at = put.find(&text).ok_or_else(|| {
                Error::new(operation(), "it has been changed since")
                    .hint(format!("take it out by hand: {}", put.text.trim()))
            })?;
            text.replace_range(at..at + put.text.len(), &put.was);
        }
        if self.created && text.is_empty() {
            return fs::remove_file(&file).doing(operation);
        }
        write(&file, &text)
    }
}

/// What a file says, and where it is once all links are followed.
fn read(file: &Path) -> io::Result<(String, PathBuf)> {
    let (mut open, mut text) = (File::open(file)?, String::new());
    open.read_to_string(&mut text)?;
    Ok((text, fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd()))?))
}

/// Refuses a file that is not in a directory: whoever owns that has made it a link elsewhere.
///
/// # Errors
/// It is not there.
pub fn check_place(file: &Path, directory: &Path) -> Result<()> {
    let operation = || format!("edit a file in {}", directory.display());
    if file.parent() == Some(&fs::canonicalize(directory).doing(operation)?) {
        return Ok(());
    }
    Err(Error::new(operation(), format!("it is a link to {}", file.display())).of(Kind::Denied))
}

impl Put {
    /// Where the text is now: where it was put, or else the one place where it is found.
    fn find(&self, text: &str) -> Option<usize> {
        if text.get(self.at..).is_some_and(|rest| rest.starts_with(&self.text)) {
            return Some(self.at);
        }
        let mut found = text.match_indices(&self.text).map(|(at, _)| at);
        found.next().filter(|_| found.next().is_none())
    }
}

/// Writes a file whole or not at all, with the owner and mode of the one that it replaces. A link
/// is replaced, and not followed.
///
/// # Errors
/// It cannot be written.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let operation = || format!("write {}", file.display());
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".netns-unfinished");
    let unfinished = file.with_file_name(name);
    let written = (|| {
        // What a run has left behind that was killed, or somebody has put there.
        let _ = fs::remove_file(&unfinished);
        let mut new = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&unfinished)?;
        new.write_all(text.as_bytes())?;
        if let Some(old) = fs::symlink_metadata(file).ok().filter(fs::Metadata::is_file) {
            fchown(&new, Some(old.uid()), Some(old.gid()))?;
            new.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
        }
        fs::rename(&unfinished, file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.doing(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("netns-edit-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir.join("file")
    }

    #[test]
    fn what_others_wrote_meanwhile_stays() {
        let file = scratch("others");
        fs::write(&file, "one\n").unwrap();
        let mut edit = Edit::open(&file, "").unwrap();
        edit.append("ours\n");
        edit.save().unwrap();
        fs::write(&file, "zero\none\nours\ntwo\n").unwrap();
        edit.undo(None).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "zero\none\ntwo\n");
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_was_changed_since_is_left_to_a_human() {
        let file = scratch("changed");
        let edit = Edit::open(&file, "ours = 1\n").unwrap();
        edit.save().unwrap();
        fs::write(&file, "ours = 2\n").unwrap();
        let error = edit.undo(None).unwrap_err().to_string();
        assert!(error.contains("changed since") && error.contains("ours = 1"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "ours = 2\n");
        fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}
