//! How much a container may receive or send: rates and sizes as `tc(8)` writes them, and the token
//! buckets (`tc-tbf(8)`) that keep to them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};

/// What a rate may be, in bits per second: `1kbit` to `1tbit`.
const BITS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000;
/// A bucket that nobody has chosen holds what passes in this part of a second: the kernel may be
/// that late, and the rate is kept all the same. (`tc-tbf(8)` asks for a tick of its clock.)
const BURST: u64 = 100;
/// It holds this much at least, in bytes. A larger packet, as hosts and containers hand over to
/// be segmented later (GSO), the kernel segments then and there.
const LEAST_BURST: u64 = 32 << 10;
/// How long a packet may wait for the others, as a part of a second.
const LATENCY: u64 = 20;
/// The largest packet that there is (GSO, with "BIG TCP"), in bytes: one must fit the queue.
const LARGEST_PACKET: u32 = 512 << 10;
/// What is before a packet on an Ethernet link, with the tag of a VLAN, in bytes.
const HEADER: u32 = 18;

/// What `tc(8)` calls them, and how many bits per second each is; the largest first.
const RATES: [(&str, u64); 16] = [
    ("tbps", 8_000_000_000_000),
    ("tbit", 1_000_000_000_000),
    ("gbps", 8_000_000_000),
    ("gbit", 1_000_000_000),
    ("mbps", 8_000_000),
    ("mbit", 1_000_000),
    ("kbps", 8_000),
    ("kbit", 1_000),
    ("bps", 8),
    ("bit", 1),
    ("tibit", 1 << 40),
    ("gibit", 1 << 30),
    ("mibit", 1 << 20),
    ("kibit", 1 << 10),
    ("mibps", 8 << 20),
    ("kibps", 8 << 10),
];
/// The same of sizes, and how many bytes each is.
const SIZES: [(&str, u64); 7] = [
    ("gb", 1 << 30),
    ("g", 1 << 30),
    ("mb", 1 << 20),
    ("m", 1 << 20),
    ("kb", 1 << 10),
    ("k", 1 << 10),
    ("b", 1),
];

/// A rate, and how much may pass at once: `100mbit`, `10mbit,32kb`. In a `--network`, whose keys
/// have commas between them, the second is `10mbit/32kb`; either is read everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In bits per second.
    pub bits: u64,
    /// In bytes; `None` is what suits the rate.
    pub burst: Option<u32>,
}

impl Rate {
    /// One that is given in bits per second, with a burst in bytes.
    ///
    /// # Errors
    /// There is no such rate.
    pub fn new(bits: u64, burst: Option<u32>) -> Result<Self, Error> {
        let rate = Self { bits, burst };
        if BITS.contains(&bits) && burst != Some(0) {
            return Ok(rate);
        }
        let cause = "it must be from 1kbit to 1tbit, and its burst from 1b to 4294967295b";
        Err(Error::new(format!("rate '{rate}'"), cause).of(Kind::Input))
    }

    /// How much may pass at once, in bytes.
    pub fn burst(&self) -> u32 {
        let usual = (self.bits / 8 / BURST).max(LEAST_BURST);
        self.burst.unwrap_or_else(|| usual.try_into().unwrap_or(u32::MAX))
    }

    /// The bucket of this rate for a link with this MTU, in bytes.
    ///
    /// # Errors
    /// Not even one packet would pass at once.
    pub fn bucket(&self, mtu: u32) -> Result<TokenBucket, Error> {
        let packet = mtu.saturating_add(HEADER);
        let burst = self.burst.unwrap_or_else(|| self.burst().max(packet));
        if burst < packet {
            let cause = format!("a packet has up to {packet} bytes, and would never pass");
            return Err(Error::new(format!("use rate {self}"), cause).of(Kind::Input));
        }
        let waiting: u32 = (self.bits / 8 / LATENCY).try_into().unwrap_or(u32::MAX);
        let limit = waiting.saturating_add(burst.min(LARGEST_PACKET));
        Ok(TokenBucket { bits: self.bits, burst, limit })
    }
}

/// The text that reads back the same, also in a `--network`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        written(f, self.bits, &RATES, "bit")?;
        self.burst.map_or(Ok(()), |burst| {
            f.write_str("/")?;
            written(f, burst.into(), &SIZES, "b")
        })
    }
}

impl FromStr for Rate {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |cause: &str| Error::new(format!("rate '{text}'"), cause).of(Kind::Input);
        let (rate, burst) = match text.split_once([',', '/']) {
            Some((rate, burst)) => (rate, Some(burst)),
            None => (text, None),
        };
        let bits = number(rate, &RATES).ok_or_else(|| refuse("it must be like 100mbit, or 10mbit,32kb"))?;
        let size = |burst| number(burst, &SIZES).and_then(|burst| burst.try_into().ok());
        let burst = burst
            .map(|burst| size(burst).ok_or_else(|| refuse("its burst must be a size like 32kb")))
            .transpose()?;
        Self::new(bits, burst)
    }
}

/// A number and its unit; without one it counts for 1.
fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = if unit.is_empty() { 1 } else { units.iter().find(|(name, _)| *name == unit)?.1 };
    let whole: f64 = number.parse().ok()?;
    Some((whole * factor as f64).round() as u64)
}

/// In the largest unit, of those that end in `suffix`, that it is a whole number of.
fn written(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)], suffix: &str) -> fmt::Result {
    let mut fits =
        units.iter().filter(|(name, factor)| name.ends_with(suffix) && number.is_multiple_of(*factor));
    match fits.next() {
        Some((name, factor)) if number > 0 => write!(f, "{}{name}", number / factor),
        _ => write!(f, "{number}{suffix}"),
    }
}

/// A token bucket filter: packets pass at a rate, and others wait until the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// In bits per second.
    pub bits: u64,
    /// How much may pass at once, in bytes.
    pub burst: u32,
    /// How much may wait, in bytes.
    pub limit: u32,
}

/// As `tc qdisc` takes it.
impl fmt::Display for TokenBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tbf rate {} burst {}b limit {}b",
            Rate { bits: self.bits, burst: None },
            self.burst,
            self.limit
        )
    }
}

/// Rates that annotations may ask for: `1mbit-100mbit`, or `100mbit` alone for all up to that. A
/// burst is at most that of the highest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    least: Rate,
    most: Rate,
}

impl Rates {
    /// Whether a rate is one of them.
    pub fn allow(&self, rate: &Rate) -> bool {
        (self.least.bits..=self.most.bits).contains(&rate.bits) && rate.burst() <= self.most.burst()
    }
}

impl FromStr for Rates {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('-') {
            Some((least, most)) => Ok(Self { least: least.parse()?, most: most.parse()? }),
            None => Ok(Self { least: Rate { bits: *BITS.start(), burst: None }, most: text.parse()? }),
        }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        text.parse::<Rate>().map_or_else(|error| error.to_string(), |rate| rate.to_string())
    }

    #[test]
    fn rates_and_sizes_are_those_of_tc() {
        for (text, meant) in [
            ("100mbit", "100mbit"),
            ("100Mbit", "100mbit"),
            ("1.5mbit", "1500kbit"),
            ("64000", "64kbit"),
            ("12500bps", "100kbit"),
            ("1mbps", "8mbit"),
            ("1kibit", "1024bit"),
            ("10mbit,32kb", "10mbit/32kb"),
            ("10mbit/32k", "10mbit/32kb"),
            (" 1gbit , 1.5mb ", "1gbit/1536kb"),
            ("1gbit,4294967295", "1gbit/4294967295b"),
        ] {
            assert_eq!(shown(text), meant);
        }
        for (text, cause) in [
            ("", "it must be like 100mbit"),
            ("mbit", "it must be like 100mbit"),
            ("-1mbit", "it must be like 100mbit"),
            ("10 %", "it must be like 100mbit"),
            ("1e9", "it must be like 100mbit"),
            ("1.2.3mbit", "it must be like 100mbit"),
            ("0", "from 1kbit to 1tbit"),
            ("999bit", "from 1kbit to 1tbit"),
            ("99999999999999999999tbit", "from 1kbit to 1tbit"),
            ("10mbit,", "its burst must be a size"),
            ("10mbit,0", "its burst from 1b"),
            ("10mbit,4gb", "its burst must be a size"),
            ("10mbit,32kb,1", "its burst must be a size"),
        ] {
            assert!(shown(text).contains(cause), "{text}: {}", shown(text));
        }
    }

    #[test]
    fn a_bucket_holds_a_hundredth_of_a_second_and_a_packet_at_least() {
        let bucket =
            |rate: &str, mtu| rate.parse::<Rate>().unwrap().bucket(mtu).map(|bucket| bucket.to_string());
        assert_eq!(bucket("200mbit", 1500).unwrap(), "tbf rate 200mbit burst 250000b limit 1500000b");
        assert_eq!(bucket("10mbit", 1500).unwrap(), "tbf rate 10mbit burst 32768b limit 95268b");
        assert_eq!(bucket("10mbit", 65535).unwrap(), "tbf rate 10mbit burst 65553b limit 128053b");
        assert_eq!(bucket("10mbit,1518b", 1500).unwrap(), "tbf rate 10mbit burst 1518b limit 64018b");
        assert_eq!(bucket("10mbit,512mb", 1500).unwrap(), "tbf rate 10mbit burst 536870912b limit 586788b");
        assert_eq!(bucket("1tbit", 1500).unwrap(), "tbf rate 1tbit burst 1250000000b limit 4294967295b");
        let error = bucket("10mbit,1517b", 1500).unwrap_err().to_string();
        assert_eq!(error, "use rate 10mbit/1517b: a packet has up to 1518 bytes, and would never pass");
    }

    #[test]
    fn a_policy_bounds_rate_and_burst() {
        let rates = |text: &str| text.parse::<Rates>().unwrap();
        let allows = |bound: &str, rate: &str| rates(bound).allow(&rate.parse().unwrap());
        assert!(allows("1mbit-100mbit", "1mbit") && allows("1mbit-100mbit", "100mbit"));
        assert!(!allows("1mbit-100mbit", "101mbit") && !allows("1mbit-100mbit", "999kbit"));
        assert!(allows("100mbit", "1kbit") && !allows("100mbit", "1mbit,1mb"));
        assert!(allows("100mbit,1mb", "1mbit,1mb"));
        assert_eq!(rates("100mbit").to_string(), "1kbit-100mbit");
        assert!("1mbit-".parse::<Rates>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_so_that_it_reads_back_the_same(text in "[0-9]{1,5}(\\.[0-9])?[kmgt]?(bit|bps)?([,/][0-9]{1,6}[kmg]?b?)?") {
            if let Ok(rate) = text.parse::<Rate>() {
                prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
            }
        }
    }
}
