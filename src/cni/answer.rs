//! What a CNI client is answered: results and error objects, in the words of the version that it speaks.

use serde_json::{Value, json};

use super::call::Call;
use super::config::Config;
use crate::error::{Error, Kind};
use crate::model::link::HOST_MAC;
use crate::model::record::Attachment;
use crate::model::value;

/// The version is not spoken.
pub(super) const VERSION: u16 = 1;
/// A field of the configuration asks for what this plugin does not do.
pub(super) const UNSUPPORTED: u16 = 2;
/// There is no such container or namespace.
pub(super) const UNKNOWN_CONTAINER: u16 = 3;
/// A variable is missing or wrong.
pub(super) const ENVIRONMENT: u16 = 4;
/// Standard input cannot be read.
pub(super) const IO: u16 = 5;
/// It is not JSON.
pub(super) const DECODE: u16 = 6;
/// The configuration is wrong.
pub(super) const CONFIG: u16 = 7;
/// Somebody else is at it.
pub(super) const TRY_AGAIN: u16 = 11;
/// No `ADD` could succeed now.
pub(super) const NOT_AVAILABLE: u16 = 50;
/// One could, but not whatever it asked for.
pub(super) const LIMITED: u16 = 51;
/// The kernel, a file or a program refused. From 100 on a plugin's own codes begin.
const KERNEL: u16 = 100;
/// Somebody else has it.
const CONFLICT: u16 = 101;
/// There is no more of it.
const EXHAUSTED: u16 = 102;
/// It may not be had.
const DENIED: u16 = 103;

/// Why there is no result.
#[derive(Debug)]
pub(super) struct Fault {
    code: u16,
    error: Error,
}

impl Fault {
    pub(super) fn new(code: u16, error: Error) -> Self {
        Self { code, error }
    }

    /// A wrong configuration.
    pub(super) fn config(operation: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::new(CONFIG, Error::new(operation, cause))
    }

    /// Something in the configuration that is not what it must be.
    pub(super) fn from_input(error: Error) -> Self {
        Self::new(CONFIG, error)
    }

    /// The error object; what else is known of it stands in `details`.
    pub(super) fn object(&self, version: &str) -> Value {
        let text = self.error.to_string();
        let (message, details) = text.split_once('\n').unwrap_or((&text, ""));
        let details = details.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        json!({ "cniVersion": version, "code": self.code, "msg": message, "details": details })
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            Kind::Input => CONFIG,
            Kind::NotFound => UNKNOWN_CONTAINER,
            Kind::Busy | Kind::TimedOut => TRY_AGAIN,
            Kind::Kernel => KERNEL,
            Kind::Conflict => CONFLICT,
            Kind::Exhausted => EXHAUSTED,
            Kind::Denied => DENIED,
        };
        Self { code, error }
    }
}

impl Config {
    /// What `ADD` of the plugin `loopback` answers.
    pub(super) fn loopback(&self, call: &Call) -> Value {
        let interface = json!({ "name": "lo", "mac": "00:00:00:00:00:00", "sandbox": call.netns });
        let mut ip = json!({ "address": "127.0.0.1/8", "interface": 0 });
        if self.is_before_1() {
            ip["version"] = json!("4");
        }
        json!({ "cniVersion": self.version, "interfaces": [interface], "ips": [ip], "dns": {} })
    }

    /// What `ADD` answers: our interfaces, addresses, routes and name servers after those of the plugins
    /// before us.
    pub(super) fn result(&self, call: &Call, attachments: &[Attachment]) -> Value {
        let before = |key: &str| -> Vec<Value> {
            let list = self.before.as_ref().and_then(|before| before.get(key)?.as_array().cloned());
            list.unwrap_or_default()
        };
        let (mut interfaces, mut ips, mut routes) = (before("interfaces"), before("ips"), before("routes"));
        let sandbox = call.netns.as_ref().map_or_else(String::new, |path| path.display().to_string());
        for attachment in attachments {
            if let Some(bridge) = &attachment.bridge {
                interfaces.push(json!({ "name": bridge }));
            }
            if let Some(host) = &attachment.host_interface {
                let mac = attachment.addresses.first().map(|address| value::mac(HOST_MAC, address.ip()));
                interfaces.push(json!({ "name": host, "mac": mac }));
            }
            let mac = attachment.mac;
            interfaces.push(json!({ "name": attachment.interface, "mac": mac, "sandbox": sandbox }));
            for address in &attachment.addresses {
                let same = |gateway: &&_| std::net::IpAddr::is_ipv4(gateway) == address.is_ipv4();
                let gateway = attachment.gateways.iter().find(same);
                let mut ip =
                    json!({ "address": address, "interface": interfaces.len() - 1, "gateway": gateway });
                if self.is_before_1() {
                    ip["version"] = json!(if address.is_ipv4() { "4" } else { "6" });
                }
                ips.push(ip);
            }
        }
        let gateways = attachments.iter().flat_map(|attachment| attachment.gateways.iter().copied());
        routes.extend(self.routes(gateways));
        let dns = self.before.as_ref().and_then(|before| before.get("dns").cloned());
        let dns = if self.dns.is_null() { dns.unwrap_or_else(|| json!({})) } else { self.dns.clone() };
        json!({ "cniVersion": self.version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": dns })
    }
}
