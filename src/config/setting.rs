//! What an option of each kind is as text: read from it, said as a flag, and laid over the same
//! option of a lower layer.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::is_obeyed;
use crate::model::dns::{Domain, HostEntry, HostName, MAX_SERVERS, MAX_WORDS, ResolverOption, Server};
use crate::model::host_device::HostDevice;
use crate::model::place::Place;
use crate::model::publish::{Publish, PublishList};
use crate::model::rate::Rate;
use crate::model::route::RouteSpec;
use crate::model::rule::Backend;
use crate::model::value::{Gateway, Iface, Mac, Mtu};

/// What one option is set to.
pub(super) trait Setting {
    /// What its flag says without a value, if it may stand so.
    const ALONE: Option<&'static str> = None;

    /// Sets it from text; a list may have delimiters, and adds up; anything else is set once.
    fn set(&mut self, text: &str) -> Result<(), String>;
    /// The flags `--name=…` that say the same.
    fn arguments(&self, name: &str) -> Vec<String>;
    /// This, or what is `below` if this says nothing.
    fn over(self, below: Self) -> Self;
}

impl<V: Value> Setting for Option<V> {
    const ALONE: Option<&'static str> = V::ALONE;

    fn set(&mut self, text: &str) -> Result<(), String> {
        let value = V::parse(text)?;
        self.replace(value).map_or(Ok(()), |_| Err("it has a value already".to_owned()))
    }

    fn arguments(&self, name: &str) -> Vec<String> {
        self.iter().map(|value| format!("--{name}={}", value.text())).collect()
    }

    fn over(self, below: Self) -> Self {
        self.or(below)
    }
}

impl<V: Value> Setting for Vec<V> {
    fn set(&mut self, text: &str) -> Result<(), String> {
        let words: Vec<&str> =
            V::DELIMITER.map_or_else(|| vec![text], |delimiter| text.split(delimiter).collect());
        for word in words {
            self.push(V::parse(word.trim())?);
        }
        if self.iter().map(V::weight).sum::<usize>() > V::MOST {
            Err(format!("more than {}{}", V::MOST, V::CALLED))
        } else {
            Ok(())
        }
    }

    fn arguments(&self, name: &str) -> Vec<String> {
        self.iter().map(|value| format!("--{name}={}", value.text())).collect()
    }

    fn over(self, below: Self) -> Self {
        if self.is_empty() { below } else { self }
    }
}

/// What an option can be set to, once or in a list.
pub(super) trait Value: FromStr<Err: Display> {
    /// The most of them that one container may ask for.
    const MOST: usize = MAX_WORDS;
    /// What an error calls them, after the number.
    const CALLED: &str = "";
    /// What stands between two of them in a list, unless one is a list itself.
    const DELIMITER: Option<char> = Some(',');
    /// What a flag of this kind says without a value, if it may stand so.
    const ALONE: Option<&'static str> = None;

    /// How many it counts for.
    fn weight(&self) -> usize {
        1
    }

    /// Reads one.
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|cause: Self::Err| cause.to_string())
    }

    /// The text that reads back the same.
    fn text(&self) -> String;
}

macro_rules! displayed {
    ($($kind:ty { $($constants:tt)* })+) => {$(
        impl Value for $kind {
            $($constants)*
            fn text(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
displayed! {
    bool { const ALONE: Option<&'static str> = Some("true"); }
    Backend {}
    IpAddr {}
    Iface {}
    Mac {}
    Rate {}
    Domain {}
    ResolverOption {}
    HostName {}
    HostEntry {}
    Server { const MOST: usize = MAX_SERVERS; }
    // Each is compared with all others while other containers wait for the lock: 60,000 of them,
    // which fit a state document, would hold it for minutes.
    PublishList {
        const MOST: usize = 1024;
        const CALLED: &str = " ports or ranges";
        const DELIMITER: Option<char> = None;
        fn weight(&self) -> usize {
            self.0.iter().map(Publish::weight).sum()
        }
    }
    // Each has a table of routes of its own in the container.
    Place {
        const CALLED: &str = " networks";
        const DELIMITER: Option<char> = Some(';');
    }
    HostDevice {
        const MOST: usize = 64;
        const CALLED: &str = " interfaces";
        const DELIMITER: Option<char> = Some(';');
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains(is_obeyed) {
            return Err("there are control characters in it".to_owned());
        }
        Ok(text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn text(&self) -> String {
        self.display().to_string()
    }
}

impl Value for Mtu {
    fn text(&self) -> String {
        self.0.to_string()
    }
}

impl Value for RouteSpec {
    fn text(&self) -> String {
        (*self).into()
    }
}

impl Value for Gateway {
    fn text(&self) -> String {
        self.0.to_string()
    }
}
