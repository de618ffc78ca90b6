//! What the kernel was seen to have of what limits containers; see [`crate::model::rate`].

use std::collections::HashMap;

use serde::Serialize;

use super::link::ifb_of;
use super::observed::{Link, Links};
use super::step::Step;
use super::value::Iface;

/// The token bucket of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// In bits per second.
    pub bits: u64,
    /// How much may pass at once, in bytes; as exactly as the kernel tells it.
    pub burst: u64,
    /// How much may wait, in bytes.
    pub limit: u32,
    /// What has passed, in bytes.
    pub bytes: u64,
    /// The packets that have passed.
    pub packets: u32,
    /// The packets that found the queue full.
    pub dropped: u32,
    /// How many bytes are waiting.
    pub waiting: u32,
}

/// What limits the links of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The token buckets, by the numbers of the links that send by them.
    pub queues: HashMap<u32, Queue>,
    /// Which links what comes in by others passes first, by their numbers.
    pub redirects: HashMap<u32, u32>,
}

impl Limits {
    /// The token bucket of the link of this name.
    pub fn of(&self, link: &Iface, links: &Links) -> Option<&Queue> {
        self.queues.get(&links.by_name(link.as_str())?.index)
    }

    /// The token buckets for what goes to the container behind a host end, and for what it sends,
    /// with the links that have them.
    pub fn of_host_end(&self, end: &Iface, links: &Links) -> [Option<(Iface, Queue)>; 2] {
        let of = |link: Option<Iface>| link.and_then(|link| Some((link.clone(), *self.of(&link, links)?)));
        [of(Some(end.clone())), of(ifb_of(end))]
    }

    /// Whether what a step has made is there; true of steps that limit nothing.
    pub fn has(&self, step: &Step, links: &Links) -> bool {
        let number = |link: &Iface| links.by_name(link.as_str()).map(|link| link.index);
        match step {
            Step::AddIfb(ifb) => {
                let is_it = |link: &Link| link.address == ifb.mac.0 && link.up;
                links.by_name(ifb.name.as_str()).is_some_and(is_it)
            }
            // The kernel counts in bytes.
            Step::SetRate { link, bucket } => {
                self.of(link, links).is_some_and(|queue| queue.bits / 8 == bucket.bits / 8)
            }
            Step::Redirect { link, to } => {
                let found = number(link).and_then(|link| self.redirects.get(&link));
                found.is_some() && found.copied() == number(to)
            }
            _ => true,
        }
    }
}
