//! A range of addresses that leases come from: `FIRST-LAST`, or a whole `CIDR`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;

use crate::error::Error;

/// The first and the last address, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRange(pub IpAddr, pub IpAddr);
kept_as_text! { LeaseRange }

impl LeaseRange {
    /// Whether all of it is in a subnet.
    pub fn is_in(self, subnet: IpNetwork) -> bool {
        subnet.contains(self.0) && subnet.contains(self.1)
    }
}

impl FromStr for LeaseRange {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |cause: &str| Error::new(format!("lease range '{text}'"), cause);
        let range = match text.split_once('-') {
            Some((first, last)) => first.trim().parse().ok().zip(last.trim().parse().ok()),
            None => text.parse::<IpNetwork>().ok().map(|all| (all.network(), all.broadcast())),
        };
        match range {
            None => Err(refuse("it must be FIRST-LAST or ADDRESS/PREFIX")),
            Some((first, last)) if first.is_ipv4() != last.is_ipv4() => {
                Err(refuse("its ends are of two families"))
            }
            Some((first, last)) if first > last => Err(refuse("its last address comes before its first")),
            Some((first, last)) => Ok(Self(first, last)),
        }
    }
}

impl fmt::Display for LeaseRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}
