//! All networks as one neutral value, [`Picture`], and a file for each way to draw it.
//!
//! [`graph`] is the command: `collect` makes a picture of records and kernel, and whoever draws
//! it is pure. Names and aliases may come from anybody, so every format escapes what it is given.

mod collect;
mod command;
mod dot;
mod json;
mod mermaid;
mod nodes;
mod picture;
mod svg;
mod text;
mod watch;

pub use command::{Format, graph};
pub use dot::dot;
pub use json::json;
pub(crate) use json::{Port, written as written_json};
pub use mermaid::mermaid;
pub use picture::{Bridge, Container, End, Link, Namespace, Outside, Picture, Place, Uplink};
pub use svg::svg;
pub use text::{Style, text};

/// What is said where there is nothing of ours to draw.
const NOTHING: &str = "no network yet: `netns create` or the first container makes one";

/// What stands where there is no default route.
const NO_UPLINK: &str = "no default route";

/// What stands for a veth pair that is not there.
const NO_VETH: &str = "no veth pair";

/// `default via 10.0.0.2`.
fn default_routes(uplink: &Uplink) -> String {
    let gateways: Vec<String> = uplink.gateways.iter().map(|ip| format!("default via {ip}")).collect();
    if gateways.is_empty() { "default".to_owned() } else { gateways.join(", ") }
}
