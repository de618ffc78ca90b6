//! A picture for programs. Fields are added, never renamed.

use ipnetwork::IpNetwork;
use serde::{Serialize, Serializer};

use super::Picture;
use crate::error::{Doing, Result, is_obeyed};
use crate::model::port::{PortMapping, Protocol};

/// A published port for programs.
#[derive(Debug, Serialize)]
pub(crate) struct Port {
    host_ip: String,
    host_port: u16,
    container_port: u16,
    protocol: Protocol,
    /// How many ports in a row, on both sides.
    range: u32,
    /// Who may call; everybody if there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<IpNetwork>,
}

impl Port {
    pub(crate) fn of(published: &PortMapping) -> Self {
        Self {
            host_ip: published.host_ip.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string()),
            host_port: published.host.first,
            container_port: published.container.first,
            protocol: published.protocol,
            range: published.host.count(),
            from: published.from.clone(),
        }
    }
}

pub(super) fn ports<S: Serializer>(published: &[PortMapping], to: S) -> std::result::Result<S::Ok, S::Error> {
    to.collect_seq(published.iter().map(Port::of))
}

/// The picture as a JSON object.
///
/// # Errors
/// None that is known.
pub fn json(picture: &Picture) -> Result<String> {
    written(picture)
}

/// Any value as JSON text. What a terminal may obey is only ever part of a string, and JSON has
/// a way to spell it.
pub(crate) fn written(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).doing(|| "write JSON")?;
    let mut spelled = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if is_obeyed(c) && c != '\n' {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| spelled.push_str(&format!("\\u{unit:04x}")));
        } else {
            spelled.push(c);
        }
    }
    spelled.push('\n');
    Ok(spelled)
}
