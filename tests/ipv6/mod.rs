//! Networks with IPv6: beside IPv4, and alone.

mod attached;
mod ports;
pub mod routers;

/// The subnets of a network of both families.
const BOTH: [&str; 2] = ["172.19.0.1/16", "fd00:19::1/64"];
/// The subnet of a network of IPv6 alone.
const ALONE: [&str; 1] = ["fd00:19::1/64"];
