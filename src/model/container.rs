//! Who a container is.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The longest container id, in bytes: what fits a file name.
pub const MAX_ID_BYTES: usize = 255;

/// The longest part of an id that is part of a [`Key`], in bytes.
const MAX_SHOWN: usize = 180;

/// What its runtime calls a container. The id alone is not unique: containerd has namespaces,
/// runc has roots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerId {
    /// As the runtime's state names it.
    pub id: String,
    /// The bundle's absolute path; empty where the caller gave none, and `cni:NETWORK/INTERFACE`,
    /// which no path of a bundle is, for one interface of a container that came by CNI.
    pub bundle: PathBuf,
}

/// What the bundle begins with of what came by CNI.
const CNI: &str = "cni:";

impl ContainerId {
    /// One interface of a container on one network, which is what CNI attaches.
    pub fn of_cni(id: &str, network: &str, interface: &str) -> Self {
        Self { id: id.to_owned(), bundle: format!("{CNI}{network}/{interface}").into() }
    }

    /// Network and interface of what came by CNI.
    pub fn cni(&self) -> Option<(&str, &str)> {
        self.bundle.to_str()?.strip_prefix(CNI)?.split_once('/')
    }

    /// The name of its files in the state directory.
    pub fn key(&self) -> Key {
        let shown = self.id.get(..self.id.len().min(MAX_SHOWN)).unwrap_or_default();
        Key(format!("{shown}@{:032x}", self.hash()))
    }

    /// 128 bits of SHA-256: whoever chooses ids and bundles cannot choose two that are alike.
    pub fn hash(&self) -> u128 {
        let mut hash = Sha256::new();
        hash.update(self.id.as_bytes());
        hash.update([0]);
        hash.update(self.bundle.as_os_str().as_encoded_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        digest.first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "container {}", self.id)
    }
}

/// The name of a container's files, `ID@HASH`: the hash is of id and bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);
shown_as_written! { Key }

impl Key {
    /// A file's name as a key; `None` if it is none.
    pub fn parse(name: &str) -> Option<Self> {
        let (shown, hash) = name.rsplit_once('@')?;
        let hexadecimal = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        (hexadecimal && check_id(shown).is_ok()).then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id, or the beginning of a long one: for messages where there is no record to ask.
    pub fn id(&self) -> &str {
        self.0.rsplit_once('@').map_or(&self.0, |(id, _)| id)
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

    fn id(id: &str, bundle: &str) -> ContainerId {
        ContainerId { id: id.to_owned(), bundle: bundle.into() }
    }

    #[test]
    fn ids_of_two_bundles_and_two_splits_of_one_text_have_keys_of_their_own() {
        let keys = [id("a", "/b"), id("a", "/c"), id("a/", "b"), id("a", "")].map(|id| id.key());
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{key}");
        }
    }

    #[test]
    fn a_key_is_read_back_and_nothing_else_is_one() {
        let long = id(&"x".repeat(255), "/b").key();
        assert!(long.as_str().len() < 220);
        assert_eq!(Key::parse(long.as_str()), Some(long));
        for text in
            ["", "a", "a@12", "../a@00000000000000000000000000000000", "@00000000000000000000000000000000"]
        {
            assert_eq!(Key::parse(text), None, "{text}");
        }
    }
}
