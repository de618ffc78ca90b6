//! A picture for programs. Fields are added, never renamed.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

use super::Picture;
use crate::config::publish::{Protocol, Published};
use crate::error::{Doing, Result};

/// A port as `ls --json` writes it.
#[derive(Serialize)]
struct Port {
    host_ip: String,
    host_port: u16,
    container_port: u16,
    protocol: Protocol,
    range: u32,
}

pub(super) fn ports<S: Serializer>(published: &[Published], to: S) -> std::result::Result<S::Ok, S::Error> {
    let mut all = to.serialize_seq(Some(published.len()))?;
    for port in published {
        all.serialize_element(&Port {
            host_ip: port.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
            host_port: port.host.first,
            container_port: port.container.first,
            protocol: port.protocol,
            range: port.host.count(),
        })?;
    }
    all.end()
}

/// The picture as a JSON object.
///
/// # Errors
/// None that is known.
pub fn json(picture: &Picture) -> Result<String> {
    let text = serde_json::to_string_pretty(picture).doing(|| "write JSON")?;
    Ok(format!("{text}\n"))
}
