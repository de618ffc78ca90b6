//! One file per kind of link: what it is made of, its line in `ip(8)`, its netlink message.
//!
//! Pure: messages are built here and sent by [`crate::kernel`].

pub mod bridge;
pub mod physical;
pub mod saved;
pub mod veth;
