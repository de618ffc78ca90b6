//! Where everything is in the catalogue's file, and how a number, a row and the head are
//! written there.
//!
//! ```text
//! 0          head: magic, closed or open, the journal's length, numbers, what is shared
//! 4 KiB      ports: for each port of tcp, udp and sctp how many publish it, 1 byte (255: many)
//! 196 KiB    the first row of each chain by key (`journal::key`), 4 bytes
//! 452 KiB    the first row of each chain by network namespace, 4 bytes
//! 708 KiB    rows
//! ```

use super::super::rest::Shares;
use crate::config::publish::Protocol;

/// Another number for another layout, and for another kind of machine: numbers are native.
pub(super) const MAGIC: [u8; 8] = if cfg!(target_endian = "little") { *b"netns-c1" } else { *b"netns-C1" };

pub(super) const CHAINS: u64 = 1 << 16;
pub(super) const PORTS: u64 = 4096;
pub(super) const BY_KEY: u64 = PORTS + 3 * (1 << 16);
pub(super) const BY_NAMESPACE: u64 = BY_KEY + 4 * CHAINS;
pub(super) const ROWS: u64 = BY_NAMESPACE + 4 * CHAINS;
pub(super) const ROW: usize = 48;
/// Where the head says whether it is closed.
pub(super) const CLOSED: u64 = 8;
/// Numbers in the head, and what is shared after them.
pub(super) const NUMBERS: usize = 8;
pub(super) const HEAD: usize = PORTS as usize;

#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    /// Events in the journal.
    pub(super) events: u64,
    /// Containers.
    pub(super) live: u64,
    /// Rows that have ever been used.
    pub(super) rows: u64,
    /// The first of those that are free again, numbered from 1; 0 is none.
    pub(super) free: u64,
    /// The row that the next sweep begins with.
    pub(super) turn: u64,
    /// The boot that all containers belong to, hashed.
    pub(super) boot: u64,
    pub(super) shares: Shares,
}

/// What is known of a container at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub(super) key: u64,
    /// Where the journal says the rest.
    pub(in super::super) at: u64,
    /// As in [`crate::kernel::process::Process`].
    pub start_time: u64,
    /// As in [`crate::kernel::process::Process`].
    pub netns: u64,
    /// As in [`crate::kernel::process::Process`].
    pub pid: i32,
    /// As in [`crate::store::record::Record`].
    pub done: bool,
    pub(super) next_by_key: u32,
    pub(super) next_by_namespace: u32,
}

pub(super) fn place(slot: u32) -> u64 {
    ROWS + u64::from(slot - 1) * ROW as u64
}

pub(super) fn port(protocol: Protocol, port: u16) -> u64 {
    PORTS + ((protocol as u64) << 16) + u64::from(port)
}

pub(super) fn by_key(key: u64) -> u64 {
    BY_KEY + 4 * (key % CHAINS)
}

pub(super) fn by_namespace(netns: u64) -> u64 {
    BY_NAMESPACE + 4 * (netns % CHAINS)
}

impl Head {
    pub(super) fn encode(&self, journal: u64) -> Option<Vec<u8>> {
        let Self { events, live, rows, free, turn, boot, shares } = self;
        let numbers: [u64; NUMBERS] = [1, journal, *events, *live, *rows, *free, *turn, *boot];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(numbers.iter().flat_map(|number| number.to_ne_bytes()));
        bytes.extend(shares.encode().ok()?);
        Some(bytes)
    }

    /// The head, whether it is closed, and the length of its journal.
    pub(super) fn decode(bytes: &[u8; HEAD]) -> Option<(Self, bool, u64)> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let (numbers, shares) = rest.split_at_checked(8 * NUMBERS)?;
        let (numbers, _) = numbers.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|bytes| u64::from_ne_bytes(*bytes));
        let mut next = || numbers.next();
        let (closed, journal) = (next()?, next()?);
        let (events, live, rows) = (next()?, next()?, next()?);
        let (free, turn, boot) = (next()?, next()?, next()?);
        let head = Self { events, live, rows, free, turn, boot, shares: Shares::decode(shares)? };
        Some((head, closed == 1, journal))
    }
}

impl Row {
    pub(super) fn is_used(&self) -> bool {
        self.at != 0
    }

    pub(super) fn encode(&self) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        let wide = [self.key, self.at, self.start_time, self.netns];
        let narrow =
            [self.pid.cast_unsigned(), self.next_by_key, self.next_by_namespace, u32::from(self.done)];
        let all = wide.iter().flat_map(|n| n.to_ne_bytes());
        let all = all.chain(narrow.iter().flat_map(|n| n.to_ne_bytes()));
        bytes.iter_mut().zip(all).for_each(|(byte, new)| *byte = new);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; ROW]) -> Self {
        let (wide, _) = bytes.as_chunks::<8>();
        let (narrow, _) = bytes.as_chunks::<4>();
        let wide = |at: usize| wide.get(at).map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        let narrow = |at: usize| narrow.get(at).map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        Self {
            key: wide(0),
            at: wide(1),
            start_time: wide(2),
            netns: wide(3),
            pid: narrow(8).cast_signed(),
            next_by_key: narrow(9),
            next_by_namespace: narrow(10),
            done: narrow(11) != 0,
        }
    }
}
