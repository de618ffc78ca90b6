//! The leases of one network, in a file: where the next search begins, and a bit for each
//! address of the subnet.
//!
//! Like the catalogue it belongs to, it is made anew from the journal after a run that was
//! killed; only the cursor is then kept, for which any value is fine.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ipnetwork::IpNetwork;

use super::directory::private;
use super::record::Network;
use super::rest::{self, Leases};
use crate::config::value::Iface;

/// Where the bits begin; the cursor is before them.
const BITS: u64 = 8;

/// How many bytes of bits are read at once: a /16, or the part of a larger subnet that comes
/// next.
const PART: u32 = 8192;

/// An open file of leases.
#[derive(Debug)]
pub(super) struct LeaseFile {
    file: File,
}

pub(super) fn path(dir: &Path, bridge: &Iface) -> PathBuf {
    dir.join("leases").join(bridge.as_str())
}

impl LeaseFile {
    /// Opens the file for `bridge`, a new one if there is none.
    pub(super) fn open(dir: &Path, bridge: &Iface) -> io::Result<Self> {
        Ok(Self { file: private().create(true).open(path(dir, bridge))? })
    }

    fn number(&self) -> Option<u32> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        Some(u32::from_ne_bytes(bytes)).filter(|number| *number != 0)
    }

    /// Keeps the address that was leased last.
    pub(super) fn keep_cursor(&self, subnet: IpNetwork, address: IpAddr) -> io::Result<()> {
        let number = rest::number(subnet, address).unwrap_or(0);
        self.file.write_all_at(&number.to_ne_bytes(), 0)
    }

    /// The part of the subnet that the next search begins in.
    pub(super) fn part(
        dir: &Path,
        bridge: &Iface,
        subnet: IpNetwork,
        cursor: Option<IpAddr>,
    ) -> io::Result<Leases> {
        let number = cursor.and_then(|cursor| rest::number(subnet, cursor)).unwrap_or(0);
        let first = number / 8;
        let mut bits = vec![0; PART as usize];
        match File::open(path(dir, bridge)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            file => read_sparse(&file?, &mut bits, BITS + u64::from(first))?,
        }
        Ok(Leases::new(subnet, 8 * first, bits))
    }

    /// Marks an address as leased, or as free.
    pub(super) fn mark(&self, address: IpNetwork, leased: bool) -> io::Result<()> {
        let Some(number) = rest::number(address, address.ip()) else { return Ok(()) };
        let at = BITS + u64::from(number / 8);
        let mut byte = [0];
        let _ = self.file.read_at(&mut byte, at)?;
        let bit = 1 << (number % 8);
        byte[0] = if leased { byte[0] | bit } else { byte[0] & !bit };
        self.file.write_all_at(&byte, at)
    }
}

/// Gives each network the address that was leased last.
///
/// # Errors
/// A network has no file of leases.
pub(super) fn read_cursors(dir: &Path, networks: &mut [Network]) -> io::Result<()> {
    for network in networks {
        let file = LeaseFile { file: File::open(path(dir, &network.bridge))? };
        network.cursor = file.number().and_then(|number| address(network.gateway, number));
    }
    Ok(())
}

/// Reads; what is behind the end of the file is 0.
pub(super) fn read_sparse(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64)? {
            0 => break,
            n => read += n,
        }
    }
    Ok(())
}

/// Forgets every lease, and keeps the cursors.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir.join("leases"))? {
        let file = private().open(entry?.path())?;
        file.set_len(BITS.min(file.metadata()?.len()))?;
    }
    Ok(())
}

fn address(subnet: IpNetwork, number: u32) -> Option<IpAddr> {
    match subnet {
        IpNetwork::V4(subnet) => {
            u32::from(subnet.network()).checked_add(number).map(|n| Ipv4Addr::from(n).into())
        }
        IpNetwork::V6(_) => None,
    }
}
