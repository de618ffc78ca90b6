//! Which container a user means.

use crate::error::{Error, Kind, Result};
use crate::model::record::Record;
use crate::store::Records;

/// The one container whose id is `name`, or else begins with it, or whose hostname or alias it is.
///
/// Strangers choose aliases: none goes before the beginning of an id, and nothing is guessed.
///
/// # Errors
/// There is none, or there are several; `operation` says what was to be done with it.
pub fn find<'a>(records: &'a Records, operation: &str, name: &str) -> Result<&'a Record> {
    let those = |means: &dyn Fn(&Record) -> bool| {
        records.containers.iter().filter(|record| means(record)).collect::<Vec<_>>()
    };
    let mut found = those(&|record| record.id() == name);
    if found.is_empty() && !name.is_empty() {
        found = those(&|record| record.id().starts_with(name) || record.names().any(|own| own == name));
    }
    let error = |cause: &str| Error::new(format!("{operation} container {name}"), cause);
    match found[..] {
        [one] => Ok(one),
        [] => Err(error("no container of this id or name is attached")
            .of(Kind::NotFound)
            .hint("`netns ls` shows those that are")),
        [one, ..] => {
            let hint = match found.iter().all(|other| other.id() == one.id()) {
                true => "pipe in a state JSON with id and bundle",
                false => "say more of the id",
            };
            let shown = |one: &&Record| format!("{} of bundle {}", one.id(), one.container.bundle.display());
            let all = found.iter().map(shown).collect::<Vec<_>>().join(", ");
            let several = error(&format!("it could be any of {}: {all}", found.len()));
            Err(several.of(Kind::Input).hint(hint))
        }
    }
}
