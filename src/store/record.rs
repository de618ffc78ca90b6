//! Records as files: JSON with a version and a checksum around it, written whole or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{in_directory, is_absent, private};
use crate::error::{Doing, Error, Kind, Result};

/// The form of records that this program writes. One that reads an older form converts it; a
/// newer one is damage, which nobody takes for an empty place.
const VERSION: u32 = 1;

/// Why a record that can be read cannot be used.
pub type Damage = Error;

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    version: u32,
    /// Of the version and the text of the record, so that one changed digit is noticed.
    sha256: String,
    #[serde(borrow)]
    record: &'a RawValue,
}

fn checksum(version: u32, text: &str) -> String {
    let whole = Sha256::new().chain_update(format!("{version}\n")).chain_update(text);
    let digest: [u8; 32] = whole.finalize().into();
    let (halves, _) = digest.as_chunks();
    halves.iter().map(|half| format!("{:032x}", u128::from_be_bytes(*half))).collect()
}

/// A record as the text of its file.
///
/// # Errors
/// It cannot be JSON, which the types exclude.
pub fn encode(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let record = serde_json::value::to_raw_value(value)?;
    let envelope = Envelope { version: VERSION, sha256: checksum(VERSION, record.get()), record: &record };
    let mut text = serde_json::to_vec(&envelope)?;
    text.push(b'\n');
    Ok(text)
}

/// The record that the text of a file is.
///
/// # Errors
/// It is damaged; or of another version, which is a conflict.
pub fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    let operation = || "decode it";
    let envelope: Envelope<'_> = serde_json::from_slice(text).doing(operation)?;
    if envelope.sha256 != checksum(envelope.version, envelope.record.get()) {
        return Err(Error::new(operation(), "it has been changed: its checksum is another"));
    }
    if envelope.version != VERSION {
        let cause = format!("it is of version {}, and this program reads {VERSION}", envelope.version);
        let hint = "detach with the version of netns that wrote it";
        return Err(Error::new(operation(), cause).of(Kind::Conflict).hint(hint));
    }
    serde_json::from_str(envelope.record.get()).doing(operation)
}

/// Reads a record; `None` if it is not there.
///
/// # Errors
/// It cannot be read. What is damaged is no error of the reading.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<std::result::Result<T, Damage>>> {
    let operation = || format!("read record {}", path.display());
    match fs::read(path) {
        Err(error) if is_absent(&error) => Ok(None),
        text => Ok(Some(decode(&text.doing(operation)?).map_err(|error| error.during(operation())))),
    }
}

/// Writes a record. Only who has the lock writes, so one name for the unfinished file is enough.
///
/// # Errors
/// It cannot be written, as on a full disk; what was there before still is.
pub(super) fn write(dir: &Path, path: &Path, value: &impl Serialize) -> Result<File> {
    let operation = || format!("write record {}", path.display());
    let text = encode(value).doing(operation)?;
    let unfinished = dir.join("unfinished");
    let write = || {
        let mut file = private().create(true).truncate(true).open(&unfinished)?;
        file.write_all(&text)?;
        in_directory(path, || fs::rename(&unfinished, path))?;
        Ok(file)
    };
    write().inspect_err(|_: &std::io::Error| drop(fs::remove_file(&unfinished))).doing(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back() {
        let text = encode(&vec!["a", "ä\n"]).unwrap();
        assert_eq!(decode::<Vec<String>>(&text).unwrap(), ["a", "ä\n"]);
    }

    #[test]
    fn one_changed_bit_a_cut_end_and_another_version_are_all_noticed() {
        let text = encode(&vec![12345, 67890]).unwrap();
        for at in 0..text.len() - 1 {
            for bit in 0..8 {
                let mut changed = text.clone();
                changed[at] ^= 1 << bit;
                let read = decode::<Vec<u32>>(&changed);
                assert!(read.is_err() || read == Ok(vec![12345, 67890]), "bit {bit} of byte {at}: {read:?}");
            }
            assert!(decode::<Vec<u32>>(&text[..at]).is_err(), "cut at {at}");
        }
        let record = "[1]";
        let newer = format!(r#"{{"version":2,"sha256":"{}","record":{record}}}"#, checksum(2, record));
        let error = decode::<Vec<u32>>(newer.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().contains("it is of version 2, and this program reads 1"), "{error}");
    }
}
