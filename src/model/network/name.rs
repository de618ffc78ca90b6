//! What a network is called.

use std::str::FromStr;

use crate::error::Error;
use crate::model::value::Iface;

/// The longest name of a network, in bytes.
const MAX_NAME: usize = 63;

/// A network's name: a file's name, so one of letters, digits and `_ . - @`. One that is
/// described by flags has its bridge's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkName(String);
shown_as_written! { NetworkName }
kept_as_text! { NetworkName }

impl NetworkName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Iface> for NetworkName {
    fn from(bridge: &Iface) -> Self {
        Self(bridge.to_string())
    }
}

impl FromStr for NetworkName {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self, Error> {
        let fine = |b: u8| b.is_ascii_alphanumeric() || b"_.-@".contains(&b);
        let starts = |name: &str| !name.starts_with(['-', '.']);
        if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fine) && starts(name) {
            return Ok(Self(name.to_owned()));
        }
        let shown: String = name.chars().take(MAX_NAME).collect();
        let cause = format!("it must be 1 to {MAX_NAME} letters, digits and _ . - @");
        Err(Error::new(format!("network name '{shown}'"), cause))
    }
}
