//! All claims at once, for those who look for what nobody lists.

use std::fs;
use std::path::{Path, PathBuf};

use super::claim::Owner;
use super::{Store, names_in, remove};
use crate::error::Result;
use crate::model::container::Key;

impl Store {
    /// Every link that leads to a container's record, as it is below the state directory: for
    /// one whose record cannot be read. Reads all directories.
    pub(crate) fn links_of(&self, key: &Key) -> Result<Vec<PathBuf>> {
        let owner = Owner::Container(key.clone());
        Ok(self.all_links()?.into_iter().filter(|(_, held)| *held == owner).map(|(link, _)| link).collect())
    }

    /// Every claim there is, with its holder.
    pub(crate) fn all_links(&self) -> Result<Vec<(PathBuf, Owner)>> {
        let mut found = Vec::new();
        let mut left: Vec<PathBuf> =
            ["leases", "macs", "ports", "slots", "netns", "pids", "shared", "changing"]
                .map(PathBuf::from)
                .into();
        while let Some(dir) = left.pop() {
            for name in names_in(&self.dir.join(&dir))? {
                let (below, path) = (dir.join(&name), self.dir.join(&dir).join(&name));
                match fs::symlink_metadata(&path) {
                    Ok(entry) if entry.is_dir() => left.push(below),
                    Ok(_) => found.extend(self.owner(&path)?.map(|owner| (below, owner))),
                    Err(_) => {}
                }
            }
        }
        Ok(found)
    }

    /// Removes a link that [`Self::all_links`] has found, and its directory if it was the last.
    pub(crate) fn remove_link(&self, link: &Path) -> Result<()> {
        let path = self.dir.join(link);
        remove(&path)?;
        let deep = link.components().count() > 2;
        if deep && !link.starts_with("leases") && !link.starts_with("slots") {
            let _ = path.parent().map(fs::remove_dir);
        }
        Ok(())
    }
}
