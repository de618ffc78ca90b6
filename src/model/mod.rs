//! The values that everything here speaks of, with their text and their form on disk. Nothing in
//! this room acts, and it uses nothing but [`crate::error`].
//!
//! | file | what is in it |
//! |---|---|
//! | [`container`], [`sandbox`] | who a container is, and its network namespace |
//! | [`request`], [`place`], [`host_device`], [`port`], [`publish`], [`range`], [`dns`], [`rate`], [`route`], [`value`] | what is asked for, as users write it |
//! | [`step`], [`link`], [`parent`], [`device`], [`mount`], [`rule`] | the reversible changes that a plan is made of |
//! | [`record`], [`network`] | what the state directory keeps |
//! | [`observed`], [`limits`], [`bounded`] | what the kernel was seen to have, and how much of it is told |
//! | [`hosts`], [`resolver`], [`bundle`] | the form of other people's files |

#[macro_use]
mod text;

pub mod bounded;
pub mod bundle;
pub mod container;
pub mod device;
pub mod dns;
pub mod host_device;
pub mod hosts;
pub mod limits;
pub mod link;
pub mod mount;
pub mod network;
pub mod observed;
pub mod parent;
pub mod peers;
pub mod place;
pub mod port;
pub mod publish;
pub mod range;
pub mod rate;
pub mod record;
pub mod request;
pub mod resolver;
pub mod route;
pub mod rule;
pub mod sandbox;
pub mod step;
pub mod value;
